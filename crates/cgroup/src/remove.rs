//! Removing a cgroup in every hierarchy.

use crate::files::CgroupDir;
use crate::{Error, systemd};
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use std::ffi::{OsStr, OsString};
use std::thread::sleep;
use std::time::Duration;

/// How long systemd may take to end a unit without processes.
const UNIT_DEADLINE: Duration = Duration::from_secs(10);

/// Pause before the first further try of a directory that the kernel calls busy; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(1);

/// How often a busy directory is tried again: about a second in all. Killed processes need a moment
/// to leave.
const TRIES: u32 = 10;

/// Removes the cgroup with everything below it, in every hierarchy, children first. What does not
/// exist is no error; processes must have been killed before.
///
/// # Errors
/// [`Error::Io`] with `EBUSY` when processes are still there after about a second. The other
/// hierarchies are removed all the same.
pub fn remove(paths: &CgroupPaths) -> Result<(), Error> {
    remove_within(paths, UNIT_DEADLINE)
}

/// [`remove`] with a limit of its own for systemd, which ends its unit first; the rest takes a second at
/// most. A systemd that is too busy for that is no error either: it forgets a unit without processes when
/// it comes to it.
///
/// # Errors
/// As [`remove`], and [`Error::Systemd`].
pub fn remove_within(paths: &CgroupPaths, limit: Duration) -> Result<(), Error> {
    let stopped = match &paths.scope {
        Some(scope) => systemd::stop(scope, limit),
        None => Ok(()),
    };
    let v1 = paths.v1.iter().map(|v1| v1.path.as_str());
    let mut removed = Ok(());
    for path in paths.unified.as_deref().into_iter().chain(v1) {
        removed = removed.and(remove_tree(path));
    }
    match stopped {
        // Without its cgroup there is no unit any more, whatever systemd could not be told.
        Err(Error::Systemd { .. }) if removed.is_ok() => removed,
        Err(error) if error.errno() == Errno::ETIMEDOUT as i32 => removed,
        stopped => stopped.and(removed),
    }
}

fn remove_tree(path: &str) -> Result<(), Error> {
    // Before a look below: nearly always there is nothing.
    let (parent, name) = split(path)?;
    let Some(parent) = CgroupDir::open_if_present(parent)? else {
        return Ok(());
    };
    match parent.remove_child(name) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EBUSY | Errno::ENOTEMPTY) => {}
        Err(errno) => return Err(failed(path, errno)),
    }
    match parent.child(name) {
        Ok(dir) => remove_below(dir)?,
        Err(error) if error.is_absent() => return Ok(()),
        Err(error) => return Err(error),
    }
    remove_patiently(&parent, name)
}

/// Removes what lies below a directory: leaves at once, others after a descent.
fn remove_below(root: CgroupDir) -> Result<(), Error> {
    let mut descended: Vec<OsString> = Vec::new();
    let mut current = root;
    loop {
        let mut stays = None;
        for name in current.children()? {
            match current.remove_child(&name) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EBUSY | Errno::ENOTEMPTY) => stays = Some(name),
                Err(errno) => return Err(failed(&current.path_of(&name), errno)),
            }
        }
        match stays {
            Some(name) => match current.child(&name) {
                Ok(child) => {
                    current = child;
                    descended.push(name);
                }
                Err(error) if error.is_absent() => {}
                Err(error) => return Err(error),
            },
            None => {
                let Some(name) = descended.pop() else {
                    return Ok(());
                };
                current = current.parent()?;
                remove_patiently(&current, &name)?;
            }
        }
    }
}

fn remove_patiently(parent: &CgroupDir, name: impl AsRef<OsStr>) -> Result<(), Error> {
    let name = name.as_ref();
    let mut pause = FIRST_PAUSE;
    for _ in 0..TRIES {
        match parent.remove_child(name) {
            Ok(()) | Err(Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY | Errno::ENOTEMPTY) => sleep(pause),
            Err(errno) => return Err(failed(&parent.path_of(name), errno)),
        }
        pause *= 2;
    }
    match parent.remove_child(name) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed(&parent.path_of(name), errno)),
    }
}

/// Directory and last component of a path as `Layout::resolve` makes them.
pub(crate) fn split(path: &str) -> Result<(&str, &str), Error> {
    path.rsplit_once('/')
        .filter(|(parent, name)| !parent.is_empty() && !name.is_empty())
        .ok_or_else(|| Error::Path {
            path: path.to_owned(),
            reason: "is not below a hierarchy",
        })
}

fn failed(path: &str, errno: Errno) -> Error {
    Error::Io {
        operation: "rmdir",
        path: path.to_owned(),
        errno,
    }
}
