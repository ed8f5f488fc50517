//! The processes of a cgroup: which are there, and becoming one of them.

use crate::Error;
use crate::files::CgroupDir;
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use nix::fcntl::OFlag;

/// The host's pids of every process in the cgroup and below it, unsorted; empty where the cgroup
/// does not exist (any more).
///
/// # Errors
/// [`Error::Io`] when a list cannot be read, [`Error::Content`] when it holds something else.
pub fn pids(paths: &CgroupPaths) -> Result<Vec<i32>, Error> {
    match membership(paths)
        .map(CgroupDir::open_if_present)
        .transpose()?
        .flatten()
    {
        Some(dir) => pids_below(dir),
        None => Ok(Vec::new()),
    }
}

/// Whether any process is in the cgroup or below it. One read on the unified tree.
///
/// # Errors
/// As [`pids`].
pub fn is_populated(paths: &CgroupPaths) -> Result<bool, Error> {
    if let Some(unified) = &paths.unified {
        let Some(dir) = CgroupDir::open_if_present(unified)? else {
            return Ok(false);
        };
        return match dir.read_if_present("cgroup.events")? {
            Some(events) => Ok(events.lines().any(|line| line == "populated 1")),
            None => Ok(false),
        };
    }
    Ok(!pids(paths)?.is_empty())
}

/// Moves the calling thread into v1 cgroups. For a process with a single thread this is the whole
/// process, and much cheaper than `cgroup.procs`, which waits for the thread group lock
/// ([cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)).
///
/// # Errors
/// [`Error::Write`] or [`Error::Io`] with the hierarchy that refused: `ENOSPC` from a cpuset
/// without CPUs, `EPERM`/`EACCES` without the privilege.
pub fn join_self(v1_dirs: &[String]) -> Result<(), Error> {
    v1_dirs
        .iter()
        .try_for_each(|path| CgroupDir::open(path)?.write("tasks", "0"))
}

/// The directory in which every process of the container is found: the unified one, else that of
/// a v1 hierarchy with a controller.
pub(crate) fn membership(paths: &CgroupPaths) -> Option<&str> {
    let v1 = |wanted: &str| {
        let holds = |names: &[String]| names.iter().any(|name| name == wanted);
        paths
            .v1
            .iter()
            .find(|v1| holds(&v1.controllers))
            .map(|v1| v1.path.as_str())
    };
    let first = || paths.v1.first().map(|v1| v1.path.as_str());
    paths
        .unified
        .as_deref()
        .or_else(|| v1("freezer"))
        .or_else(|| v1("memory"))
        .or_else(first)
}

/// The pids in a directory and all below.
pub(crate) fn pids_below(dir: CgroupDir) -> Result<Vec<i32>, Error> {
    let mut pids = Vec::new();
    visit(dir, &mut |dir| {
        let Some(list) = read_procs(dir)? else {
            return Ok(());
        };
        for line in list.lines() {
            let pid: i32 = line.parse().map_err(|_| Error::Content {
                path: dir.path_of("cgroup.procs"),
                content: line.to_owned(),
            })?;
            // 0 stands for a process outside of our pid namespace.
            if pid > 0 {
                pids.push(pid);
            }
        }
        Ok(())
    })?;
    Ok(pids)
}

/// The processes of one directory; those of a threaded cgroup are only listed as threads.
fn read_procs(dir: &CgroupDir) -> Result<Option<String>, Error> {
    match dir.read("cgroup.procs") {
        Ok(list) => Ok(Some(list)),
        Err(error) if error.is_absent() => Ok(None),
        Err(error) if error.errno() == Errno::EOPNOTSUPP as i32 => {
            dir.read_if_present("cgroup.threads")
        }
        Err(error) => Err(error),
    }
}

/// Calls `visitor` for a directory and all below it, parents first. What vanishes meanwhile is left
/// out.
pub(crate) fn visit(
    root: CgroupDir,
    visitor: &mut dyn FnMut(&CgroupDir) -> Result<(), Error>,
) -> Result<(), Error> {
    visitor(&root)?;
    // The names still to be visited on each level; the current directory belongs to the last one.
    let mut pending = vec![root.children()?];
    let mut current = root;
    while let Some(level) = pending.last_mut() {
        match level.pop() {
            Some(name) => {
                let child = match current.child(&name) {
                    Ok(child) => child,
                    Err(error) if error.is_absent() => continue,
                    Err(error) => return Err(error),
                };
                visitor(&child)?;
                pending.push(child.children()?);
                current = child;
            }
            None => {
                pending.pop();
                if !pending.is_empty() {
                    current = current.parent()?;
                }
            }
        }
    }
    Ok(())
}

/// Whether a file of this name can be opened for writing here; kernels lack some.
pub(crate) fn can_write(dir: &CgroupDir, name: &str) -> bool {
    dir.open_file(name, OFlag::O_WRONLY).is_ok()
}
