//! config.json and a few facts about the host → [`Plan`](hull_abi::Plan): every decision about a
//! container, made before any privilege is used.
//!
//! Everything here is pure (no I/O) and total (no input makes it panic). A field that we cannot
//! honour is an error that names it, never ignored; what is dropped without harm to the isolation
//! is listed in the plan's warnings. This is the only crate that knows the types of the
//! [OCI runtime spec](https://github.com/opencontainers/runtime-spec/blob/main/config.md).
#![forbid(unsafe_code)]

mod attributes;
mod capabilities;
mod compile;
mod config;
mod device_rules;
mod devices;
mod hold;
mod hooks;
mod id_maps;
mod interfaces;
mod invalid;
mod lower;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod paths;
mod payload;
mod process;
mod resources;
mod root;
mod scope;
pub mod seccomp;
mod state;
mod sysctl;
mod time_offsets;
mod unsupported;
mod wasm;

pub use capabilities::names as capability_names;
pub use compile::{CompileInputs, CompilerTask, compile_plan};
pub use hold::{PodInputs, PodNetwork, PodUsers, lower_pod};
pub use invalid::Invalid;
pub use lower::{lower, lower_exec, lower_resources};
pub use wasm::{FEATURES as WASM_FEATURES, proposals as wasm_proposals};

use hull_abi::ContainerId;

/// What the plan depends on besides the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host {
    /// The highest capability that the kernel knows (`/proc/sys/kernel/cap_last_cap`).
    pub last_capability: u8,
    /// The capabilities that we can give away: the daemon's own permitted set.
    pub grantable_capabilities: u64,
    /// Whether AppArmor is enabled, so that a profile can be applied.
    pub default_apparmor: bool,
    /// Whether SELinux is enabled, so that a label can be applied.
    pub selinux: bool,
}

/// A container to lower, as containerd's Create request describes it.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The bytes of config.json.
    pub config: &'a [u8],
    /// Absolute path of the bundle.
    pub bundle: &'a str,
    /// The container's id.
    pub id: &'a ContainerId,
    /// The containerd namespace, part of the default cgroup path.
    pub namespace: &'a str,
    /// The absolute directory on which the snapshotter's mounts go; `None` takes `root.path`.
    pub rootfs: Option<&'a str>,
    /// Whether the root is moved instead of pivoted.
    pub no_pivot: bool,
    /// Whether the request asks for a terminal.
    pub terminal: bool,
}
