//! SIGKILL to every process of a cgroup.

use crate::Error;
use crate::files::CgroupDir;
use crate::freezer::{Freezer, thaw_within};
use crate::processes::{can_write, membership, pids};
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use nix::sys::signal::{Signal, kill as send};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// How long it may take where nobody says otherwise.
const DEADLINE: Duration = Duration::from_secs(10);

/// Nothing may stay frozen because the time was over.
const THAW_AT_LEAST: Duration = Duration::from_millis(100);

/// Rounds without a freezer. What got SIGKILL forks no more, so nearly always the second round finds
/// nothing new; against a fork bomb only the freezer helps, and it may take its time.
const ROUNDS_UNTIL_FREEZE: u32 = 3;

/// Sends SIGKILL to every process of the cgroup and below it, frozen or not, and lets frozen ones
/// go on so that they die. Returns when all have the signal, which may be before they are gone. A
/// cgroup that does not exist is no error.
///
/// # Errors
/// [`Error::Write`] or [`Error::Io`] when the kernel refuses, [`Error::Timeout`] when new processes
/// keep appearing or a freezer does not thaw for 10 s.
pub fn kill(paths: &CgroupPaths) -> Result<(), Error> {
    kill_within(paths, DEADLINE)
}

/// [`kill`] with a limit of its own.
///
/// # Errors
/// As [`kill`]; what could be reached until then has the signal.
pub fn kill_within(paths: &CgroupPaths, limit: Duration) -> Result<(), Error> {
    match kill_present(paths, limit) {
        // systemd removes a scope as soon as its last process has ended, whatever we are doing there.
        Err(error) if paths.scope.is_some() && error.is_absent() => Ok(()),
        result => result,
    }
}

fn kill_present(paths: &CgroupPaths, limit: Duration) -> Result<(), Error> {
    if let Some(unified) = &paths.unified {
        let Some(dir) = CgroupDir::open_if_present(unified)? else {
            return thaw_within(paths, limit);
        };
        // Linux 5.14: recursive, and no process can escape by forking.
        if can_write(&dir, "cgroup.kill") {
            dir.write("cgroup.kill", "1")?;
            return thaw_within(paths, limit);
        }
    }
    kill_one_by_one(paths, limit)
}

fn kill_one_by_one(paths: &CgroupPaths, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut signalled = Vec::new();
    let mut round = 0;
    while !left().is_zero() {
        round += 1;
        let freezer = match Freezer::open(paths) {
            Err(error) if error.is_absent() => return Ok(()),
            freezer => freezer?,
        };
        // Processes that do not stop in time can still be killed; more rounds make up for it.
        let frozen = round > ROUNDS_UNTIL_FREEZE
            && freezer
                .as_ref()
                .is_some_and(|freezer| freezer.freeze(left() / 2).is_ok());
        let found = signal_all(paths);
        if let Some(freezer) = freezer {
            // Also where somebody else froze it: a v1 freezer keeps SIGKILL waiting.
            freezer.thaw(left().max(THAW_AT_LEAST))?;
        }
        let found = found?;
        if frozen || found.iter().all(|pid| signalled.contains(pid)) {
            return Ok(());
        }
        signalled = found;
    }
    Err(Error::Timeout {
        path: membership(paths).unwrap_or_default().to_owned(),
        what: "still has new processes",
        limit,
    })
}

/// SIGKILL to whatever is there now.
fn signal_all(paths: &CgroupPaths) -> Result<Vec<i32>, Error> {
    let found = pids(paths)?;
    found.iter().try_for_each(|pid| signal(*pid))?;
    Ok(found)
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
