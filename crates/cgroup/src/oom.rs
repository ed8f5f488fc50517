//! Hearing of processes that the kernel killed for want of memory.

use crate::Error;
use crate::announced::{Announced, OpenFile};
use crate::files::CgroupDir;
use crate::routes::{self, Version};
use crate::stats::flat_value;
use hull_abi::CgroupPaths;
use hull_sys::Errno;
use hull_sys::eventfd::{AnyReadable, EventFd, TimerFd};
use nix::fcntl::OFlag;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// cgroup v1 announces that memory is short before it looks for a victim. The counter is looked at
/// again after this time, …
const SECOND_LOOK: Duration = Duration::from_millis(20);

/// … at most this often: a victim is found within a second or the memory was got otherwise.
const SECOND_LOOKS: u32 = 50;

/// The file that counts.
const V1_COUNTER: &str = "memory.oom_control";
/// The same of v2.
const V2_COUNTER: &str = "memory.events";

/// What a watch needs of a cgroup. Finding and opening it can wait for others who make and remove cgroups,
/// reading it cannot: so a process that may wait does the one for a process that may not.
#[derive(Debug)]
pub struct OomFiles {
    /// `memory.events`, or `memory.oom_control` of v1.
    counter: OwnedFd,
    /// What v1 raises; v2 announces changes of the counter itself.
    event: Option<EventFd>,
}

/// A watch on the OOM kills of one cgroup. Its descriptor is readable when there is something to
/// [`drain`](OomWatch::drain); everything is non-blocking and close-on-exec.
#[derive(Debug)]
pub struct OomWatch {
    source: Source,
    /// The highest count so far, which outlives the cgroup.
    count: AtomicU64,
}

#[derive(Debug)]
enum Source {
    /// `memory.events` is announced after the kill was counted.
    V2(Announced),
    V1 {
        counter: OpenFile,
        event: EventFd,
        timer: TimerFd,
        either: AnyReadable,
        looks_left: AtomicU32,
    },
}

impl OomFiles {
    /// Opens the counter of a cgroup and has its changes announced; `None` where no memory controller is
    /// there to watch.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Write`] when the cgroup does not exist, or when descriptors are used
    /// up.
    pub fn open(paths: &CgroupPaths) -> Result<Option<Self>, Error> {
        let Some((version, dir)) = routes::find(paths, "memory")? else {
            return Ok(None);
        };
        match version {
            Version::V2 => {
                let counter = open_counter(&dir, V2_COUNTER)?;
                Ok(Some(Self {
                    counter,
                    event: None,
                }))
            }
            Version::V1 => match register(&dir) {
                // A kernel built without the v1 notification.
                Err(error) if error.is_absent() => Ok(None),
                files => files.map(Some),
            },
        }
    }

    /// The descriptors, for another process.
    #[must_use]
    pub fn into_fds(self) -> Vec<OwnedFd> {
        let event = self.event.map(OwnedFd::from);
        [self.counter].into_iter().chain(event).collect()
    }

    /// What another process has made of [`into_fds`](Self::into_fds); `None` of nothing.
    #[must_use]
    pub fn from_fds(fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        Some(Self {
            counter: fds.next()?,
            event: fds.next().map(EventFd::from),
        })
    }
}

impl OomWatch {
    /// Watches a cgroup by its open files; `paths` are for messages.
    ///
    /// # Errors
    /// [`Error::Io`] when descriptors are used up, or as [`drain`](Self::drain).
    pub fn new(files: OomFiles, paths: &CgroupPaths) -> Result<Self, Error> {
        let OomFiles { counter, event } = files;
        let counter = OpenFile::new(counter, counter_path(paths));
        let source = match event {
            None => Source::V2(Announced::of(counter)?),
            Some(event) => {
                let failed = |errno| watching(&counter, errno);
                let timer = TimerFd::new().map_err(failed)?;
                let either = AnyReadable::new(&[event.as_fd(), timer.as_fd()]).map_err(failed)?;
                Source::V1 {
                    counter,
                    event,
                    timer,
                    either,
                    looks_left: AtomicU32::new(0),
                }
            }
        };
        let watch = Self {
            source,
            count: AtomicU64::new(0),
        };
        watch.look()?;
        Ok(watch)
    }

    /// Clears what made the descriptor readable and returns how many processes of the cgroup (on v2
    /// also of those below it) have been killed for want of memory so far. A count that has not
    /// risen is no kill: v1 also announces shortages of the parent, and the removal of the cgroup.
    /// Of a cgroup that is gone, the last known count is returned.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Content`] when the counter cannot be read.
    pub fn drain(&self) -> Result<u64, Error> {
        match &self.source {
            Source::V2(_) => self.look(),
            Source::V1 {
                counter,
                event,
                timer,
                looks_left,
                ..
            } => {
                let failed = |errno| watching(counter, errno);
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
            Source::V1 { counter, .. } => counter.read()?,
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
fn register(dir: &CgroupDir) -> Result<OomFiles, Error> {
    let counter = open_counter(dir, V1_COUNTER)?;
    let event = EventFd::new().map_err(|errno| Error::Io {
        operation: "watch",
        path: dir.path_of(V1_COUNTER),
        errno,
    })?;
    let request = format!("{} {}", event.as_fd().as_raw_fd(), counter.as_raw_fd());
    dir.write("cgroup.event_control", &request)?;
    Ok(OomFiles {
        counter,
        event: Some(event),
    })
}

fn open_counter(dir: &CgroupDir, name: &str) -> Result<OwnedFd, Error> {
    dir.open_file(name, OFlag::O_RDONLY)
        .map_err(|errno| Error::Io {
            operation: "open",
            path: dir.path_of(name),
            errno,
        })
}

/// Where the counter of a cgroup is, by its paths alone.
fn counter_path(paths: &CgroupPaths) -> String {
    match routes::v1_of(paths, "memory") {
        Some(v1) => format!("{}/{V1_COUNTER}", v1.path),
        None => {
            let unified = paths.unified.as_deref().unwrap_or_default();
            format!("{unified}/{V2_COUNTER}")
        }
    }
}

fn watching(counter: &OpenFile, errno: Errno) -> Error {
    Error::Io {
        operation: "watch",
        path: counter.path().to_owned(),
        errno,
    }
}
