//! The annotation that says whether a container is Wasm.

use crate::refused::check;
use crate::{host, lower_value, with};
use hull_abi::Payload;
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
