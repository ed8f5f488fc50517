//! What the spec allows and we cannot do yet. Looked for before the config is typed, so that the
//! answer is the same whatever the value is.

use crate::Invalid;
use serde_json::Value;

/// Path of a member, and the subject and verb of the message.
type Row = (&'static str, &'static str);

const PROCESS: [Row; 3] = [
    ("scheduler", "a scheduling policy is"),
    ("ioPriority", "an I/O priority is"),
    ("execCPUAffinity", "a CPU affinity for execs is"),
];

const LINUX: [Row; 4] = [
    ("intelRdt", "Intel RDT is"),
    ("memoryPolicy", "a memory policy is"),
    ("seccomp.listenerPath", "notifying a seccomp agent is"),
    ("seccomp.listenerMetadata", "notifying a seccomp agent is"),
];

/// Checks a whole config.
pub(crate) fn check_config(config: &Value) -> Result<(), Invalid> {
    if let Some(process) = config.get("process") {
        check_process(process)?;
    }
    let Some(linux) = config.get("linux") else {
        return Ok(());
    };
    refuse(linux, "linux", &LINUX)?;
    check_personality(linux)
}

/// Checks a process.
pub(crate) fn check_process(process: &Value) -> Result<(), Invalid> {
    refuse(process, "process", &PROCESS)
}

/// The domain `LINUX` without flags is what every process has anyway.
fn check_personality(linux: &Value) -> Result<(), Invalid> {
    let Some(personality) = linux.get("personality") else {
        return Ok(());
    };
    let domain = personality.get("domain").and_then(Value::as_str);
    let has_flags = personality
        .get("flags")
        .is_some_and(|flags| !is_empty(flags));
    if has_flags || domain.is_some_and(|domain| domain != "LINUX") {
        return Err(Invalid::unsupported(
            "linux.personality",
            "a personality is",
        ));
    }
    Ok(())
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
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
