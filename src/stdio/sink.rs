//! Where output goes and input comes from: FIFOs of containerd's clients, files, devices. Every open
//! is non-blocking, whatever a name turns out to be.

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
/// How long a FIFO may be without a reader before it is given up, as in containerd.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);
/// O_NOCTTY: the daemon leads a session and must not get a client's terminal as its own.
const FLAGS: OFlag = OFlag::O_NONBLOCK
    .union(OFlag::O_NOCTTY)
    .union(OFlag::O_CLOEXEC);

/// Where one output stream goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// A FIFO that is opened once somebody reads it; a handle that cannot be moved away under us.
    Fifo(OwnedFd),
    /// Anything else.
    Open(Stream),
}

/// A sink that takes data.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) stream: Stream,
    /// It can be spliced to. The one descriptor of a FIFO is reader and writer at once: a client
    /// that goes away does not break the pipe, and its successor reads on.
    pub(super) fifo: bool,
}

/// Where input comes from.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) stream: Stream,
    /// Our own writer of a FIFO: while it is open there is no end of input.
    pub(super) writer: Option<OwnedFd>,
}

/// Refuses names that we cannot serve, before anything is made.
///
/// # Errors
/// [`Error::Invalid`] with the scheme.
pub(super) fn check(name: &str) -> Result<(), Error> {
    match name.split_once("://") {
        None => Ok(()),
        Some(("file" | "fifo", _)) => Ok(()),
        Some((scheme @ ("binary" | "binary-v2"), _)) => Err(Error::Invalid(format!(
            "STDIO scheme {scheme} is not supported yet"
        ))),
        Some((scheme, _)) => Err(Error::Invalid(format!("unknown STDIO scheme {scheme}"))),
    }
}

/// The path in a name; a `file://` has a query that nobody uses.
fn path(name: &str) -> &Path {
    let path = match name.strip_prefix("file://") {
        Some(file) => file.split_once('?').map_or(file, |(path, _)| path),
        None => name.strip_prefix("fifo://").unwrap_or(name),
    };
    Path::new(path)
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
pub(super) fn open_input(name: &str) -> Result<Input, Error> {
    let opened = || -> Result<Input, Errno> {
        let handle = handle(path(name))?;
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
    /// Opens what the name of `stream` (`stdout`, `stderr`) means, a FIFO only as far as it can be
    /// without a reader.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub(super) fn prepare(stream: &str, name: &str) -> Result<Self, Error> {
        Self::open_name(name).map_err(|e| Error::host(format!("open {stream} {name:?}"), e))
    }

    /// Swallows everything.
    ///
    /// # Errors
    /// When the host has no /dev/null.
    pub(super) fn null() -> Result<Self, Error> {
        Self::open_name("/dev/null").map_err(|e| Error::host("open \"/dev/null\"", e))
    }

    fn open_name(name: &str) -> Result<Self, Errno> {
        let path = path(name);
        let found = match handle(path) {
            Err(Errno::ENOENT) if name.starts_with("file://") => {
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
    /// `TimedOut` when nobody came for 30 s; as open(2).
    pub(super) async fn open(self) -> io::Result<Target> {
        match self {
            Self::Open(stream) => Ok(Target {
                stream,
                fifo: false,
            }),
            Self::Fifo(handle) => {
                let stream = open_fifo(&handle).await?;
                Ok(Target { stream, fifo: true })
            }
        }
    }
}

async fn open_fifo(handle: &OwnedFd) -> io::Result<Stream> {
    let deadline = Instant::now() + OPEN_DEADLINE;
    let mut pause = Duration::from_millis(1);
    let first = loop {
        match reopen(handle, OFlag::O_WRONLY) {
            Ok(fd) => break fd,
            Err(Errno::ENXIO) if Instant::now() < deadline => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(Errno::ENXIO) => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "nobody has opened it for reading in 30 s",
                ));
            }
            Err(errno) => return Err(errno.into()),
        }
    };
    // The first writer stays until there is the second: a reader that finds none takes it for the
    // end of the stream.
    let fd = reopen(handle, OFlag::O_RDWR)?;
    drop(first);
    Ok(Stream::Watched(Arc::new(watch(fd, Interest::WRITABLE)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_served_are_refused() {
        for name in ["", "/run/fifo", "fifo:///run/fifo", "file:///log?a=b"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for (name, text) in [
            ("tcp://host", "unknown STDIO scheme tcp"),
            (
                "binary:///logger",
                "STDIO scheme binary is not supported yet",
            ),
        ] {
            assert_eq!(check(name).unwrap_err().to_string(), text);
        }
    }

    #[test]
    fn only_a_log_uri_has_a_query() {
        for (name, expected) in [
            ("/run/a?b", "/run/a?b"),
            ("fifo:///run/a", "/run/a"),
            ("file:///log/a?max=1", "/log/a"),
        ] {
            assert_eq!(path(name), Path::new(expected));
        }
    }
}
