//! The plan: everything that will be done to make a container, decided before any of it is done.

use crate::{
    Attributes, Hook, IdMaps, Mount, MountFlags, MountSource, NetDevice, Payload, Propagation,
    Resources, TimeOffset, host_id,
};
use serde::{Deserialize, Serialize};

/// Where programs look for cgroups.
const CGROUP_VIEW: &str = "/sys/fs/cgroup";

/// A namespace type ([namespaces(7)](https://man7.org/linux/man-pages/man7/namespaces.7.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// Mount points.
    Mount,
    /// Process ids.
    Pid,
    /// Network devices, stacks, ports.
    Network,
    /// System V IPC, POSIX message queues.
    Ipc,
    /// Host and domain name.
    Uts,
    /// Root of the cgroup view.
    Cgroup,
    /// User and group ids, and what capabilities are worth.
    User,
    /// Offsets of the monotonic clocks.
    Time,
}

/// One namespace that differs from the launcher's; a kind that is not listed is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespacePlan {
    /// Which kind.
    pub kind: NamespaceKind,
    /// The file of an existing namespace to join, or `None` for a new one.
    pub path: Option<String>,
}

/// The container's root file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Absolute path on the host.
    pub path: String,
    /// Whether it ends up read-only.
    pub readonly: bool,
    /// Propagation of "/" inside, applied after the pivot; `true` for every mount below it.
    pub propagation: Option<(Propagation, bool)>,
    /// `false` moves the root instead of pivoting (for hosts that run from an initramfs).
    pub pivot: bool,
}

/// A device node to make in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path inside the container.
    pub path: String,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO` with the permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Device {
    /// Whether it is a FIFO, which anybody may make.
    #[must_use]
    pub const fn is_fifo(&self) -> bool {
        self.mode & 0o170_000 == 0o010_000
    }
}

/// A kernel parameter of one of the container's own namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sysctl {
    /// Path below `/proc/sys`, e.g. `net/ipv4/ip_forward`.
    pub path: String,
    /// Written verbatim.
    pub value: String,
}

/// A resource limit ([getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*` number of this architecture.
    pub resource: u32,
    /// Soft limit.
    pub soft: u64,
    /// Hard limit, never below the soft one.
    pub hard: u64,
}

/// Who the process is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Exactly the supplementary groups.
    pub additional_gids: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
}

/// The five capability sets as bit masks, bit n is capability n
/// ([capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapabilitySets {
    /// Limit for everything that the process will ever have.
    pub bounding: u64,
    /// In force.
    pub effective: u64,
    /// May be passed through execve by file capabilities.
    pub inheritable: u64,
    /// May be put in force.
    pub permitted: u64,
    /// Kept through execve of an ordinary program.
    pub ambient: u64,
}

/// One classic BPF instruction, laid out as `struct sock_filter` in `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    /// The program, at most 4096 instructions.
    pub program: Vec<SockFilter>,
    /// `SECCOMP_FILTER_FLAG_*` bits.
    pub flags: u32,
    /// Who is asked about calls with `SCMP_ACT_NOTIFY`, if there are any.
    pub listener: Option<SeccompListener>,
}

/// An agent that decides about system calls
/// (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#containerprocessstate>).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompListener {
    /// Absolute path on the host of its stream socket.
    pub path: String,
    /// What never changes of what it is told with each process: a JSON object without its closing
    /// brace.
    pub head: String,
}

impl SeccompListener {
    /// The whole JSON object. `pid` is the filtered process as the host sees it, `state` the state of
    /// its container ([`HookState::render`]).
    #[must_use]
    pub fn render(&self, pid: i32, state: &str) -> String {
        format!("{},\"pid\":{pid},\"state\":{state}}}", self.head)
    }
}

/// Width and height of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConsoleSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A process of the container: init or exec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// What becomes of it at the end of its way into the container.
    pub payload: Payload,
    /// Program and arguments; never empty.
    pub args: Vec<String>,
    /// `KEY=value` entries.
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: String,
    /// Whether the process gets a new pseudo terminal as its controlling terminal.
    pub terminal: bool,
    /// First size of the terminal.
    pub console_size: Option<ConsoleSize>,
    /// Who it runs as.
    pub user: User,
    /// Its capabilities.
    pub capabilities: CapabilitySets,
    /// Whether execve may never grant anything.
    pub no_new_privileges: bool,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Preference of the OOM killer, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Scheduling and NUMA policy.
    pub attributes: Attributes,
    /// AppArmor profile to change to on exec.
    pub apparmor_profile: Option<String>,
    /// SELinux label to take on exec.
    pub selinux_label: Option<String>,
    /// The filter, if any.
    pub seccomp: Option<Seccomp>,
}

/// The six kinds of OCI hooks
/// (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hooks {
    /// Runtime namespaces, before the pivot (deprecated kind, still used).
    pub prestart: Vec<Hook>,
    /// Runtime namespaces, after prestart.
    pub create_runtime: Vec<Hook>,
    /// Container namespaces, before the pivot.
    pub create_container: Vec<Hook>,
    /// Container namespaces, right before the program.
    pub start_container: Vec<Hook>,
    /// Runtime namespaces, after the program was started.
    pub poststart: Vec<Hook>,
    /// Runtime namespaces, after the container was deleted.
    pub poststop: Vec<Hook>,
}

/// The container's state for hooks, without what changes in its life
/// (<https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#state>).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HookState {
    /// A JSON object without its closing brace.
    pub head: String,
}

impl HookState {
    /// The whole JSON object. `status` is one of the spec's words; `pid` is the init process as the
    /// host sees it, if there is one.
    #[must_use]
    pub fn render(&self, status: &str, pid: Option<i32>) -> String {
        let pid = pid.map(|pid| format!(",\"pid\":{pid}")).unwrap_or_default();
        format!("{},\"status\":\"{status}\"{pid}}}", self.head)
    }
}

/// A container, lowered from config.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Namespaces that are made or joined.
    pub namespaces: Vec<NamespacePlan>,
    /// Maps of the new user namespace, or those that a joined one must have if there are any.
    pub id_maps: IdMaps,
    /// Clocks of the new time namespace.
    pub time_offsets: Vec<TimeOffset>,
    /// The root file system.
    pub root: Root,
    /// Host name to set in the own UTS namespace.
    pub hostname: Option<String>,
    /// NIS domain name to set in the own UTS namespace.
    pub domainname: Option<String>,
    /// Mounts in order.
    pub mounts: Vec<Mount>,
    /// Device nodes, default ones first; empty when `/dev` is a bind mount.
    pub devices: Vec<Device>,
    /// Whether `/dev/ptmx`, `/dev/fd`, `/dev/stdin`, … are made as links.
    pub device_links: bool,
    /// Paths that are hidden.
    pub masked_paths: Vec<String>,
    /// Paths that are made read-only.
    pub readonly_paths: Vec<String>,
    /// Kernel parameters.
    pub sysctls: Vec<Sysctl>,
    /// Network devices that are moved into the network namespace.
    pub net_devices: Vec<NetDevice>,
    /// The init process.
    pub process: Process,
    /// Hooks.
    pub hooks: Hooks,
    /// `linux.cgroupsPath` as given, or `/<namespace>/<id>` where the spec has none.
    pub cgroups_path: String,
    /// The unit of systemd that the cgroup belongs to; then `cgroups_path` is where systemd puts it.
    pub scope: Option<crate::Scope>,
    /// What the container may use.
    pub resources: Resources,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// What hooks are told of the container.
    pub state: HookState,
    /// What was ignored and why; one line each, for the log.
    pub warnings: Vec<String>,
    /// Whether to write down when what happened ([`TRACE_FILE`](crate::TRACE_FILE)).
    pub trace: bool,
    /// What annotations ask for on behalf of its Wasm processes.
    pub wasm: crate::WasmSettings,
}

/// An additional process in a running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// The process.
    pub process: Process,
    /// The kinds of namespace to join through the init process's pidfd.
    pub namespaces: Vec<NamespaceKind>,
}

impl Plan {
    /// Whether the container has a namespace of its own (new or joined) of this kind.
    #[must_use]
    pub fn has_namespace(&self, kind: NamespaceKind) -> bool {
        self.namespaces.iter().any(|n| n.kind == kind)
    }

    /// Whether the way to init leads through a process in between, which does what only the host's
    /// root can do in the host's mount namespace.
    #[must_use]
    pub fn needs_process_between(&self) -> bool {
        let is_mapped = |mount: &Mount| {
            matches!(
                &mount.source,
                MountSource::Bind {
                    id_map: Some(_),
                    ..
                }
            )
        };
        self.has_namespace(NamespaceKind::User)
            || self.has_new_namespace(NamespaceKind::Time)
            || self.mounts.iter().any(is_mapped)
    }

    /// Whether the container has a new namespace of this kind.
    #[must_use]
    pub fn has_new_namespace(&self, kind: NamespaceKind) -> bool {
        self.namespaces
            .iter()
            .any(|n| n.kind == kind && n.path.is_none())
    }

    /// Whether the container's init is the first process of a new PID namespace, so that the kernel
    /// kills everything in it when init ends.
    #[must_use]
    pub fn has_private_pid_namespace(&self) -> bool {
        self.has_new_namespace(NamespaceKind::Pid)
    }

    /// The host uid that the container's unified cgroup is given to, if to anyone but root: the
    /// user of init, where the container sees nothing above that cgroup and may write to it
    /// (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cgroup-ownership>).
    #[must_use]
    pub fn cgroup_owner(&self) -> Option<u32> {
        let is_alone = self.has_new_namespace(NamespaceKind::Cgroup);
        // A later mount hides an earlier one.
        let view = self.mounts.iter().rfind(|m| m.destination == CGROUP_VIEW)?;
        let is_readonly = view
            .set
            .with(view.set_recursive)
            .contains(MountFlags::RDONLY);
        let is_writable = view.source == MountSource::Cgroup && !is_readonly;
        let user = self.process.user.uid;
        let owner = if !self.has_namespace(NamespaceKind::User) {
            Some(user)
        } else {
            // Nothing is known of a joined namespace that is not described.
            host_id(&self.id_maps.uids, user)
        };
        owner.filter(|uid| is_alone && is_writable && *uid != 0)
    }
}
