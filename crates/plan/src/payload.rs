//! What a container's processes may be: Wasm, native, or either.

use crate::Invalid;
use hull_abi::Payload;
use oci_spec::runtime::Spec;

/// The annotation that says whether the container's program is a Wasm file.
const ANNOTATION: &str = "io.containerd.hull.wasm";

/// The payload of the init process.
pub(crate) fn lower(spec: &Spec) -> Result<Payload, Invalid> {
    let annotations = spec.annotations().as_ref();
    match annotations
        .and_then(|given| given.get(ANNOTATION))
        .map(String::as_str)
    {
        None | Some("auto") => Ok(Payload::ByContent),
        Some("yes") => Ok(Payload::Wasm),
        Some("no") => Ok(Payload::Native),
        Some(other) => Err(Invalid::new(
            format!("annotations[{ANNOTATION:?}]"),
            format!("{other:?} is not \"auto\", \"yes\" or \"no\""),
        )),
    }
}

/// The payload of a further process. A container that was promised to be native stays native; the
/// others may have both, whatever their first process is.
pub(crate) fn of_exec(init: Payload) -> Payload {
    match init {
        Payload::Native => Payload::Native,
        Payload::ByContent | Payload::Wasm | Payload::Compile => Payload::ByContent,
    }
}
