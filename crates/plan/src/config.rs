//! Bytes → types of the OCI spec, with runc's tolerance and with errors that name the field.

use crate::attributes::Raw;
use crate::{Invalid, capabilities, unsupported};
use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Largest config that is read; containerd's own are around 16 KiB.
const MAX_BYTES: usize = 16 << 20;

/// Parses a whole config.json.
pub(crate) fn spec(json: &[u8], warnings: &mut Vec<String>) -> Result<(Spec, Raw), Invalid> {
    let mut value = value(json, "config.json")?;
    if let Some(process) = value.get_mut("process") {
        relax_process(process, warnings);
    }
    if let Some(resources) = value.pointer_mut("/linux/resources") {
        relax_resources(resources);
    }
    unsupported::check_config(&value)?;
    let attributes = Raw::of_config(&mut value);
    Ok((typed(&value, "")?, attributes))
}

/// Parses the process of an Exec request.
pub(crate) fn process(json: &[u8], warnings: &mut Vec<String>) -> Result<(Process, Raw), Invalid> {
    let mut value = value(json, "process")?;
    relax_process(&mut value, warnings);
    let attributes = Raw::of_process(&mut value);
    Ok((typed(&value, "process")?, attributes))
}

/// Parses the resources of an Update request.
pub(crate) fn resources(json: &[u8]) -> Result<LinuxResources, Invalid> {
    let mut value = value(json, "linux.resources")?;
    relax_resources(&mut value);
    typed(&value, "linux.resources")
}

/// JSON without null members and without NUL characters. Depth is limited by serde_json.
fn value(json: &[u8], field: &str) -> Result<Value, Invalid> {
    if json.len() > MAX_BYTES {
        return Err(Invalid::new(
            field,
            format!("it is larger than {MAX_BYTES} bytes"),
        ));
    }
    let mut value: Value =
        serde_json::from_slice(json).map_err(|e| Invalid::new(field, format!("no JSON: {e}")))?;
    if !value.is_object() {
        return Err(Invalid::new(field, "it is not a JSON object"));
    }
    remove_nulls(&mut value);
    let prefix = if field == "config.json" { "" } else { field };
    refuse_nul(&value, &mut prefix.to_owned())?;
    Ok(value)
}

/// The typed form. The path of a mistake is looked for only once there is one.
pub(crate) fn typed<T: for<'de> Deserialize<'de>>(
    value: &Value,
    prefix: &str,
) -> Result<T, Invalid> {
    if let Ok(typed) = T::deserialize(value) {
        return Ok(typed);
    }
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        let field = match (prefix, path.as_str()) {
            ("", ".") => "config.json".to_owned(),
            (prefix, ".") => prefix.to_owned(),
            ("", path) => path.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        Invalid::new(field, in_short(e.inner().to_string()))
    })
}

/// Without the list of all that would have been right, where that is long.
fn in_short(why: String) -> String {
    const LONG: usize = 200;
    match why.split_once(", expected one of") {
        Some((short, _)) if why.len() > LONG => short.to_owned(),
        _ => why,
    }
}

/// A Go program writes null for an absent list or pointer.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// No system call can take a string with a NUL in it; it would be cut off there.
fn refuse_nul(value: &Value, path: &mut String) -> Result<(), Invalid> {
    let len = path.len();
    match value {
        Value::String(text) if text.contains('\0') => {
            return Err(Invalid::new(path.clone(), "it contains a NUL character"));
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                path.push_str(&format!("[{i}]"));
                refuse_nul(item, path)?;
                path.truncate(len);
            }
        }
        Value::Object(members) => refuse_nul_members(members, path)?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    Ok(())
}

fn refuse_nul_members(members: &Map<String, Value>, path: &mut String) -> Result<(), Invalid> {
    let len = path.len();
    for (key, member) in members {
        if key.contains('\0') {
            let field = if path.is_empty() {
                "config.json"
            } else {
                path.as_str()
            };
            return Err(Invalid::new(
                field,
                format!("the key {key:?} contains a NUL character"),
            ));
        }
        if len > 0 {
            path.push('.');
        }
        path.push_str(key);
        refuse_nul(member, path)?;
        path.truncate(len);
    }
    Ok(())
}

/// Absent `user` means root, an unknown capability name is a warning.
fn relax_process(process: &mut Value, warnings: &mut Vec<String>) {
    let Some(process) = process.as_object_mut() else {
        return;
    };
    process
        .entry("user")
        .or_insert_with(|| Value::Object(Map::new()));
    let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let mut unknown: Vec<String> = Vec::new();
    for names in sets.values_mut().filter_map(Value::as_array_mut) {
        names.retain(|name| match name.as_str() {
            Some(name) if !capabilities::is_known(name) => {
                unknown.push(name.to_owned());
                false
            }
            Some(_) | None => true,
        });
    }
    unknown.sort();
    unknown.dedup();
    let lines = unknown
        .iter()
        .map(|name| format!("ignoring unknown capability {name:?}"));
    warnings.extend(lines);
}

/// Where the spec crate is narrower than the spec.
fn relax_resources(resources: &mut Value) {
    let Some(resources) = resources.as_object_mut() else {
        return;
    };
    // The crate takes an absent limit as 0.
    if resources
        .get("pids")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        resources.remove("pids");
    }
    // The spec has u64, the crate i64; both maxima mean no limit to the kernel.
    let pages = resources
        .get_mut("hugepageLimits")
        .and_then(Value::as_array_mut);
    for limit in pages
        .into_iter()
        .flatten()
        .filter_map(|page| page.get_mut("limit"))
    {
        if limit
            .as_u64()
            .is_some_and(|bytes| i64::try_from(bytes).is_err())
        {
            *limit = Value::from(i64::MAX);
        }
    }
    // Go writes an absent string as "".
    let rules = resources.get_mut("devices").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        if rule.get("type").and_then(Value::as_str) == Some("") {
            rule.remove("type");
        }
    }
}
