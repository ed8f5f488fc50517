//! The client's ends of the stdio FIFOs. Every read and open has a deadline.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::error::{Error, Result};

/// Between two tries to open a FIFO whose reader is not there yet: no event tells of it.
const OPEN_RETRY: Duration = Duration::from_millis(1);

/// Makes a FIFO that only its owner may open.
///
/// # Errors
/// [`Error::Path`] with the cause of mkfifo(3).
pub fn make_fifo(path: &Path) -> Result<()> {
    mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| Error::path("make FIFO", path)(errno.into()))
}

/// The reading end of a process's stdout or stderr.
#[derive(Debug)]
pub struct FifoReader {
    path: PathBuf,
    file: File,
    /// Read but not yet given to the caller.
    buffer: Vec<u8>,
}

impl FifoReader {
    /// Opens without waiting for a writer, as containerd's client does.
    ///
    /// # Errors
    /// [`Error::Path`] with the cause of open(2).
    pub fn open(path: &Path) -> Result<Self> {
        let fd = open(
            path,
            OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map_err(|errno| Error::path("open FIFO", path)(errno.into()))?;
        Ok(Self {
            path: path.to_owned(),
            file: fd.into(),
            buffer: Vec::new(),
        })
    }

    /// Everything up to the end of file: the moment when no writer is left. A FIFO that never had
    /// a writer has not ended.
    ///
    /// # Errors
    /// `TimedOut`, naming what was read so far.
    pub fn read_to_end(&mut self, limit: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        while self.fill(deadline)? > 0 {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// Everything up to and including the first `mark`; what follows stays for the next read.
    ///
    /// # Errors
    /// `TimedOut` or `UnexpectedEof`, naming what was read so far.
    pub fn read_until(&mut self, mark: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(at) = self
                .buffer
                .windows(mark.len())
                .position(|window| window == mark)
            {
                let rest = self.buffer.split_off(at + mark.len());
                return Ok(std::mem::replace(&mut self.buffer, rest));
            }
            if self.fill(deadline)? == 0 {
                return Err(self.error(io::ErrorKind::UnexpectedEof, "ended"));
            }
        }
    }

    /// What can be read now, without waiting.
    pub fn read_available(&mut self) -> Vec<u8> {
        let now = Instant::now();
        while self.fill(now).is_ok_and(|count| count > 0) {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for bytes, reads them into the buffer and gives their number; 0 is the end of file.
    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut chunk = [0_u8; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut fds, timeout) {
                Ok(0) => return Err(self.error(io::ErrorKind::TimedOut, "gave nothing more")),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            }
            match self.file.read(&mut chunk) {
                Ok(count) => {
                    self.buffer.extend(chunk.iter().take(count));
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn error(&self, kind: io::ErrorKind, what: &str) -> io::Error {
        let tail = self.buffer.len().saturating_sub(2000);
        let text = String::from_utf8_lossy(self.buffer.get(tail..).unwrap_or_default());
        io::Error::new(
            kind,
            format!(
                "{} {what} after {} bytes, the last are {text:?}",
                self.path.display(),
                self.buffer.len()
            ),
        )
    }
}

/// The writing end of a process's stdin.
#[derive(Debug)]
pub struct FifoWriter(File);

impl FifoWriter {
    /// Opens as soon as the shim has opened the other end.
    ///
    /// # Errors
    /// [`Error::Path`]; ENXIO means that no reader came within `limit`.
    pub fn open(path: &Path, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        loop {
            match open(path, flags, Mode::empty()) {
                Ok(fd) => return Ok(Self(fd.into())),
                Err(Errno::ENXIO) if Instant::now() < deadline => thread::sleep(OPEN_RETRY),
                Err(errno) => return Err(Error::path("open FIFO", path)(errno.into())),
            }
        }
    }

    /// Writes all bytes, waiting while the FIFO is full.
    ///
    /// # Errors
    /// `TimedOut` when the reader did not take them within `limit`, or what write(2) gives.
    pub fn write_all(&mut self, mut bytes: &[u8], limit: Duration) -> io::Result<()> {
        let deadline = Instant::now() + limit;
        while !bytes.is_empty() {
            match self.0.write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
                    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
                    if poll(&mut fds, timeout)? == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
