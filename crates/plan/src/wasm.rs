//! The annotations `io.containerd.hull.wasm.*`: how the Wasm processes of a container are run.

mod features;
mod net;
mod preopens;
mod units;

pub use features::parse as proposals;

use crate::Invalid;
use crate::paths::clean;
use crate::payload::is_sandbox;
use hull_abi::{MAX_CONCURRENCY, WasmSettings, World};
use oci_spec::runtime::Spec;

/// What all of them begin with.
const PREFIX: &str = "io.containerd.hull.wasm.";

/// The one that names [proposals].
pub const FEATURES: &str = "io.containerd.hull.wasm.features";

/// The rest of their names.
const NAMES: [&str; 15] = [
    "world",
    "features",
    "preopens",
    "net",
    "timeout",
    "max-memory",
    "max-wasm-stack",
    "coredump",
    "backtrace",
    "http.addr",
    "http.max-concurrency",
    "http.request-timeout",
    "http.drain-timeout",
    "http.max-body",
    "http.max-reuse",
];

/// Stacks that the runner can make: below the smallest a guest could not even start, and the largest
/// is what a native thread hardly ever has.
const STACK: std::ops::RangeInclusive<u64> = 64 << 10..=256 << 20;
/// Longest path that the kernel takes (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// All of them. A name that is none of ours is a mistake: its author expects something of it.
pub(crate) fn lower(spec: &Spec) -> Result<WasmSettings, Invalid> {
    let mut settings = WasmSettings::default();
    if is_sandbox(spec) {
        return Ok(settings);
    }
    let given = spec.annotations().iter().flatten();
    let mut ours: Vec<(&str, &str)> = given
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.as_str())))
        .collect();
    // Of several mistakes the same one is told every time.
    ours.sort_unstable();
    for (name, value) in ours {
        set(&mut settings, name, value)
            .map_err(|why| Invalid::new(format!("annotations[\"{PREFIX}{name}\"]"), why))?;
    }
    Ok(settings)
}

/// Sets what one annotation asks for; else what is wrong with it.
fn set(settings: &mut WasmSettings, name: &str, value: &str) -> Result<(), String> {
    let http = &mut settings.http;
    match name {
        "world" => settings.world = world(value)?,
        "features" => settings.proposals = features::parse(value)?,
        "preopens" => settings.preopens = Some(preopens::parse(value)?),
        "net" => settings.net = net::parse(value)?,
        "timeout" => settings.timeout_ms = Some(units::duration(value, 1)?),
        "max-memory" => settings.max_memory = Some(units::size(value, 1..=u64::MAX)?),
        "max-wasm-stack" => settings.stack = Some(units::size(value, STACK)?),
        "coredump" => settings.coredump = Some(directory(value)?),
        "backtrace" => settings.no_backtrace = !on(value)?,
        "http.addr" => http.addr = Some(net::listener(value)?),
        "http.max-concurrency" => {
            http.max_concurrency = Some(units::count(value, MAX_CONCURRENCY)?);
        }
        "http.request-timeout" => http.request_timeout_ms = Some(units::duration(value, 1)?),
        "http.drain-timeout" => http.drain_timeout_ms = Some(units::duration(value, 0)?),
        "http.max-body" => http.max_body = Some(units::size(value, 0..=u64::MAX)?),
        "http.max-reuse" => http.max_reuse = Some(units::count(value, u32::MAX)?),
        _ => {
            return Err(format!(
                "hull has no such annotation; it has {}",
                NAMES.join(", ")
            ));
        }
    }
    Ok(())
}

fn world(value: &str) -> Result<World, String> {
    match value {
        "command" => Ok(World::Command),
        "http" => Ok(World::Http),
        _ => Err(format!("{value:?} is not \"command\" or \"http\"")),
    }
}

fn on(value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{value:?} is not \"on\" or \"off\"")),
    }
}

fn directory(value: &str) -> Result<String, String> {
    if !value.starts_with('/') {
        return Err(format!(
            "{value:?} is not an absolute path in the container"
        ));
    }
    if value.len() >= MAX_PATH {
        return Err(format!("it is longer than {MAX_PATH} bytes"));
    }
    Ok(clean(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_offered_exists() {
        for name in NAMES {
            let why = set(&mut WasmSettings::default(), name, "\u{1}").unwrap_err();
            assert!(!why.contains("no such"), "{name}: {why}");
        }
    }
}
