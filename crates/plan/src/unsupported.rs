//! What the spec allows and we cannot do yet. Looked for before the config is typed, so that the
//! answer is the same whatever the value is.

use crate::Invalid;
use serde_json::Value;

/// Path of a member, and the subject and verb of the message.
type Row = (&'static str, &'static str);

const LINUX: [Row; 1] = [("intelRdt", "Intel RDT is")];

/// Checks a whole config.
pub(crate) fn check_config(config: &Value) -> Result<(), Invalid> {
    let Some(linux) = config.get("linux") else {
        return Ok(());
    };
    refuse(linux, "linux", &LINUX)
}

fn refuse(value: &Value, prefix: &str, rows: &[Row]) -> Result<(), Invalid> {
    for (path, what) in rows {
        let found = path.split('.').try_fold(value, |value, key| value.get(key));
        if found.is_some_and(|found| !is_empty(found)) {
            return Err(Invalid::unsupported(format!("{prefix}.{path}"), what));
        }
    }
    Ok(())
}

/// What a client writes who asks for nothing.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
