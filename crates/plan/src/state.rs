//! The container's state as hooks read it from standard input.

use hull_abi::ContainerId;
use serde_json::{Map, Value, json};

/// The state of a container as JSON
/// (<https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state>).
///
/// `status` is one of the spec's words (`creating`, `created`, `running`, `stopped`); `pid` is the
/// init process as the host sees it and is left out when there is none.
#[must_use]
#[expect(
    clippy::too_many_arguments,
    reason = "one argument for each property of the spec's state"
)]
pub fn state_json(
    oci_version: &str,
    id: &ContainerId,
    status: &str,
    pid: Option<i32>,
    bundle: &str,
    annotations: &[(String, String)],
) -> String {
    let annotations: Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    let mut state = Map::new();
    state.insert("ociVersion".to_owned(), json!(oci_version));
    state.insert("id".to_owned(), json!(id.as_str()));
    state.insert("status".to_owned(), json!(status));
    if let Some(pid) = pid {
        state.insert("pid".to_owned(), json!(pid));
    }
    state.insert("bundle".to_owned(), json!(bundle));
    state.insert("annotations".to_owned(), Value::Object(annotations));
    Value::Object(state).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_has_the_properties_of_the_spec() {
        let id = ContainerId::parse("c1").unwrap();
        let annotations = [("k".to_owned(), "v\"".to_owned())];
        let text = state_json("1.0.2", &id, "created", Some(7), "/b", &annotations);
        assert_eq!(
            text,
            r#"{"annotations":{"k":"v\""},"bundle":"/b","id":"c1","ociVersion":"1.0.2","pid":7,"status":"created"}"#
        );
        assert!(!state_json("1.0.2", &id, "stopped", None, "/b", &[]).contains("pid"));
    }
}
