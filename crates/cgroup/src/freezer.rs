//! Stopping every process of a cgroup and letting it go on.
//!
//! The unified tree is preferred even where a v1 freezer is mounted: its frozen processes can be
//! killed. A v1 freezer keeps SIGKILL waiting until it thaws.

use crate::Error;
use crate::announced::Announced;
use crate::error::Absence;
use crate::files::CgroupDir;
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use hull_sys::fd::wait_readable;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long processes may take to stop. Uninterruptible sleep (NFS, a dying disk) is the reason for
/// so much; runc waits as long.
const DEADLINE: Duration = Duration::from_secs(10);

/// A v1 freezer can get stuck between two processes that wait for each other; thawing for a moment
/// every so many tries helps it over that, as runc found.
const TRIES_UNTIL_THAW: u32 = 25;

/// Where the cgroup is frozen.
pub(crate) enum Freezer {
    Unified(CgroupDir),
    V1(CgroupDir),
}

/// Stops every process of the cgroup and returns when all have stopped.
///
/// # Errors
/// [`Error::Timeout`] after 10 s, the cgroup is then thawed again; [`Error::NoController`] where
/// there is neither a unified tree nor a v1 freezer; [`Error::Io`] when the cgroup does not exist.
pub fn freeze(paths: &CgroupPaths) -> Result<(), Error> {
    let freezer = Freezer::open(paths)?.ok_or(Error::NoController {
        limit: "pause",
        controller: "freezer".to_owned(),
        absence: Absence::Host,
    })?;
    freezer.freeze(DEADLINE)
}

/// Lets every process of the cgroup go on. A cgroup that is not frozen or does not exist is no
/// error.
///
/// # Errors
/// [`Error::Timeout`] after 10 s, [`Error::Write`] when the kernel refuses.
pub fn thaw(paths: &CgroupPaths) -> Result<(), Error> {
    thaw_within(paths, DEADLINE)
}

/// Does something while every process of the cgroup stands still, and lets them go on afterwards. Those
/// that stood still before stay so. Where there is no freezer it is done all the same.
///
/// # Errors
/// As [`freeze`] and [`thaw`], and those of the work.
pub(crate) fn while_frozen<T>(
    paths: &CgroupPaths,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let freezer = match Freezer::open(paths)? {
        Some(freezer) if !freezer.is_frozen()? => freezer,
        Some(_) | None => return work(),
    };
    freezer.freeze(DEADLINE)?;
    let done = work();
    let thawed = freezer.thaw(DEADLINE);
    done.and_then(|value| thawed.map(|()| value))
}

/// [`thaw`] with a limit of its own for each freezer.
pub(crate) fn thaw_within(paths: &CgroupPaths, limit: Duration) -> Result<(), Error> {
    if let Some(unified) = &paths.unified
        && let Some(dir) = CgroupDir::open_if_present(unified)?
        && dir.has("cgroup.freeze")
    {
        Freezer::Unified(dir).thaw(limit)?;
    }
    // Someone else may have used the other freezer.
    match v1_freezer(paths)? {
        Some(dir) => Freezer::V1(dir).thaw(limit),
        None => Ok(()),
    }
}

// === impl Freezer ===

impl Freezer {
    /// The freezer to use, if there is any.
    pub(crate) fn open(paths: &CgroupPaths) -> Result<Option<Self>, Error> {
        if let Some(unified) = &paths.unified {
            let dir = CgroupDir::open(unified)?;
            // Linux before 5.2 has none.
            if dir.has("cgroup.freeze") {
                return Ok(Some(Self::Unified(dir)));
            }
        }
        Ok(v1_freezer(paths)?.map(Self::V1))
    }

    pub(crate) fn freeze(&self, limit: Duration) -> Result<(), Error> {
        let result = match self {
            Self::Unified(dir) => set_unified(dir, "1", "frozen 1", "is not frozen", limit),
            Self::V1(dir) => freeze_v1(dir, limit),
        };
        if matches!(result, Err(Error::Timeout { .. })) {
            // Half a container stopped is worse than none; the timeout is what gets reported.
            self.thaw(limit).ok();
        }
        result
    }

    /// Whether it is frozen or on the way there, by itself or by a cgroup above.
    fn is_frozen(&self) -> Result<bool, Error> {
        match self {
            Self::Unified(dir) => {
                let events = dir.read("cgroup.events")?;
                let is_asked = dir.read("cgroup.freeze")?.trim() != "0";
                Ok(is_asked || events.lines().any(|line| line == "frozen 1"))
            }
            Self::V1(dir) => Ok(dir.read("freezer.state")?.trim() != "THAWED"),
        }
    }

    pub(crate) fn thaw(&self, limit: Duration) -> Result<(), Error> {
        match self {
            Self::Unified(dir) => set_unified(dir, "0", "frozen 0", "is still frozen", limit),
            Self::V1(dir) => thaw_v1(dir, limit),
        }
    }
}

fn v1_freezer(paths: &CgroupPaths) -> Result<Option<CgroupDir>, Error> {
    let freezer = paths
        .v1
        .iter()
        .find(|v1| v1.controllers.iter().any(|name| name == "freezer"));
    match freezer {
        Some(v1) => CgroupDir::open_if_present(&v1.path),
        None => Ok(None),
    }
}

fn set_unified(
    dir: &CgroupDir,
    value: &str,
    awaited: &str,
    failure: &'static str,
    limit: Duration,
) -> Result<(), Error> {
    let failed = |operation| {
        move |errno| Error::Io {
            operation,
            path: dir.path_of("cgroup.events"),
            errno,
        }
    };
    let events = Announced::open(dir, "cgroup.events")?;
    dir.write("cgroup.freeze", value)?;
    let deadline = Instant::now() + limit;
    loop {
        // Each change after the read is announced, so none is missed.
        let content = events
            .read()?
            .ok_or(Errno::ENODEV)
            .map_err(failed("read"))?;
        if content.lines().any(|line| line == awaited) {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if !wait_readable(&events, left).map_err(failed("watch"))? {
            return Err(timeout(dir, failure, limit));
        }
    }
}

fn freeze_v1(dir: &CgroupDir, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    let mut tries = 0;
    while Instant::now() < deadline {
        // Writing once more makes the kernel look at processes that were forked meanwhile.
        dir.write("freezer.state", "FROZEN")?;
        if dir.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(());
        }
        tries += 1;
        if tries % TRIES_UNTIL_THAW == 0 {
            dir.write("freezer.state", "THAWED")?;
        }
        sleep(Duration::from_millis(1).saturating_mul(tries.min(10)));
    }
    Err(timeout(dir, "is not frozen", limit))
}

fn thaw_v1(dir: &CgroupDir, limit: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if dir.read("freezer.state")?.trim() == "THAWED" {
            return Ok(());
        }
        dir.write("freezer.state", "THAWED")?;
        if dir.read("freezer.state")?.trim() == "THAWED" {
            return Ok(());
        }
        sleep(Duration::from_millis(1));
    }
    Err(timeout(dir, "is still frozen", limit))
}

fn timeout(dir: &CgroupDir, what: &'static str, limit: Duration) -> Error {
    Error::Timeout {
        path: dir.path().to_owned(),
        what,
        limit,
    }
}
