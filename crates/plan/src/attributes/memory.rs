//! `linux.memoryPolicy`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#memory-policy>).

use super::number_set;
use crate::Invalid;
use crate::config::typed;
use hull_abi::{MemoryPolicy, NumberSet};
use serde::Deserialize;
use serde_json::Value;

const FIELD: &str = "linux.memoryPolicy";

/// The highest NUMA node that the kernel can be built for: `CONFIG_NODES_SHIFT` is at most 10.
const MAX_NODE: u16 = 1023;

const NUMA_BALANCING: u32 = 1 << 13;
const RELATIVE_NODES: u32 = 1 << 14;
const STATIC_NODES: u32 = 1 << 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Mode {
    #[serde(rename = "MPOL_DEFAULT")]
    Default = 0,
    #[serde(rename = "MPOL_PREFERRED")]
    Preferred = 1,
    #[serde(rename = "MPOL_BIND")]
    Bind = 2,
    #[serde(rename = "MPOL_INTERLEAVE")]
    Interleave = 3,
    #[serde(rename = "MPOL_LOCAL")]
    Local = 4,
    #[serde(rename = "MPOL_PREFERRED_MANY")]
    PreferredMany = 5,
    #[serde(rename = "MPOL_WEIGHTED_INTERLEAVE")]
    WeightedInterleave = 6,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Flag {
    #[serde(rename = "MPOL_F_NUMA_BALANCING")]
    NumaBalancing = 1 << 13,
    #[serde(rename = "MPOL_F_RELATIVE_NODES")]
    RelativeNodes = 1 << 14,
    #[serde(rename = "MPOL_F_STATIC_NODES")]
    StaticNodes = 1 << 15,
}

#[derive(Debug, Deserialize)]
struct Given {
    mode: Mode,
    #[serde(default)]
    nodes: String,
    #[serde(default)]
    flags: Vec<Flag>,
}

/// Lowers it: what the kernel would answer with "invalid argument" is refused here, by name.
pub(super) fn lower(value: &Value) -> Result<MemoryPolicy, Invalid> {
    let given: Given = typed(value, FIELD)?;
    let flags = given.flags.iter().fold(0, |bits, flag| bits | *flag as u32);
    Ok(MemoryPolicy {
        mode: given.mode as u32,
        flags: check_flags(given.mode, flags)?,
        nodes: nodes(&given, flags)?,
    })
}

fn wrong(member: &str, why: impl Into<String>) -> Invalid {
    Invalid::new(format!("{FIELD}.{member}"), why)
}

fn check_flags(mode: Mode, flags: u32) -> Result<u32, Invalid> {
    if flags & STATIC_NODES != 0 && flags & RELATIVE_NODES != 0 {
        let why = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        return Err(wrong("flags", why));
    }
    if flags & NUMA_BALANCING != 0 && !matches!(mode, Mode::Bind | Mode::PreferredMany) {
        let why = "MPOL_F_NUMA_BALANCING goes with MPOL_BIND or MPOL_PREFERRED_MANY";
        return Err(wrong("flags", why));
    }
    Ok(flags)
}

fn nodes(given: &Given, flags: u32) -> Result<NumberSet, Invalid> {
    let takes_none = matches!(given.mode, Mode::Default | Mode::Local);
    let needs_some = !takes_none && given.mode != Mode::Preferred;
    match (given.nodes.is_empty(), takes_none) {
        (true, _) if needs_some => Err(wrong("nodes", "this mode needs some")),
        (true, _) if flags & (STATIC_NODES | RELATIVE_NODES) != 0 => Err(wrong(
            "flags",
            "they say how to read nodes, and there are none",
        )),
        (true, _) => Ok(NumberSet::default()),
        (false, true) => Err(wrong("nodes", "this mode takes none")),
        (false, false) => {
            number_set::parse(&given.nodes, MAX_NODE).map_err(|why| wrong("nodes", why))
        }
    }
}
