//! Cloning: from a request to a new process, and the first moments inside it.

use crate::failure::{At, Blamed, because};
use crate::sync::Sync;
use crate::{host, init};
use hull_abi::{Blame, CgroupPaths, FdRole, NamespaceKind, SetupError, Spawn, Step};
use hull_sys::clone::{CloneArgs, Cloned, clone3};
use hull_sys::single::SingleThreaded;
use hull_sys::{Errno, fd, ns, process};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Clones processes; holds the proof that it may.
#[derive(Debug)]
pub(crate) struct Spawner {
    single: SingleThreaded,
    own_pid_namespace: OwnedFd,
}

/// A new process.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
}

/// The descriptors of a request, by role.
#[derive(Debug)]
pub(crate) struct Fds {
    body: OwnedFd,
    sync: OwnedFd,
    stdio: Vec<(u8, OwnedFd)>,
    init: Option<OwnedFd>,
}

/// The `CLONE_NEW*` flag of a namespace.
pub(crate) fn clone_flag(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::Mount => nix::libc::CLONE_NEWNS,
        NamespaceKind::Pid => nix::libc::CLONE_NEWPID,
        NamespaceKind::Network => nix::libc::CLONE_NEWNET,
        NamespaceKind::Ipc => nix::libc::CLONE_NEWIPC,
        NamespaceKind::Uts => nix::libc::CLONE_NEWUTS,
        NamespaceKind::Cgroup => nix::libc::CLONE_NEWCGROUP,
    }
}

/// Opens a namespace file and checks its type.
pub(crate) fn open_namespace(kind: NamespaceKind, path: &str) -> Result<OwnedFd, SetupError> {
    let action = || format!("open {kind:?} namespace {path:?}").to_lowercase();
    let file = std::fs::File::open(path)
        .map_err(|e| fd::errno(&e))
        .at(Step::Namespaces, action)
        .blame(Blame::Caller)?;
    let wanted = clone_flag(kind);
    match ns::kind(&file) {
        Ok(found) if found == wanted => Ok(file.into()),
        _ => Err(because(
            Step::Namespaces,
            Blame::Caller,
            action(),
            "it is not a namespace file of that type",
        )),
    }
}

impl Spawner {
    pub(crate) fn new(single: SingleThreaded) -> Result<Self, Errno> {
        let own = std::fs::File::open("/proc/self/ns/pid").map_err(|e| fd::errno(&e))?;
        Ok(Self {
            single,
            own_pid_namespace: own.into(),
        })
    }

    /// Makes the process. In the new process this does not return.
    pub(crate) fn spawn(
        &self,
        spawn: Spawn,
        fds: Vec<(FdRole, OwnedFd)>,
    ) -> Result<Spawned, SetupError> {
        let fds = Fds::sort(fds)?;
        let cgroup = cgroup_directory(&spawn)?;
        let mut args = CloneArgs {
            namespaces: 0,
            cgroup: cgroup.as_ref().map(AsFd::as_fd),
            sibling: true,
        };
        let joined = match &spawn {
            Spawn::Init {
                new_namespaces,
                pid_namespace,
                ..
            } => {
                args.namespaces = new_namespaces
                    .iter()
                    .filter(|&&kind| kind != NamespaceKind::Cgroup)
                    .fold(0, |flags, &kind| flags | clone_flag(kind));
                pid_namespace
                    .as_deref()
                    .map(|path| open_namespace(NamespaceKind::Pid, path))
                    .transpose()?
            }
            Spawn::Exec {
                join_pid_namespace: true,
                ..
            } => Some(
                fds.init()?
                    .try_clone()
                    .map_err(|e| fd::errno(&e))
                    .at(Step::Clone, || "duplicate the pidfd of init".to_owned())?,
            ),
            Spawn::Exec { .. } | Spawn::Job => None,
        };
        let cloned = self.clone_in(joined.as_ref(), args)?;
        match cloned {
            Cloned::Parent { pid, pidfd } => Ok(Spawned { pid, pidfd }),
            Cloned::Child => child(spawn, fds),
        }
    }

    /// Clones into another PID namespace, if one is given, and comes back from it: joining one only
    /// acts on children (setns(2)), so no process in between is needed.
    fn clone_in(
        &self,
        pid_namespace: Option<&OwnedFd>,
        args: CloneArgs<'_>,
    ) -> Result<Cloned, SetupError> {
        let clone = || clone3(&self.single, args).at(Step::Clone, || "clone3".to_owned());
        let Some(namespace) = pid_namespace else {
            return clone();
        };
        let flag = clone_flag(NamespaceKind::Pid);
        ns::set(namespace, flag).at(Step::Clone, || "join the pid namespace".to_owned())?;
        let cloned = clone();
        if !matches!(cloned, Ok(Cloned::Child)) {
            ns::set(&self.own_pid_namespace, flag)
                .at(Step::Clone, || "return to the own pid namespace".to_owned())?;
        }
        cloned
    }
}

fn cgroup_paths(spawn: &Spawn) -> Option<&CgroupPaths> {
    match spawn {
        Spawn::Init { cgroup, .. } | Spawn::Exec { cgroup, .. } => Some(cgroup),
        Spawn::Job => None,
    }
}

fn cgroup_directory(spawn: &Spawn) -> Result<Option<OwnedFd>, SetupError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(path) = cgroup_paths(spawn).and_then(|paths| paths.unified.as_deref()) else {
        return Ok(None);
    };
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(path)
        .map(|file| Some(file.into()))
        .map_err(|e| fd::errno(&e))
        .at(Step::Clone, || format!("open cgroup {path:?}"))
}

impl Fds {
    fn sort(all: Vec<(FdRole, OwnedFd)>) -> Result<Self, SetupError> {
        let (mut body, mut sync, mut init, mut stdio) = (None, None, None, Vec::new());
        for (role, fd) in all {
            match role {
                FdRole::Body => body = Some(fd),
                FdRole::Sync => sync = Some(fd),
                FdRole::Init => init = Some(fd),
                FdRole::Stdio(number) => stdio.push((number, fd)),
            }
        }
        match (body, sync) {
            (Some(body), Some(sync)) => Ok(Self {
                body,
                sync,
                stdio,
                init,
            }),
            _ => Err(missing()),
        }
    }

    fn init(&self) -> Result<&OwnedFd, SetupError> {
        self.init.as_ref().ok_or_else(missing)
    }
}

fn missing() -> SetupError {
    let cause = "a descriptor is missing";
    because(Step::Clone, Blame::Hull, "read a request".to_owned(), cause)
}

/// The new process: keeps only what it needs, does its work and ends or becomes another program.
fn child(spawn: Spawn, fds: Fds) -> ! {
    let sync = Sync::new(fds.sync);
    let mut keep = vec![fds.body.as_raw_fd(), sync.raw()];
    keep.extend(fds.init.iter().map(AsRawFd::as_raw_fd));
    keep.extend(fds.stdio.iter().map(|(_, fd)| fd.as_raw_fd()));
    let prepared = fd::close_all_except(&keep)
        .and_then(|()| {
            fds.stdio
                .into_iter()
                .try_for_each(|(number, fd)| fd::place(fd, number))
        })
        .at(Step::Plan, || "place descriptors".to_owned());
    let outcome = prepared.and_then(|()| match spawn {
        Spawn::Init {
            cgroup, keyring, ..
        } => init::run(&sync, fds.body, &cgroup, keyring),
        Spawn::Exec {
            cgroup, keyring, ..
        } => match fds.init {
            Some(init) => init::run_exec(&sync, fds.body, init, &cgroup, keyring),
            None => Err(missing()),
        },
        Spawn::Job => host::run(&sync, fds.body),
    });
    match outcome {
        Ok(()) => process::exit_now(0),
        Err(error) => {
            sync.fail(error);
            process::exit_now(1)
        }
    }
}
