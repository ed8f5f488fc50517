//! SIGKILL to every process of a cgroup.

use crate::Error;
use crate::files::CgroupDir;
use crate::freezer::{Freezer, thaw};
use crate::processes::{can_write, pids};
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;

/// Rounds without a freezer: each must find fewer new processes than a fork bomb can make, which
/// SIGKILL to the parents ensures after a few.
const ROUNDS: usize = 100;

/// Sends SIGKILL to every process of the cgroup and below it, frozen or not, and lets frozen ones
/// go on so that they die. Returns when all have the signal, which may be before they are gone. A
/// cgroup that does not exist is no error.
///
/// # Errors
/// [`Error::Write`] or [`Error::Io`] when the kernel refuses, [`Error::Timeout`] when new processes
/// keep appearing or a v1 freezer does not thaw.
pub fn kill(paths: &CgroupPaths) -> Result<(), Error> {
    if let Some(unified) = &paths.unified {
        let Some(dir) = CgroupDir::open_if_present(unified)? else {
            return thaw(paths);
        };
        // Linux 5.14: recursive, and no process can escape by forking.
        if can_write(&dir, "cgroup.kill") {
            dir.write("cgroup.kill", "1")?;
            return thaw(paths);
        }
    }
    kill_one_by_one(paths)
}

fn kill_one_by_one(paths: &CgroupPaths) -> Result<(), Error> {
    let mut signalled = Vec::new();
    for _ in 0..ROUNDS {
        let freezer = match Freezer::open(paths) {
            Err(error) if error.is_absent() => return Ok(()),
            freezer => freezer?,
        };
        // Processes that do not stop in time can still be killed; more rounds make up for it.
        let frozen = freezer
            .as_ref()
            .is_some_and(|freezer| freezer.freeze().is_ok());
        let found = pids(paths);
        let sent = found.and_then(|found| {
            for pid in &found {
                signal(*pid)?;
            }
            Ok(found)
        });
        if let Some(freezer) = freezer {
            freezer.thaw()?;
        }
        let found = sent?;
        if frozen || found.iter().all(|pid| signalled.contains(pid)) {
            return Ok(());
        }
        signalled = found;
    }
    let path = crate::processes::membership(paths)
        .unwrap_or_default()
        .to_owned();
    Err(Error::Timeout {
        path,
        what: "still has new processes",
        seconds: 0,
    })
}

fn signal(pid: i32) -> Result<(), Error> {
    match send(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::Io {
            operation: "kill",
            path: format!("process {pid}"),
            errno,
        }),
    }
}
