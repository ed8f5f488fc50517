//! Copying between a process and a stream. Each copy is one task that only waits on descriptors.

use super::sink::{Fifo, Sink, open_fifo};
use hull_sys::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Most bytes that one splice moves: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// Buffer for what cannot be spliced.
const BUFFER: usize = 16 * 1024;

/// How many bytes of output went through, so that a drain sees whether they still move.
#[derive(Debug, Default)]
pub(super) struct Progress {
    moved: AtomicU64,
    stuck: AtomicU64,
    changed: Notify,
}

/// While it lives, data waits for a reader.
struct Stuck<'a>(&'a Progress);

impl Drop for Stuck<'_> {
    fn drop(&mut self) {
        self.0.stuck.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Progress {
    fn add(&self, bytes: usize) {
        self.moved.fetch_add(bytes as u64, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// Bytes so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether some data wait for a reader.
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed) != 0
    }

    fn stuck(&self) -> Stuck<'_> {
        self.stuck.fetch_add(1, Ordering::Relaxed);
        Stuck(self)
    }

    /// Returns when more bytes have moved, or a copy has ended.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// Tells those who drain when a copy is over, however it ended.
struct EndOf(Arc<Progress>);

impl Drop for EndOf {
    fn drop(&mut self) {
        // The task counts as finished a moment later; those who wait look again after a pause.
        self.0.changed.notify_waiters();
    }
}

/// Copies a process's output pipe until its end, then closes the stream at once: clients read until
/// its end before they delete the process.
pub(super) async fn to_sink(pipe: AsyncFd<OwnedFd>, sink: Sink, progress: Arc<Progress>) {
    let _end = EndOf(Arc::clone(&progress));
    match sink {
        Sink::Fifo { handle, name } => {
            let stuck = progress.stuck();
            let Some(fifo) = open_fifo(handle, &name).await else {
                return;
            };
            drop(stuck);
            if let Err(e) = pipe_to_fifo(&pipe, &fifo, &progress).await {
                log::warn!("stream {name:?}: {e}");
            }
        }
        Sink::File(file) => {
            if let Err(e) = reader_to_file(&pipe, &file, &progress).await {
                log::warn!("log file: {e}");
            }
        }
    }
}

/// Whether a pipe holds data, to tell an empty source from a full target.
fn holds_data(pipe: &AsyncFd<OwnedFd>) -> bool {
    hull_sys::fd::is_readable(pipe.get_ref())
}

async fn pipe_to_fifo(pipe: &AsyncFd<OwnedFd>, fifo: &Fifo, progress: &Progress) -> io::Result<()> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    loop {
        let mut readable = pipe.readable().await?;
        match splice(pipe.get_ref(), None, fifo.0.get_ref(), None, CHUNK, flags) {
            Ok(0) => return Ok(()),
            Ok(moved) => progress.add(moved),
            Err(Errno::EAGAIN) if holds_data(pipe) => {
                let _stuck = progress.stuck();
                let mut writable = fifo.0.writable().await?;
                if let Err(Errno::EAGAIN) =
                    splice(pipe.get_ref(), None, fifo.0.get_ref(), None, CHUNK, flags)
                        .inspect(|&moved| progress.add(moved))
                {
                    writable.clear_ready();
                }
            }
            Err(Errno::EAGAIN) => readable.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Reads until the end; a terminal whose last user is gone says EIO.
async fn read_some(source: &AsyncFd<OwnedFd>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut ready = source.readable().await?;
        match nix::unistd::read(source.get_ref(), buffer) {
            Ok(n) => return Ok(n),
            Err(Errno::EIO) => return Ok(0),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

async fn write_all(target: &AsyncFd<OwnedFd>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = target.writable().await?;
        match nix::unistd::write(target.get_ref(), bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

async fn reader_to_file(
    source: &AsyncFd<OwnedFd>,
    file: &OwnedFd,
    progress: &Progress,
) -> io::Result<()> {
    let mut buffer = vec![0u8; BUFFER];
    loop {
        let n = read_some(source, &mut buffer).await?;
        let mut bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        while !bytes.is_empty() {
            // A regular file never says "later".
            let written = nix::unistd::write(file.as_fd(), bytes)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        progress.add(n);
    }
}

/// Copies a terminal's output until its last user is gone.
pub(super) async fn pty_to_sink(
    master: Arc<AsyncFd<OwnedFd>>,
    sink: Sink,
    progress: Arc<Progress>,
) {
    let _end = EndOf(Arc::clone(&progress));
    let done = match sink {
        Sink::Fifo { handle, name } => match open_fifo(handle, &name).await {
            None => return,
            Some(fifo) => {
                let mut buffer = vec![0u8; BUFFER];
                loop {
                    match read_some(&master, &mut buffer).await {
                        Ok(0) => break Ok(()),
                        Ok(n) => {
                            let bytes = buffer.get(..n).unwrap_or_default();
                            if let Err(e) = write_all(&fifo.0, bytes).await {
                                break Err(e);
                            }
                            progress.add(n);
                        }
                        Err(e) => break Err(e),
                    }
                }
            }
        },
        Sink::File(file) => reader_to_file(&master, &file, &progress).await,
    };
    if let Err(e) = done {
        log::warn!("terminal output: {e}");
    }
}

/// Copies a client's input to a pipe or a terminal until all writers have closed it, or the process
/// takes no more.
pub(super) async fn to_stdin(fifo: AsyncFd<OwnedFd>, target: Arc<AsyncFd<OwnedFd>>) {
    let mut buffer = vec![0u8; BUFFER];
    loop {
        match read_some(&fifo, &mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(n) => {
                if write_all(&target, buffer.get(..n).unwrap_or_default())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        }
    }
}
