//! Work on the host's side that may block and therefore runs in a short-lived child of the launcher.

use crate::{CgroupPaths, NetDevice, Resources};
use serde::{Deserialize, Serialize};

/// One mount of the root file system, as containerd's snapshotter describes it
/// (`containerd.types.Mount`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMount {
    /// `overlay`, `bind`, …
    pub fstype: String,
    /// Source string.
    pub source: String,
    /// Path below the root file system, or empty for the root itself.
    pub target: String,
    /// Options in the words of mount(8).
    pub options: Vec<String>,
}

/// A hook program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: String,
    /// Its arguments, `args[0]` included; empty means just the path.
    pub args: Vec<String>,
    /// Its environment, exactly.
    pub env: Vec<String>,
    /// Seconds until it is killed.
    pub timeout_seconds: Option<u32>,
}

/// What to do, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostJob {
    /// Mount the root file system, then make the cgroup and write its limits. On failure everything
    /// is undone. A cgroup that systemd makes is held ([`Holding`](crate::FromInit::Holding)) until the
    /// daemon says [`Leave`](crate::ToInit::Leave) or is gone.
    Prepare {
        /// Mounts in order; empty where the bundle already holds a root file system.
        mounts: Vec<HostMount>,
        /// Absolute directory to mount on.
        rootfs: String,
        /// The cgroup to make, if any.
        cgroup: Option<CgroupSetup>,
    },
    /// The opposite of `Prepare`: kill what is left in the cgroup, remove it, unmount everything at
    /// and below the root file system. Missing things are no errors.
    Release {
        /// Absolute directory.
        rootfs: String,
        /// Whether the root file system was mounted by `Prepare`.
        unmount: bool,
        /// The cgroup.
        cgroup: CgroupPaths,
    },
    /// Change limits.
    Update {
        /// The cgroup.
        cgroup: CgroupPaths,
        /// What changes.
        resources: Resources,
    },
    /// Stop every process of the cgroup and wait until they have stopped.
    Freeze {
        /// The cgroup.
        cgroup: CgroupPaths,
    },
    /// Let the processes of the cgroup go on.
    Thaw {
        /// The cgroup.
        cgroup: CgroupPaths,
    },
    /// Send SIGKILL to every process of the cgroup and its descendants, frozen or not.
    Kill {
        /// The cgroup.
        cgroup: CgroupPaths,
    },
    /// Move network devices from the runtime's network namespace into that of the init process whose
    /// pidfd comes with the request. On failure every device is put back.
    NetDevices {
        /// The devices; those with templates for names last.
        devices: Vec<NetDevice>,
    },
    /// Work on the host's side of Wasm.
    Wasm(WasmJob),
    /// Run hooks one after the other in the host's namespaces, stopping at the first failure.
    Hooks {
        /// Which kind, for messages: `prestart`, `createRuntime`, `poststart`, `poststop`.
        kind: String,
        /// The programs.
        hooks: Vec<Hook>,
        /// The container's state as JSON, given to each on standard input.
        state: String,
        /// Working directory: the bundle.
        cwd: String,
        /// Whether a failing hook ends the run (`poststop` goes on and reports the first failure).
        stop_at_failure: bool,
    },
}

/// Work on the store of compiled artifacts
/// (`hull_artifact::Store`; paths are absolute, on the host).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WasmJob {
    /// Brings descriptors of the runner's and the compiler's binary in a form that nobody can write to, and of
    /// a read-only view of the store, which is made if it is absent.
    Open {
        /// The runner.
        runner: String,
        /// The compiler.
        compiler: String,
        /// The store's directory.
        store: String,
        /// A directory that stays empty.
        empty: String,
    },
    /// Writes down what `hull-wasmc --id` said, so that the next daemon need not ask.
    RememberEngine {
        /// The store's directory.
        store: String,
        /// Which binary was asked (`hull_artifact::CompilerIdentity`).
        compiler: String,
        /// What it said.
        engine: String,
    },
    /// Compiling the module whose file comes with the request, as far as that touches the store. Waits
    /// until nobody else compiles it; is done at once if a good artifact is there then. Else says
    /// [`Claimed`](crate::FromInit::Claimed) with a sealed copy of the module, waits for
    /// [`Keep`](crate::ToInit::Keep) with the artifact and puts that into the store. Brings the stored
    /// artifact, opened through a read-only view.
    Compile {
        /// The store's directory.
        store: String,
        /// The engine that the artifact is for.
        engine: String,
        /// sha256 that the copy must have.
        digest: [u8; 32],
        /// Path of the module in the container, for messages.
        program: String,
    },
}

/// A cgroup to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSetup {
    /// Where.
    pub paths: CgroupPaths,
    /// With which limits.
    pub resources: Resources,
    /// The host uid that a unified cgroup is given to, so that the container can divide it
    /// ([`Plan::cgroup_owner`](crate::Plan::cgroup_owner)).
    pub owner: Option<u32>,
}
