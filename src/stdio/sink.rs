//! Where output goes and input comes from: FIFOs of containerd's clients, or files.

use crate::error::Error;
use hull_launcher::client::watch;
use hull_sys::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep};

/// How long a FIFO may be without a reader before it is given up, as in containerd.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// Where one output stream goes.
#[derive(Debug)]
pub(super) enum Sink {
    /// A FIFO that is opened once somebody reads it; a handle that cannot be moved away under us.
    Fifo { handle: OwnedFd, name: String },
    /// A regular file or another file that never blocks.
    File(OwnedFd),
}

/// An open FIFO. The one descriptor is reader and writer at once: a client that goes away does not
/// break the pipe, and its successor reads on.
#[derive(Debug)]
pub(super) struct Fifo(pub(super) AsyncFd<OwnedFd>);

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

fn path(name: &str) -> &str {
    name.strip_prefix("fifo://").unwrap_or(name)
}

fn handle(name: &str) -> Result<(OwnedFd, bool), Error> {
    let fail = |e: Errno| Error::host(format!("open stream {name:?}"), e);
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let handle = open(path(name), flags, Mode::empty()).map_err(fail)?;
    let stat = fstat(&handle).map_err(fail)?;
    let fifo = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO;
    Ok((handle, fifo))
}

fn reopen(handle: &OwnedFd, flags: OFlag) -> Result<OwnedFd, Errno> {
    let magic = format!("/proc/self/fd/{}", handle.as_raw_fd());
    open(magic.as_str(), flags | OFlag::O_CLOEXEC, Mode::empty())
}

/// The read end of a stdin FIFO and our own writer of it.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn open_stdin(name: &str) -> Result<(OwnedFd, OwnedFd), Error> {
    let fail = |e: Errno| Error::host(format!("open stream {name:?}"), e);
    let (handle, _) = handle(name)?;
    let reader = reopen(&handle, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(fail)?;
    let writer = reopen(&handle, OFlag::O_WRONLY | OFlag::O_NONBLOCK).map_err(fail)?;
    Ok((reader, writer))
}

// === impl Sink ===

impl Sink {
    /// Finds out what the name means.
    ///
    /// # Errors
    /// When it is not there or cannot be opened.
    pub(super) fn prepare(name: &str) -> Result<Self, Error> {
        if let Some(file) = name.strip_prefix("file://") {
            return Self::file(file);
        }
        let (handle, fifo) = handle(name)?;
        if fifo {
            return Ok(Self::Fifo {
                handle,
                name: name.to_owned(),
            });
        }
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND;
        let file =
            reopen(&handle, flags).map_err(|e| Error::host(format!("open stream {name:?}"), e))?;
        Ok(Self::File(file))
    }

    /// Swallows everything.
    ///
    /// # Errors
    /// When the host has no /dev/null.
    pub(super) fn null() -> Result<Self, Error> {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        open("/dev/null", flags, Mode::empty())
            .map(Self::File)
            .map_err(|e| Error::host("open /dev/null", e))
    }

    /// `file://` of containerd's clients: made with its directories, appended to, query ignored.
    fn file(name: &str) -> Result<Self, Error> {
        let name = name.split_once('?').map_or(name, |(path, _)| path);
        let path = Path::new(name);
        let fail = |e: std::io::Error| Error::host(format!("open log file {name:?}"), e);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(fail)?;
        }
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map(|file| Self::File(file.into()))
            .map_err(fail)
    }
}

/// Opens a FIFO once it has a reader: data written before would be lost if the process ended and we
/// closed it before anybody came.
pub(super) async fn open_fifo(handle: OwnedFd, name: &str) -> Option<Fifo> {
    let deadline = Instant::now() + OPEN_DEADLINE;
    let mut pause = Duration::from_millis(1);
    let first = loop {
        match reopen(&handle, OFlag::O_WRONLY | OFlag::O_NONBLOCK) {
            Ok(fd) => break fd,
            Err(Errno::ENXIO) if Instant::now() < deadline => {
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            Err(errno) => {
                log::warn!("stream {name:?}: given up: {}", errno.desc());
                return None;
            }
        }
    };
    // The first writer stays until there is the second: a reader that finds none takes it for the
    // end of the stream.
    let fd = reopen(&handle, OFlag::O_RDWR | OFlag::O_NONBLOCK).ok()?;
    drop(first);
    watch(fd, Interest::WRITABLE).ok().map(Fifo)
}
