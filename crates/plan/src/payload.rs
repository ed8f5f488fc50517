//! What a container's processes may be: Wasm, native, or either.

use crate::Invalid;
use hull_abi::Payload;
use oci_spec::runtime::Spec;

/// The annotation that says whether the container's program is a Wasm file.
const ANNOTATION: &str = "io.containerd.hull.wasm";
/// The one of crun and youki.
const HANDLER: &str = "run.oci.handler";
/// The one that images have (<https://github.com/solo-io/wasm/blob/master/spec/spec-compat.md>).
const VARIANT: &str = "module.wasm.image/variant";
/// What containerd says of the kind of a container, and what it says of the one that holds a pod.
const KIND: &str = "io.kubernetes.cri.container-type";
const SANDBOX: &str = "sandbox";

/// The payload of the init process: the first annotation that is there decides.
pub(crate) fn lower(spec: &Spec) -> Result<Payload, Invalid> {
    let annotations = spec.annotations().as_ref();
    let given = |name| {
        annotations
            .and_then(|given| given.get(name))
            .map(String::as_str)
    };
    if is_sandbox(spec) {
        return Ok(Payload::ByContent);
    }
    let refuse = |name: &str, value: &str, allowed: &str| {
        let why = format!("{value:?} is not {allowed}");
        Err(Invalid::new(format!("annotations[{name:?}]"), why))
    };
    if let Some(value) = given(ANNOTATION) {
        return match value {
            "auto" => Ok(Payload::ByContent),
            "yes" => Ok(Payload::Wasm),
            "no" => Ok(Payload::Native),
            other => refuse(ANNOTATION, other, "\"auto\", \"yes\" or \"no\""),
        };
    }
    if let Some(value) = given(HANDLER) {
        return match value {
            "wasm" => Ok(Payload::Wasm),
            "wasm-smart" => Ok(Payload::ByContent),
            // A virtual machine, for example: running it without would be less than was asked for.
            other => refuse(HANDLER, other, "\"wasm\" or \"wasm-smart\""),
        };
    }
    match given(VARIANT) {
        None | Some("compat-smart") => Ok(Payload::ByContent),
        Some("compat") => Ok(Payload::Wasm),
        Some(other) => refuse(VARIANT, other, "\"compat\" or \"compat-smart\""),
    }
}

/// Whether it holds a pod. Then it has the annotations of its pod, which speak of the pod's containers.
pub(crate) fn is_sandbox(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations
        .and_then(|given| given.get(KIND))
        .map(String::as_str)
        == Some(SANDBOX)
}

/// The payload of a further process. A container that was promised to be native stays native; the
/// others may have both, whatever their first process is.
pub(crate) fn of_exec(init: Payload) -> Payload {
    match init {
        Payload::Native => Payload::Native,
        Payload::ByContent | Payload::Wasm | Payload::Compile | Payload::Hold => Payload::ByContent,
    }
}
