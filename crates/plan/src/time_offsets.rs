//! `linux.timeOffsets`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#offset-for-time-namespace>).

use crate::Invalid;
use hull_abi::{Clock, NamespaceKind, NamespacePlan, TimeOffset};
use oci_spec::runtime::{Linux, LinuxTimeOffset};
use std::collections::BTreeMap;

const NANOSECONDS: u32 = 1_000_000_000;

/// The offsets in the order of their clocks.
pub(crate) fn lower(
    linux: &Linux,
    namespaces: &[NamespacePlan],
) -> Result<Vec<TimeOffset>, Invalid> {
    // Sorted, so that of several mistakes always the same one is reported.
    let given: BTreeMap<&String, &LinuxTimeOffset> =
        linux.time_offsets().iter().flatten().collect();
    let is_new = |namespace: &NamespacePlan| {
        namespace.kind == NamespaceKind::Time && namespace.path.is_none()
    };
    if !given.is_empty() && !namespaces.iter().any(is_new) {
        return Err(Invalid::new(
            "linux.timeOffsets",
            "offsets need a new time namespace",
        ));
    }
    let mut offsets = given
        .into_iter()
        .map(|(name, offset)| one(name, offset))
        .collect::<Result<Vec<_>, Invalid>>()?;
    offsets.sort_by_key(|offset| offset.clock);
    Ok(offsets)
}

fn one(name: &str, offset: &LinuxTimeOffset) -> Result<TimeOffset, Invalid> {
    let field = || format!("linux.timeOffsets[{name:?}]");
    let clocks = [Clock::Monotonic, Clock::Boottime];
    let Some(clock) = clocks.into_iter().find(|clock| clock.name() == name) else {
        let why = "only the clocks monotonic and boottime have offsets";
        return Err(Invalid::new(field(), why));
    };
    let nanoseconds = offset.nanosecs().unwrap_or(0);
    if nanoseconds >= NANOSECONDS {
        let why = format!("{nanoseconds} is a second or more");
        return Err(Invalid::new(format!("{}.nanosecs", field()), why));
    }
    Ok(TimeOffset {
        clock,
        seconds: offset.secs().unwrap_or(0),
        nanoseconds,
    })
}
