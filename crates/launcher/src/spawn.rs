//! Cloning: from a request to a new process, and the first moments inside it.

use crate::failure::{At, Blamed, because, by_clone};
use crate::host;
use crate::init::{self, Membership};
use crate::sync::Sync;
use hull_abi::{Blame, CgroupPaths, FdRole, NamespaceKind, NumberSet, SetupError, Spawn, Step};
use hull_sys::clone::{CloneArgs, Cloned, clone3};
use hull_sys::single::SingleThreaded;
use hull_sys::{Errno, fd, ns, pidfd, process, sched};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

/// Above every number that a new process is given.
const FIRST_OUT_OF_THE_WAY: u8 = 16;

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
    /// What a job is about, or the program of ours that the process becomes.
    file: Option<OwnedFd>,
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
        NamespaceKind::User => nix::libc::CLONE_NEWUSER,
        NamespaceKind::Time => nix::libc::CLONE_NEWTIME,
    }
}

/// Opens a namespace file and checks its type.
pub(crate) fn open_namespace(kind: NamespaceKind, path: &str) -> Result<OwnedFd, SetupError> {
    let action = || format!("open {kind:?} namespace {path:?}").to_lowercase();
    // Not blocking: a FIFO in its place must not stop us.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
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
        let mut namespaces = 0;
        let mut joined = None;
        if let Spawn::Init {
            new_namespaces,
            pid_namespace,
            between: false,
            ..
        } = &spawn
        {
            namespaces = new_namespaces
                .iter()
                .filter(|&&kind| kind != NamespaceKind::Cgroup)
                .fold(0, |flags, &kind| flags | clone_flag(kind));
            joined = pid_namespace
                .as_deref()
                .map(|path| open_namespace(NamespaceKind::Pid, path))
                .transpose()?;
        }
        let clone = |cgroup: Option<&OwnedFd>| {
            let args = CloneArgs {
                namespaces,
                cgroup: cgroup.map(AsFd::as_fd),
                sibling: true,
            };
            on_cpus(cpus(&spawn), || self.clone_in(joined.as_ref(), args))
        };
        let directory = cgroup_paths(&spawn).and_then(|paths| paths.unified.as_deref());
        let cgroup = directory.map(open_cgroup).transpose()?;
        let cloned = match (clone(cgroup.as_ref())?, &fds.init, directory) {
            // The container has moved its processes further down to enable controllers (systemd
            // does): a cgroup with such children takes no process, so go where init is.
            (Err(Errno::EBUSY), Some(init), Some(directory)) => {
                let moved = current_cgroup(init, directory)?;
                clone(Some(&open_cgroup(&moved)?))?
            }
            (cloned, _, _) => cloned,
        };
        match cloned.map_err(by_clone)? {
            Cloned::Parent { pid, pidfd } => Ok(Spawned { pid, pidfd }),
            Cloned::Child => child(&self.single, spawn, fds),
        }
    }

    /// Clones into another PID namespace, if one is given, and comes back from it: joining one only
    /// acts on children (setns(2)), so no process in between is needed.
    fn clone_in(
        &self,
        pid_namespace: Option<&OwnedFd>,
        args: CloneArgs<'_>,
    ) -> Result<Cloned, Errno> {
        let Some(namespace) = pid_namespace else {
            return clone3(&self.single, args);
        };
        let flag = clone_flag(NamespaceKind::Pid);
        ns::set(namespace, flag)?;
        let cloned = clone3(&self.single, args);
        if !matches!(cloned, Ok(Cloned::Child)) && ns::set(&self.own_pid_namespace, flag).is_err() {
            // The next container would be born in this one's namespace. The daemon starts another
            // launcher.
            process::exit_now(1);
        }
        cloned
    }
}

fn cpus(spawn: &Spawn) -> Option<&NumberSet> {
    match spawn {
        Spawn::Exec { cpus, .. } => cpus.as_ref(),
        Spawn::Init { .. } | Spawn::Job => None,
    }
}

/// Clones while this process is bound to some processors, which the new one takes over.
fn on_cpus(
    cpus: Option<&NumberSet>,
    clone: impl FnOnce() -> Result<Cloned, Errno>,
) -> Result<Result<Cloned, Errno>, SetupError> {
    let Some(cpus) = cpus else {
        return Ok(clone());
    };
    let action = || format!("bind to processors {cpus} (process.execCPUAffinity.initial)");
    let before = sched::affinity().at(Step::Clone, action)?;
    sched::set_affinity(&cpus.mask())
        .at(Step::Clone, action)
        .blame(Blame::Caller)?;
    let cloned = clone();
    if !matches!(cloned, Ok(Cloned::Child)) && sched::set_affinity(&before).is_err() {
        // Everything else would be bound too. The daemon starts another launcher.
        process::exit_now(1);
    }
    Ok(cloned)
}

fn cgroup_paths(spawn: &Spawn) -> Option<&CgroupPaths> {
    match spawn {
        Spawn::Init { cgroup, .. } | Spawn::Exec { cgroup, .. } => Some(cgroup),
        Spawn::Job => None,
    }
}

fn open_cgroup(path: &str) -> Result<OwnedFd, SetupError> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_PATH | nix::libc::O_DIRECTORY | nix::libc::O_NOFOLLOW)
        .open(path)
        .map(OwnedFd::from)
        .map_err(|e| fd::errno(&e))
        .at(Step::Clone, || format!("open cgroup {path:?}"))
}

/// Where init of the container is now, at or below the container's own v2 directory.
fn current_cgroup(init: &OwnedFd, directory: &str) -> Result<String, SetupError> {
    let action = || format!("find the cgroup of init below {directory:?}");
    let failed = |why: &str| because(Step::Clone, Blame::Host, action(), why);
    let pid = pidfd::pid(init).at(Step::Clone, action)?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(|e| fd::errno(&e))
        .at(Step::Clone, action)?;
    let path = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .ok_or_else(|| failed("it is in no v2 cgroup"))?;
    below(directory, path).ok_or_else(|| failed("it has left the container's cgroup"))
}

/// `directory` is a mount point and then the path of a cgroup; `path` is that cgroup's path or one
/// below it. Returns the directory of `path`.
fn below(directory: &str, path: &str) -> Option<String> {
    if path.split('/').any(|name| name == "..") {
        return None;
    }
    directory
        .match_indices('/')
        .filter_map(|(at, _)| directory.get(at..))
        .find_map(|own| path.strip_prefix(own))
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
        .map(|rest| format!("{directory}{rest}"))
}

impl Fds {
    fn sort(all: Vec<(FdRole, OwnedFd)>) -> Result<Self, SetupError> {
        let (mut body, mut sync, mut init, mut file) = (None, None, None, None);
        let mut stdio = Vec::new();
        for (role, fd) in all {
            match role {
                FdRole::Body => body = Some(fd),
                FdRole::Sync => sync = Some(fd),
                FdRole::Init => init = Some(fd),
                FdRole::File => file = Some(fd),
                FdRole::Stdio(number) => stdio.push((number, fd)),
            }
        }
        match (body, sync) {
            (Some(body), Some(sync)) => Ok(Self {
                body,
                sync,
                stdio,
                init,
                file,
            }),
            _ => Err(missing()),
        }
    }

    /// Moves everything out of the way where the new process gets descriptors beyond the standard streams.
    fn make_room(self) -> Result<Self, Errno> {
        if self.stdio.iter().all(|(number, _)| *number < 3) {
            return Ok(self);
        }
        let lift = |fd| fd::lift(fd, FIRST_OUT_OF_THE_WAY);
        let stdio = self.stdio.into_iter();
        Ok(Self {
            body: lift(self.body)?,
            sync: lift(self.sync)?,
            stdio: stdio
                .map(|(number, fd)| Ok((number, lift(fd)?)))
                .collect::<Result<_, Errno>>()?,
            init: self.init.map(lift).transpose()?,
            file: self.file.map(lift).transpose()?,
        })
    }
}

fn missing() -> SetupError {
    let cause = "a descriptor is missing";
    because(Step::Clone, Blame::Hull, "read a request".to_owned(), cause)
}

/// The new process: keeps only what it needs, does its work and ends or becomes another program.
fn child(single: &SingleThreaded, spawn: Spawn, fds: Fds) -> ! {
    let fds = match fds.make_room() {
        Ok(fds) => fds,
        // The daemon finds the end of the sync socket.
        Err(_) => process::exit_now(1),
    };
    let sync = Sync::new(fds.sync);
    let mut keep = vec![fds.body.as_raw_fd(), sync.raw()];
    keep.extend(fds.init.iter().chain(&fds.file).map(AsRawFd::as_raw_fd));
    keep.extend(fds.stdio.iter().map(|(_, fd)| fd.as_raw_fd()));
    let prepared = fd::close_all_except(&keep)
        .and_then(|()| {
            fds.stdio
                .into_iter()
                .try_for_each(|(number, fd)| fd::place(fd, number))
        })
        .at(Step::Plan, || "place descriptors".to_owned());
    sync.follow_daemon();
    let outcome = prepared.and_then(|()| match spawn {
        Spawn::Init {
            cgroup,
            keyring,
            between,
            ..
        } => {
            let membership = Membership { cgroup, keyring };
            if between {
                init::run_between(single, &sync, fds.body, fds.file, &membership)
            } else {
                init::run(&sync, fds.body, fds.file, &membership)
            }
        }
        Spawn::Exec {
            cgroup, keyring, ..
        } => {
            let membership = Membership { cgroup, keyring };
            let init = fds.init.ok_or_else(missing);
            init.and_then(|init| init::run_exec(single, &sync, fds.body, init, &membership))
        }
        Spawn::Job => host::run(single, &sync, fds.body, fds.file),
    });
    match outcome {
        Ok(()) => process::exit_now(0),
        Err(error) => {
            sync.fail(error);
            process::exit_now(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn a_cgroup_below_the_containers_is_found_and_no_other() {
        let directory = "/sys/fs/cgroup/unified/default/c1";
        let found = |path| below(directory, path);
        assert_eq!(found("/default/c1").as_deref(), Some(directory));
        assert_eq!(
            found("/default/c1/init.scope").as_deref(),
            Some("/sys/fs/cgroup/unified/default/c1/init.scope")
        );
        assert_eq!(found("/default/c10"), None);
        assert_eq!(found("/elsewhere"), None);
        assert_eq!(found("/default/c1/../c2"), None);
    }
}
