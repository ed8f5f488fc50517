//! Hearing of processes that the kernel killed for want of memory.

use crate::Error;
use crate::announced::Announced;
use crate::files::CgroupDir;
use crate::routes::{self, Version};
use crate::stats::flat_value;
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use hull_sys::eventfd::{AnyReadable, EventFd, TimerFd};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// cgroup v1 announces that memory is short before it looks for a victim. The counter is looked at
/// again after this time, …
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// … at most this often: a victim is found within a second or the memory was got otherwise.
const SECOND_LOOKS: u32 = 50;

/// A watch on the OOM kills of one cgroup. Its descriptor is readable when there is something to
/// [`drain`](OomWatch::drain); everything is non-blocking and close-on-exec.
#[derive(Debug)]
pub struct OomWatch {
    dir: CgroupDir,
    source: Source,
    /// The highest count so far, which outlives the cgroup.
    count: AtomicU64,
}

#[derive(Debug)]
enum Source {
    /// `memory.events` is announced after the kill was counted.
    V2(Announced),
    V1 {
        event: EventFd,
        timer: TimerFd,
        either: AnyReadable,
        looks_left: AtomicU32,
    },
}

impl OomWatch {
    /// Starts to watch; `None` where no memory controller is there to watch.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Write`] when the cgroup does not exist, or when descriptors are used
    /// up.
    pub fn open(paths: &CgroupPaths) -> Result<Option<Self>, Error> {
        let Some((version, dir)) = routes::find(paths, "memory")? else {
            return Ok(None);
        };
        let source = match version {
            Version::V2 => Source::V2(Announced::open(&dir, "memory.events")?),
            Version::V1 => match register(&dir) {
                // A kernel built without the v1 notification.
                Err(error) if error.is_absent() => return Ok(None),
                source => source?,
            },
        };
        let watch = Self {
            dir,
            source,
            count: AtomicU64::new(0),
        };
        watch.look()?;
        Ok(Some(watch))
    }

    /// Clears what made the descriptor readable and returns how many processes of the cgroup (on v2
    /// also of those below it) have been killed for want of memory so far. A count that has not
    /// risen is no kill: v1 also announces shortages of the parent, and the removal of the cgroup.
    /// Of a cgroup that is gone, the last known count is returned.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Content`] when the counter cannot be read.
    pub fn drain(&self) -> Result<u64, Error> {
        let failed = |errno: Errno| Error::Io {
            operation: "watch",
            path: self.dir.path().into(),
            errno,
        };
        match &self.source {
            Source::V2(_) => self.look(),
            Source::V1 {
                event,
                timer,
                looks_left,
                ..
            } => {
                let announced = event.take().map_err(failed)? > 0;
                timer.take().map_err(failed)?;
                let before = self.count.load(Ordering::Relaxed);
                let count = self.look()?;
                if announced {
                    looks_left.store(SECOND_LOOKS, Ordering::Relaxed);
                }
                let looks = looks_left.load(Ordering::Relaxed);
                let again = if count > before { 0 } else { looks };
                looks_left.store(again.saturating_sub(1), Ordering::Relaxed);
                let delay = if again > 0 {
                    SECOND_LOOK
                } else {
                    Duration::ZERO
                };
                timer.set(delay).map_err(failed)?;
                Ok(count)
            }
        }
    }

    /// Reads the counter.
    fn look(&self) -> Result<u64, Error> {
        let content = match &self.source {
            Source::V2(events) => events.read()?,
            Source::V1 { .. } => self.dir.read_if_present("memory.oom_control")?,
        };
        if let Some(content) = content {
            // Kernels before 4.13 count nothing.
            let count = flat_value(&content, "oom_kill").unwrap_or(0);
            self.count.fetch_max(count, Ordering::Relaxed);
        }
        Ok(self.count.load(Ordering::Relaxed))
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.source {
            Source::V2(events) => events.as_fd(),
            Source::V1 { either, .. } => either.as_fd(),
        }
    }
}

impl AsRawFd for OomWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Has the v1 controller raise an eventfd
/// (<https://docs.kernel.org/admin-guide/cgroup-v1/memory.html#oom-control>).
fn register(dir: &CgroupDir) -> Result<Source, Error> {
    let failed = |errno| Error::Io {
        operation: "watch",
        path: dir.path_of("memory.oom_control"),
        errno,
    };
    let control = dir
        .open_file("memory.oom_control", OFlag::O_RDONLY)
        .map_err(failed)?;
    let event = EventFd::new().map_err(failed)?;
    let request = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
    dir.write("cgroup.event_control", &request)?;
    let timer = TimerFd::new().map_err(failed)?;
    let either = AnyReadable::new(&[event.as_fd(), timer.as_fd()]).map_err(failed)?;
    Ok(Source::V1 {
        event,
        timer,
        either,
        looks_left: AtomicU32::new(0),
    })
}
