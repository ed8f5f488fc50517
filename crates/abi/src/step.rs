//! The steps of making a container or an exec process, in the order of their execution, and the
//! error that names the one that failed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where in the making of a process something happened. The order of the variants is the order of
/// execution of `launcher::init` (linux-contract §1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Step {
    /// Host: mounting the root file system.
    RootfsMount,
    /// Host: making the cgroup and writing its limits.
    Cgroup,
    /// Host: starting the program that takes the output.
    Logger,
    /// Launcher: clone3.
    Clone,
    /// Reading the plan.
    Plan,
    /// Joining the cgroup v1 hierarchies.
    JoinCgroup,
    /// Joining existing namespaces, making the cgroup namespace.
    Namespaces,
    /// Offsets of the clocks of a new time namespace.
    TimeOffsets,
    /// Maps of a user namespace, and becoming its root.
    IdMaps,
    /// CPU affinity, session, signals.
    Session,
    /// OOM score.
    OomScore,
    /// Session keyring.
    Keyring,
    /// Loopback device.
    Loopback,
    /// Propagation and self-bind of the root file system.
    RootfsPrepare,
    /// The mounts of the spec.
    Mounts,
    /// Device nodes and links.
    Devices,
    /// Host: moving network devices.
    NetDevices,
    /// prestart and createRuntime hooks.
    RuntimeHooks,
    /// createContainer hooks.
    CreateContainerHooks,
    /// pivot_root.
    PivotRoot,
    /// Pseudo terminal.
    Console,
    /// Host and domain name.
    Hostname,
    /// Kernel parameters.
    Sysctl,
    /// Read-only root, tmpfs and /dev.
    ReadonlyMounts,
    /// Read-only paths.
    ReadonlyPaths,
    /// Masked paths.
    MaskedPaths,
    /// Scheduling and NUMA policy.
    Attributes,
    /// Resource limits.
    Rlimits,
    /// AppArmor or SELinux label.
    LsmLabel,
    /// Seccomp filter.
    Seccomp,
    /// Closing what must not be inherited.
    CloseFds,
    /// Working directory.
    WorkingDirectory,
    /// Bounding set, groups, user, capability sets.
    Credentials,
    /// Finding the program.
    Program,
    /// Getting the compiled form of a Wasm program.
    Artifact,
    /// Waiting at the gate until start.
    Gate,
    /// startContainer hooks.
    StartContainerHooks,
    /// execve.
    Exec,
    /// Host: hooks around the life of the container.
    HostHooks,
    /// Host: pausing or resuming.
    Freezer,
    /// Host: killing by cgroup.
    Kill,
    /// Host: removing the cgroup.
    CgroupRemove,
    /// Host: unmounting the root file system.
    RootfsUnmount,
}

/// Who has to act so that the failure goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// The request or config.json asks for something impossible or wrong.
    Caller,
    /// The content of the image.
    Image,
    /// The kernel, or a missing feature or resource of the host.
    Host,
    /// hull itself.
    Hull,
}

/// A step that failed: one line for people, with the object and the cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupError {
    /// Which step.
    pub step: Step,
    /// Who has to act.
    pub blame: Blame,
    /// What was being done to which object, e.g. `mount "proc" on "/proc"`.
    pub action: String,
    /// The cause, e.g. the text of the errno; empty where the action says it already.
    pub cause: String,
    /// The raw errno, 0 if there is none.
    pub errno: i32,
}

impl Step {
    /// Name for messages and traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RootfsMount => "rootfs mount",
            Self::Cgroup => "cgroup",
            Self::Logger => "logger",
            Self::Clone => "clone",
            Self::Plan => "plan",
            Self::JoinCgroup => "join cgroup",
            Self::Namespaces => "namespaces",
            Self::TimeOffsets => "time offsets",
            Self::IdMaps => "id maps",
            Self::Session => "session",
            Self::OomScore => "oom score",
            Self::Keyring => "keyring",
            Self::Loopback => "loopback",
            Self::RootfsPrepare => "rootfs",
            Self::Mounts => "mounts",
            Self::Devices => "devices",
            Self::NetDevices => "network devices",
            Self::RuntimeHooks => "runtime hooks",
            Self::CreateContainerHooks => "createContainer hooks",
            Self::PivotRoot => "pivot_root",
            Self::Console => "console",
            Self::Hostname => "hostname",
            Self::Sysctl => "sysctl",
            Self::ReadonlyMounts => "read-only mounts",
            Self::ReadonlyPaths => "read-only paths",
            Self::MaskedPaths => "masked paths",
            Self::Attributes => "process attributes",
            Self::Rlimits => "rlimits",
            Self::LsmLabel => "lsm label",
            Self::Seccomp => "seccomp",
            Self::CloseFds => "close descriptors",
            Self::WorkingDirectory => "working directory",
            Self::Credentials => "credentials",
            Self::Program => "program",
            Self::Artifact => "artifact",
            Self::Gate => "gate",
            Self::StartContainerHooks => "startContainer hooks",
            Self::Exec => "exec",
            Self::HostHooks => "hooks",
            Self::Freezer => "freezer",
            Self::Kill => "kill",
            Self::CgroupRemove => "cgroup removal",
            Self::RootfsUnmount => "rootfs umount",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A file name may hold a line break; the message is one line all the same.
        let mut line = format!("{}: {}", self.step, self.action);
        if !self.cause.is_empty() {
            line.push_str(": ");
            line.push_str(&self.cause);
        }
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

impl std::error::Error for SetupError {}
