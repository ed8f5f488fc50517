//! Work on the host's side that may block and therefore runs in a short-lived child of the launcher.

use crate::{CgroupPaths, ContentSource, NetDevice, Resources};
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

/// A program on the host that takes the output of a process
/// ([containerd's logging plugins](https://github.com/containerd/containerd/blob/main/core/runtime/v2/README.md#logging)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggerProgram {
    /// Absolute path of the program.
    pub path: String,
    /// Its arguments, without `args[0]`, which is the path.
    pub args: Vec<String>,
    /// Its environment, exactly.
    pub env: Vec<String>,
    /// Working directory: the bundle.
    pub cwd: String,
}

/// What the containers of a pod share as files: those of `/etc` that say who and where the pod is, and
/// `/dev/shm`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodFiles {
    /// Absolute path of the directory for `hostname`, `hosts` and `resolv.conf`.
    pub directory: String,
    /// Absolute path of the directory on which the shared memory is mounted, unless the pod uses the
    /// host's.
    pub shm: Option<String>,
    /// Content of `hostname`; empty for the host's name.
    pub hostname: String,
    /// Content of `resolv.conf`; `None` copies the host's.
    pub resolv_conf: Option<String>,
}

/// What to do, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostJob {
    /// Mount the root file system, then make the cgroup and write its limits. On failure everything
    /// is undone. The descriptor that comes with the request stays open until that. A cgroup that systemd makes is held ([`Holding`](crate::FromInit::Holding)) until the
    /// daemon says [`Leave`](crate::ToInit::Leave) or is gone. Brings what watching the cgroup for want of
    /// memory takes (`hull_cgroup::OomFiles`), if it can be watched.
    Prepare {
        /// Mounts in order; empty where the bundle already holds a root file system.
        mounts: Vec<HostMount>,
        /// Absolute directory to mount on.
        rootfs: String,
        /// The cgroup to make, if any.
        cgroup: Option<CgroupSetup>,
        /// The files of a pod to make, if any.
        pod_files: Option<PodFiles>,
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
        /// The files of a pod that `Prepare` made, if any.
        pod_files: Option<PodFiles>,
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
    /// Become this program, outside of every container, with the descriptors 3, 4 and 5 that came with the
    /// request. Says [`Execing`](crate::FromInit::Execing) like a container's process.
    Logger(LoggerProgram),
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

/// A file that is to be known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Noted {
    /// The artifact of this key, which it must have been made for.
    Artifact([u8; 32]),
    /// A module.
    Module {
        /// Names its file system.
        place: String,
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
    /// Notes that an artifact is used (`hull_artifact::Store::touch`).
    Touch {
        /// The store's directory.
        store: String,
        /// The artifact's key.
        key: [u8; 32],
    },
    /// Reads the large file that comes with the request and notes what that gives, for later starts
    /// (`hull_artifact::Store::note`).
    Note {
        /// The store's directory.
        store: String,
        /// What the file is.
        what: Noted,
    },
    /// Asks containerd which Wasm module the image of a container has. Brings a memory file with an encoded
    /// [`ImageModule`](crate::ImageModule).
    Image {
        /// How to ask.
        source: ContentSource,
        /// The store's directory, where the answer for an image is remembered.
        store: String,
        /// The container.
        container: String,
    },
    /// Compiling the module whose file comes with the request, or which is a layer of an image, as far as that
    /// touches the store. Waits
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
        /// Whence the module is taken if no file comes.
        source: Option<ContentSource>,
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
