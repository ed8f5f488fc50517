//! Our ends of a container's streams: one thread each, since our own streams may block.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use hull_client::Stdio;
use hull_sys::Errno;
use hull_sys::fd::errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::Error;
use crate::run::To;

/// What a FIFO holds.
const CHUNK: usize = 64 * 1024;

/// How long nothing may come from a container that has ended until its output is taken for complete.
/// Only a process that escaped its PID namespace, through a descriptor that it was given, needs it.
const QUIET_MS: u16 = 500;

/// What the threads tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// Our standard input has ended, and all of it is in the FIFO.
    InputEnded,
    /// One output stream of the container has ended.
    OutputEnded,
    /// Our own stream does not take it.
    OutputFailed(Errno),
}

/// The threads of one container.
#[derive(Debug)]
pub(super) struct Copies {
    notes: UnboundedReceiver<Note>,
    /// Output streams that have not ended.
    open: usize,
    /// Why one of our own streams took no more.
    failed: Option<Errno>,
    /// The container has ended.
    over: Arc<AtomicBool>,
}

impl Copies {
    /// Begins to copy. Readers are there from now on, so a writer of the FIFOs finds one.
    ///
    /// # Errors
    /// When a FIFO or one of our streams cannot be opened, or there can be no more threads.
    pub(super) fn start(stdio: &Stdio, output: To) -> Result<Self, Error> {
        let (sender, notes) = unbounded_channel();
        let over = Arc::new(AtomicBool::new(false));
        let failed = |error: io::Error| Error::new("connect to the container's streams", error);
        let streams = stdio.streams();
        let mut open = 0;
        if streams.stdout {
            let to = match output {
                To::Stdout => io::stdout().as_fd().try_clone_to_owned(),
                To::Stderr => io::stderr().as_fd().try_clone_to_owned(),
            };
            let output = Output::new(stdio.stdout_path(), to, &over).map_err(failed)?;
            output.spawn(sender.clone()).map_err(failed)?;
            open += 1;
        }
        if streams.stderr {
            let to = io::stderr().as_fd().try_clone_to_owned();
            let output = Output::new(stdio.stderr_path(), to, &over).map_err(failed)?;
            output.spawn(sender.clone()).map_err(failed)?;
            open += 1;
        }
        if streams.stdin {
            input(stdio.stdin_path(), sender).map_err(failed)?;
        }
        Ok(Self {
            notes,
            open,
            failed: None,
            over,
        })
    }

    /// Waits for what a thread tells.
    pub(super) async fn next(&mut self) -> Note {
        match self.notes.recv().await {
            Some(note) => {
                match note {
                    Note::OutputEnded => self.open = self.open.saturating_sub(1),
                    Note::OutputFailed(errno) => self.failed = Some(errno),
                    Note::InputEnded => {}
                }
                note
            }
            // All have ended.
            None => std::future::pending().await,
        }
    }

    /// Waits until all output of a container that has ended was passed on.
    ///
    /// # Errors
    /// When some of it could not be.
    pub(super) async fn rest(&mut self) -> Result<(), Error> {
        self.over.store(true, Ordering::Relaxed);
        while self.open > 0 {
            self.next().await;
        }
        match self.failed {
            None => Ok(()),
            // A pipe, or a terminal, that nobody reads any more.
            Some(Errno::EPIPE | Errno::EIO) => Err(Error::reader_gone()),
            Some(errno) => Err(Error::new("write the container's output", errno.desc())),
        }
    }
}

/// From a FIFO to one of our streams.
struct Output {
    from: File,
    to: File,
    over: Arc<AtomicBool>,
}

impl Output {
    fn new(fifo: &Path, to: io::Result<OwnedFd>, over: &Arc<AtomicBool>) -> io::Result<Self> {
        let from = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(fifo)?;
        Ok(Self {
            from,
            to: File::from(to?),
            over: Arc::clone(over),
        })
    }

    fn spawn(mut self, notes: UnboundedSender<Note>) -> io::Result<()> {
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                // Nobody waits for the notes if hull is ending.
                if let Err(error) = self.copy() {
                    let _ended = notes.send(Note::OutputFailed(errno(&error)));
                    // The shim would wait for a reader that comes back.
                    self.discard();
                }
                let _ended = notes.send(Note::OutputEnded);
            })
            .map(drop)
    }

    /// Copies to the end; an error is one of our own stream.
    fn copy(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK];
        while let Some(count) = self.read(&mut chunk) {
            write_all(&mut self.to, chunk.get(..count).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Reads to the end.
    fn discard(&mut self) {
        let mut chunk = vec![0; CHUNK];
        while self.read(&mut chunk).is_some() {}
    }

    /// Waits for bytes; `None` at the end.
    fn read(&mut self, chunk: &mut [u8]) -> Option<usize> {
        loop {
            // A FIFO that had no writer yet has not ended for poll(2), though it has for read(2).
            let mut fds = [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, QUIET_MS) {
                Ok(0) if self.over.load(Ordering::Relaxed) => return None,
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(_) => return None,
            }
            match self.from.read(chunk) {
                Ok(0) => return None,
                Ok(count) => return Some(count),
                Err(error) if is_temporary(&error) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Our streams may have been made non-blocking by whoever shares them with us.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if is_temporary(&error) => wait(to, PollFlags::POLLOUT)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn wait(file: &File, flags: PollFlags) -> io::Result<()> {
    let mut fds = [PollFd::new(file.as_fd(), flags)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// From our standard input to a FIFO. The thread ends with hull if its input does not end before.
fn input(fifo: &Path, notes: UnboundedSender<Note>) -> io::Result<()> {
    let mut from = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // With a reader of our own, opening does not wait and writing does not fail.
    let mut to = File::options().read(true).write(true).open(fifo)?;
    let copy = move || {
        let mut chunk = vec![0; CHUNK];
        loop {
            match from.read(&mut chunk) {
                Ok(0) => break,
                Ok(count) => {
                    let bytes = chunk.get(..count).unwrap_or_default();
                    if write_all(&mut to, bytes).is_err() {
                        break;
                    }
                }
                Err(error) if is_temporary(&error) => {
                    if wait(&from, PollFlags::POLLIN).is_err() {
                        break;
                    }
                }
                // A terminal that went away.
                Err(_) => break,
            }
        }
        drop(to);
        let _ended = notes.send(Note::InputEnded);
    };
    thread::Builder::new()
        .name("input".to_owned())
        .spawn(copy)
        .map(drop)
}
