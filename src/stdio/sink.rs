//! Where output goes and input comes from: FIFOs of containerd's clients, files, devices. Every open
//! is non-blocking, whatever a name turns out to be.

use super::progress::Progress;
use super::stream::Stream;
use crate::error::Error;
use hull_launcher::client::watch;
use hull_sys::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::{Instant, sleep};

/// Longest pause between two looks for a reader. Well below the time for which the end of a process
/// waits for its output to move: a reader that came just before it must be found.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
/// How long a reader of a FIFO is waited for, as in containerd.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// Pause between two looks after that.
const LATER_PAUSE: Duration = Duration::from_secs(1);
/// O_NOCTTY: the daemon leads a session and must not get a client's terminal as its own.
const FLAGS: OFlag = OFlag::O_NONBLOCK
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// Where one output stream goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// A FIFO that is opened once somebody reads it; a handle that cannot be moved away under us.
    Fifo(OwnedFd),
    /// A logger's pipe, of which somebody else holds a read end.
    Logger(Stream),
    /// Anything else.
    Open(Stream),
}

/// A sink that takes data.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) stream: Stream,
    /// It can be spliced to. The one descriptor of a FIFO is reader and writer at once: a client
    /// that goes away does not break the pipe, and its successor reads on. A logger's pipe is the same to us.
    pub(super) fifo: bool,
}

/// Where input comes from.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) stream: Stream,
    /// Our own writer of a FIFO: while it is open there is no end of input.
    pub(super) writer: Option<OwnedFd>,
}

fn handle(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn is_fifo(fd: &OwnedFd) -> Result<bool, Errno> {
    let mode = SFlag::from_bits_truncate(fstat(fd)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFIFO)
}

fn reopen(handle: &OwnedFd, flags: OFlag) -> Result<OwnedFd, Errno> {
    let magic = format!("/proc/self/fd/{}", handle.as_raw_fd());
    open(magic.as_str(), flags | FLAGS, Mode::empty())
}

/// Makes a log file and the directories above it, if they are not there.
fn make_file(path: &Path) -> Result<(), Errno> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|e| hull_sys::fd::errno(&e))?;
    }
    let mode = Mode::from_bits_truncate(0o644);
    open(path, OFlag::O_WRONLY | OFlag::O_CREAT | FLAGS, mode).map(drop)
}

/// Opens the input that `name` means.
///
/// # Errors
/// When it is not there or cannot be opened.
pub(super) fn open_input(name: &Path) -> Result<Input, Error> {
    let opened = || -> Result<Input, Errno> {
        let handle = handle(name)?;
        let reader = reopen(&handle, OFlag::O_RDONLY)?;
        let writer = if is_fifo(&handle)? {
            Some(reopen(&handle, OFlag::O_WRONLY)?)
        } else {
            None
        };
        let stream = Stream::new(reader, Interest::READABLE)?;
        Ok(Input { stream, writer })
    };
    opened().map_err(|e| Error::host(format!("open stdin {name:?}"), e))
}

// === impl Sink ===

impl Sink {
    /// Opens what `stream` (`stdout`, `stderr`) goes to, a FIFO only as far as it can be without a reader.
    /// A log file that is absent is made.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub(super) fn prepare(stream: &str, path: &Path, make: bool) -> Result<Self, Error> {
        Self::open_path(path, make).map_err(|e| Error::host(format!("open {stream} {path:?}"), e))
    }

    /// Swallows everything.
    ///
    /// # Errors
    /// When the host has no /dev/null.
    pub(super) fn null() -> Result<Self, Error> {
        let null = Path::new("/dev/null");
        Self::open_path(null, false).map_err(|e| Error::host("open \"/dev/null\"", e))
    }

    /// The same once more, where it takes several writers.
    pub(super) fn share(&self) -> Option<Self> {
        match self {
            Self::Open(stream) => Some(Self::Open(stream.clone())),
            Self::Fifo(_) | Self::Logger(_) => None,
        }
    }

    fn open_path(path: &Path, make: bool) -> Result<Self, Errno> {
        let found = match handle(path) {
            Err(Errno::ENOENT) if make => {
                make_file(path)?;
                handle(path)?
            }
            other => other?,
        };
        if is_fifo(&found)? {
            return Ok(Self::Fifo(found));
        }
        let fd = reopen(&found, OFlag::O_WRONLY | OFlag::O_APPEND)?;
        Stream::new(fd, Interest::WRITABLE).map(Self::Open)
    }

    /// Waits until a FIFO has a reader: data written before would be lost if the process ended and
    /// we closed it before anybody came.
    ///
    /// # Errors
    /// As open(2).
    pub(super) async fn open(self, stream: &str, progress: &Progress) -> io::Result<Target> {
        match self {
            Self::Open(stream) => Ok(Target {
                stream,
                fifo: false,
            }),
            Self::Logger(stream) => Ok(Target { stream, fifo: true }),
            Self::Fifo(handle) => {
                let first = wait_for_reader(&handle, stream, progress).await?;
                // The first writer stays until there is the second: a reader that finds none takes it
                // for the end of the stream.
                let fd = reopen(&handle, OFlag::O_RDWR)?;
                drop(first);
                let stream = Stream::Watched(Arc::new(watch(fd, Interest::WRITABLE)?));
                Ok(Target { stream, fifo: true })
            }
        }
    }
}

/// Opens a FIFO for writing. After a while nobody waits for its reader any more, neither an exit nor
/// Delete; but one that comes still gets everything.
async fn wait_for_reader(
    handle: &OwnedFd,
    stream: &str,
    progress: &Progress,
) -> io::Result<OwnedFd> {
    let deadline = Instant::now() + OPEN_DEADLINE;
    let mut pause = Duration::from_millis(1);
    let mut longest = LONGEST_PAUSE;
    loop {
        match reopen(handle, OFlag::O_WRONLY) {
            Ok(fd) => {
                progress.expect(true);
                return Ok(fd);
            }
            Err(Errno::ENXIO) => {}
            Err(errno) => return Err(errno.into()),
        }
        if longest == LONGEST_PAUSE && Instant::now() >= deadline {
            longest = LATER_PAUSE;
            progress.expect(false);
            log::warn!(
                "{stream}: nobody has opened it for reading in {} s; the process blocks when its pipe \
                 is full",
                OPEN_DEADLINE.as_secs()
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::mkfifo;
    use std::time::Instant as Clock;

    /// The test's clock stands still but for the timers.
    #[tokio::test(start_paused = true)]
    async fn a_reader_that_comes_after_the_deadline_is_still_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let progress = Arc::new(Progress::new());
        let sink = Sink::prepare("stdout", &path, false).unwrap();
        let seen = Arc::clone(&progress);
        let opening = tokio::spawn(async move { sink.open("stdout", &seen).await });
        let begin = Clock::now();
        sleep(Duration::from_secs(29)).await;
        assert!(progress.owes(true), "somebody may come");
        sleep(Duration::from_secs(2)).await;
        assert!(!progress.owes(true), "nobody has come");
        sleep(Duration::from_secs(600)).await;
        assert!(!opening.is_finished());
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let _reader = open(&path, flags, Mode::empty()).unwrap();
        assert!(opening.await.unwrap().unwrap().fifo);
        assert!(progress.owes(true), "somebody reads");
        assert!(begin.elapsed() < Duration::from_secs(60));
    }
}
