//! The annotation that says whether a container is Wasm.

use crate::refused::check;
use crate::{host, lower_value, with};
use hull_abi::{Payload, WasmSettings};
use hull_plan::lower_exec;
use serde_json::{Value, json};

/// `/` in the annotation's name would be a step of the path: it has none.
const ANNOTATION: &str = "/annotations/io.containerd.hull.wasm";

fn init(annotation: Value) -> hull_abi::Plan {
    lower_value(&with(&[(ANNOTATION, annotation)])).unwrap()
}

#[test]
fn the_annotation_decides_about_init() {
    for (annotation, want) in [
        (Value::Null, Payload::ByContent),
        (json!("auto"), Payload::ByContent),
        (json!("yes"), Payload::Wasm),
        (json!("no"), Payload::Native),
    ] {
        assert_eq!(init(annotation).process.payload, want);
    }
}

#[test]
fn other_words_are_refused() {
    let why = |word: &str| {
        format!(
            "annotations[\"io.containerd.hull.wasm\"]: {word:?} is not \"auto\", \"yes\" or \"no\""
        )
    };
    for word in ["", "true", "YES", "auto "] {
        check(&[(ANNOTATION, json!(word), &why(word))]);
    }
}

#[test]
fn only_a_container_that_is_native_binds_its_execs() {
    let process = json!({ "args": ["ls"], "cwd": "/" }).to_string();
    for (annotation, want) in [
        ("auto", Payload::ByContent),
        ("yes", Payload::ByContent),
        ("no", Payload::Native),
    ] {
        let init = init(json!(annotation));
        let exec = lower_exec(process.as_bytes(), false, &init, &host()).unwrap();
        assert_eq!(exec.process.payload, want, "{annotation}");
    }
}

/// Annotations by their names, which have slashes in them.
fn with_annotations(annotations: &[(&str, &str)]) -> Value {
    let map: serde_json::Map<String, Value> = annotations
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    with(&[("/annotations", Value::Object(map))])
}

#[test]
fn the_annotations_of_others_decide_where_ours_is_absent() {
    const OURS: &str = "io.containerd.hull.wasm";
    const CRUN: &str = "run.oci.handler";
    const IMAGE: &str = "module.wasm.image/variant";
    for (annotations, want) in [
        (&[(CRUN, "wasm")][..], Payload::Wasm),
        (&[(CRUN, "wasm-smart")], Payload::ByContent),
        (&[(IMAGE, "compat")], Payload::Wasm),
        (&[(IMAGE, "compat-smart")], Payload::ByContent),
        (
            &[(CRUN, "wasm-smart"), (IMAGE, "compat")],
            Payload::ByContent,
        ),
        (&[(OURS, "no"), (CRUN, "wasm")], Payload::Native),
        (&[(OURS, "auto"), (CRUN, "krun")], Payload::ByContent),
    ] {
        let plan = lower_value(&with_annotations(annotations)).unwrap();
        assert_eq!(plan.process.payload, want, "{annotations:?}");
    }
    for (name, value, allowed) in [
        (CRUN, "krun", "\"wasm\" or \"wasm-smart\""),
        (IMAGE, "smart", "\"compat\" or \"compat-smart\""),
    ] {
        let refusal = lower_value(&with_annotations(&[(name, value)])).unwrap_err();
        let want = format!("invalid config: annotations[{name:?}]: {value:?} is not {allowed}");
        assert_eq!(refusal.to_string(), want);
    }
}

#[test]
fn what_a_pod_says_of_its_containers_does_not_concern_its_pause_container() {
    let annotations = [
        ("io.containerd.hull.wasm", "yes"),
        ("io.containerd.hull.wasm.net", "no such peer"),
        ("io.containerd.hull.wasm.timeout", "5s"),
        ("io.kubernetes.cri.container-type", "sandbox"),
    ];
    let plan = lower_value(&with_annotations(&annotations)).unwrap();
    assert_eq!(plan.process.payload, Payload::ByContent);
    assert_eq!(plan.wasm, WasmSettings::default());
    // The pod's containers get the same ones.
    let of_container = [
        annotations[1],
        ("io.kubernetes.cri.container-type", "container"),
    ];
    let refusal = lower_value(&with_annotations(&of_container)).unwrap_err();
    assert!(refusal.to_string().contains("hull.wasm.net"), "{refusal}");
}
