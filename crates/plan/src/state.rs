//! The container's state as hooks read it from standard input.

use hull_abi::{ContainerId, HookState};
use serde_json::{Map, Value, json};

/// The part of a container's state that never changes
/// (<https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state>).
pub(crate) fn lower(
    oci_version: &str,
    id: &ContainerId,
    bundle: &str,
    annotations: &[(String, String)],
) -> HookState {
    let annotations: Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let state = json!({
        "ociVersion": oci_version,
        "id": id.as_str(),
        "bundle": bundle,
        "annotations": annotations,
    });
    let mut head = state.to_string();
    // The closing brace comes with what changes.
    head.pop();
    HookState { head }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_has_the_properties_of_the_spec() {
        let id = ContainerId::parse("c1").unwrap();
        let annotations = [("k".to_owned(), "v\"".to_owned())];
        let state = lower("1.0.2", &id, "/b", &annotations);
        let parsed: Value = serde_json::from_str(&state.render("created", Some(7))).unwrap();
        let wanted = json!({
            "ociVersion": "1.0.2", "id": "c1", "status": "created", "pid": 7, "bundle": "/b",
            "annotations": { "k": "v\"" },
        });
        assert_eq!(parsed, wanted);
        let parsed: Value = serde_json::from_str(&state.render("stopped", None)).unwrap();
        assert_eq!(parsed["status"], "stopped");
        assert_eq!(parsed.get("pid"), None);
    }
}
