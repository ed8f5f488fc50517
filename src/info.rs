//! `-info` and `-v`: who we are and what we can do.
//!
//! The features document lists what a config.json may ask of us, whatever this host offers
//! (<https://github.com/opencontainers/runtime-spec/blob/main/features.md>). containerd believes
//! it, so nothing is listed that does not work.

use crate::error::Error;
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use serde_json::{Value, json};
use std::io;

/// The runtime's name for containerd.
pub(crate) const NAME: &str = "io.containerd.hull.v1";

/// Version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that this program was built from, where the build says so.
const REVISION: Option<&str> = option_env!("HULL_REVISION");

/// What containerd looks for to find the features document.
const FEATURES_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Versions of the OCI spec: the first stable one, and the last whose every field is either
/// honoured or refused by name.
const OCI_VERSION_MIN: &str = "1.0.0";
const OCI_VERSION_MAX: &str = "1.3.0";

/// Attributes that also have a form for whole trees, with an `r` in front.
const MOUNT_ATTRIBUTES: [&str; 18] = [
    "atime",
    "dev",
    "diratime",
    "exec",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "relatime",
    "ro",
    "rw",
    "strictatime",
    "suid",
    "symfollow",
];

/// The other words that a mount may have.
const MOUNT_WORDS: [&str; 21] = [
    "async",
    "bind",
    "defaults",
    "dirsync",
    "idmap",
    "lazytime",
    "loud",
    "nolazytime",
    "private",
    "rbind",
    "ridmap",
    "rprivate",
    "rshared",
    "rslave",
    "runbindable",
    "shared",
    "silent",
    "slave",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Capabilities in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What `-info` prints: a bare `containerd.types.RuntimeInfo`.
///
/// # Errors
/// When the message cannot be encoded, which nothing in it causes.
pub(crate) fn info() -> Result<Vec<u8>, Error> {
    let failed = |e| Error::host("encode the runtime's description", e);
    let features = serde_json::to_vec(&features()).map_err(|e| failed(io::Error::other(e)))?;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: VERSION.to_owned(),
            revision: REVISION.unwrap_or_default().to_owned(),
            ..RuntimeVersion::default()
        }),
        features: MessageField::some(Any {
            type_url: FEATURES_TYPE.to_owned(),
            value: features,
            ..Any::default()
        }),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes()
        .map_err(|e| failed(io::Error::other(e)))
}

/// What `-v` prints, for people.
pub(crate) fn version() -> String {
    format!(
        "containerd-shim-hull-v1 {VERSION} {}\n",
        REVISION.unwrap_or_default()
    )
    .replace(" \n", "\n")
}

fn features() -> Value {
    json!({
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION_MAX,
        "hooks": [
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        "mountOptions": mount_options(),
        "linux": {
            "namespaces": [
                "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
            ],
            "capabilities": CAPABILITIES.as_slice(),
            "cgroup": {
                "v1": true,
                "v2": true,
                "systemd": true,
                "systemdUser": false,
                "rdma": true,
            },
            "seccomp": seccomp(),
            // Ours to offer; whether the host has it is not asked here.
            "apparmor": { "enabled": true },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "netDevices": { "enabled": true },
            "memoryPolicy": {
                "modes": [
                    "MPOL_BIND",
                    "MPOL_DEFAULT",
                    "MPOL_INTERLEAVE",
                    "MPOL_LOCAL",
                    "MPOL_PREFERRED",
                    "MPOL_PREFERRED_MANY",
                    "MPOL_WEIGHTED_INTERLEAVE",
                ],
                "flags": [
                    "MPOL_F_NUMA_BALANCING",
                    "MPOL_F_RELATIVE_NODES",
                    "MPOL_F_STATIC_NODES",
                ],
            },
            "mountExtensions": { "idmap": { "enabled": true } },
        },
    })
}

fn mount_options() -> Vec<String> {
    let trees = MOUNT_ATTRIBUTES.iter().map(|word| format!("r{word}"));
    let words = MOUNT_ATTRIBUTES
        .iter()
        .chain(&MOUNT_WORDS)
        .map(|word| (*word).to_owned());
    let mut words: Vec<String> = words.chain(trees).collect();
    words.sort_unstable();
    words
}

fn seccomp() -> Value {
    json!({
        "enabled": true,
        "actions": [
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_ERRNO",
            "SCMP_ACT_KILL",
            "SCMP_ACT_KILL_PROCESS",
            "SCMP_ACT_KILL_THREAD",
            "SCMP_ACT_LOG",
            "SCMP_ACT_NOTIFY",
            "SCMP_ACT_TRACE",
            "SCMP_ACT_TRAP",
        ],
        "operators": [
            "SCMP_CMP_EQ",
            "SCMP_CMP_GE",
            "SCMP_CMP_GT",
            "SCMP_CMP_LE",
            "SCMP_CMP_LT",
            "SCMP_CMP_MASKED_EQ",
            "SCMP_CMP_NE",
        ],
        // Rules for other architectures are read and left out: no such process can run here.
        "archs": ["SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"],
        "knownFlags": [
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ],
        "supportedFlags": [
            "SECCOMP_FILTER_FLAG_TSYNC",
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
            "SECCOMP_FILTER_FLAG_LOG",
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_travels_bare_under_its_type() {
        let info = RuntimeInfo::parse_from_bytes(&info().unwrap()).unwrap();
        assert_eq!(info.name, "io.containerd.hull.v1");
        assert_eq!(info.version.version, env!("CARGO_PKG_VERSION"));
        assert_eq!(info.features.type_url, FEATURES_TYPE);
        let features: Value = serde_json::from_slice(&info.features.value).unwrap();
        assert_eq!(features, super::features());
    }

    #[test]
    fn recursive_read_only_is_among_the_mount_options() {
        let words = mount_options();
        for word in ["ro", "rro", "rbind", "rnosymfollow", "rprivate"] {
            assert!(words.iter().any(|w| w == word), "{word}");
        }
        let mut unique = words.clone();
        unique.dedup();
        assert_eq!(words, unique);
    }

    #[test]
    fn the_version_is_one_line() {
        let version = version();
        assert!(version.starts_with("containerd-shim-hull-v1 "));
        assert!(version.contains(VERSION) && version.ends_with('\n') && !version.contains(" \n"));
    }
}
