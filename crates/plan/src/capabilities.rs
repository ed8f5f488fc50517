//! Capability names and sets
//! ([capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)).

use crate::{Host, Invalid};
use hull_abi::CapabilitySets;
use oci_spec::runtime::{Capabilities, Process};

/// The names without their prefix; the index is the number in `linux/capability.h`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Whether the kernel headers that we know have a capability of this name, in any case and with or
/// without `CAP_`.
pub(crate) fn is_known(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    NAMES.contains(&upper.trim_start_matches("CAP_"))
}

/// The five sets. Without a `capabilities` object they are empty: a container gets what it asks for
/// and no more. What this kernel lacks or we cannot give is dropped with a warning, as runc does.
pub(crate) fn lower(
    process: &Process,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<CapabilitySets, Invalid> {
    let Some(given) = process.capabilities() else {
        return Ok(CapabilitySets::default());
    };
    let asked = CapabilitySets {
        bounding: mask(given.bounding()),
        effective: mask(given.effective()),
        inheritable: mask(given.inheritable()),
        permitted: mask(given.permitted()),
        ambient: mask(given.ambient()),
    };
    let any =
        asked.bounding | asked.effective | asked.inheritable | asked.permitted | asked.ambient;
    let known = u64::MAX
        .checked_shr(63_u32.saturating_sub(host.last_capability.into()))
        .unwrap_or(1);
    warn(any & !known, "the kernel does not know it", warnings);
    warn(
        any & known & !host.grantable_capabilities,
        "the shim does not have it",
        warnings,
    );
    let usable = known & host.grantable_capabilities;
    let sets = CapabilitySets {
        bounding: asked.bounding & usable,
        effective: asked.effective & usable,
        inheritable: asked.inheritable & usable,
        permitted: asked.permitted & usable,
        ambient: asked.ambient & usable,
    };
    match names(sets.effective & !sets.permitted).next() {
        Some(name) => Err(Invalid::new(
            "process.capabilities.effective",
            format!("CAP_{name} is not in the permitted set"),
        )),
        None => Ok(sets),
    }
}

fn warn(dropped: u64, why: &str, warnings: &mut Vec<String>) {
    warnings.extend(names(dropped).map(|name| format!("ignoring capability CAP_{name}: {why}")));
}

fn mask(set: &Option<Capabilities>) -> u64 {
    set.iter().flatten().fold(0, |mask, capability| {
        let name = capability.to_string();
        let bits = NAMES
            .iter()
            .zip(0_u32..)
            .filter(|(known, _)| **known == name);
        bits.fold(mask, |mask, (_, bit)| mask | (1 << bit))
    })
}

/// The names of the capabilities in a set, without `CAP_` and in the order of their numbers.
pub fn names(mask: u64) -> impl Iterator<Item = &'static str> {
    NAMES
        .iter()
        .zip(0_u32..)
        .filter(move |(_, bit)| mask & (1 << bit) != 0)
        .map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Capability;

    #[test]
    fn every_name_is_a_capability_of_the_spec_crate() {
        for (bit, name) in NAMES.iter().enumerate() {
            let parsed: Capability = serde_json::from_str(&format!("\"CAP_{name}\"")).unwrap();
            assert_eq!(
                mask(&Some([parsed].into_iter().collect())),
                1 << bit,
                "{name}"
            );
        }
    }

    #[test]
    fn names_are_known_in_any_spelling() {
        for name in [
            "CAP_NET_RAW",
            "cap_net_raw",
            "NET_RAW",
            "Net_Raw",
            "CAP_CAP_NET_RAW",
        ] {
            assert!(is_known(name), "{name}");
        }
        for name in ["CAP_FUTURE", "", "CAP_", "NET RAW"] {
            assert!(!is_known(name), "{name}");
        }
    }
}
