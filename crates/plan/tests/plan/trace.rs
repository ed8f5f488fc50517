//! The annotation that asks for a trace.

use crate::refused::check;
use crate::{lower_value, with};
use serde_json::{Value, json};

const ANNOTATION: &str = "/annotations/io.containerd.hull.trace";

#[test]
fn only_yes_asks_for_a_trace() {
    for (annotation, want) in [
        (Value::Null, false),
        (json!("no"), false),
        (json!("yes"), true),
    ] {
        let plan = lower_value(&with(&[(ANNOTATION, annotation)])).unwrap();
        assert_eq!(plan.trace, want);
    }
}

#[test]
fn other_words_are_refused() {
    let why = "annotations[\"io.containerd.hull.trace\"]: \"1\" is not \"yes\" or \"no\"";
    check(&[(ANNOTATION, json!("1"), why)]);
}
