//! Copying between a process and a stream: one task each, which only waits on descriptors and lets
//! the others have their turn after every chunk (readiness of a descriptor does not count against
//! tokio's budget).

use super::progress::Progress;
use super::sink::{Sink, Target};
use super::stream::{Stream, Watched, read_now, read_watched};
use hull_sys::Errno;
use hull_sys::fd::{is_readable, unread};
use nix::fcntl::{SpliceFFlags, splice};
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::time::Duration;
use tokio::io::Interest;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

/// Most bytes that one splice moves: what a pipe holds.
const CHUNK: usize = 64 * 1024;
/// Buffer for what cannot be spliced.
const BUFFER: usize = 16 * 1024;
/// More than a terminal holds ([pty(7)](https://man7.org/linux/man-pages/man7/pty.7.html): 64 KiB
/// and a page). What comes beyond that after the end of the process was not its own.
const TERMINAL_HOLDS: usize = 128 * 1024;

/// How long after its FIFO was opened a client may take to begin to read before it is told of the end all the
/// same: one that has only just been let into open(2) and hears of the end gives up before it reads (`ctr`
/// on a busy machine).
const TAKE_DEADLINE: Duration = Duration::from_millis(500);
/// Between two attempts to write to a full disk.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// How long a client that reads may pause before it is told of the end all the same.
const PATIENCE: Duration = Duration::from_millis(100);
/// Between two looks: no event tells that a FIFO is empty.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// The process's side of one output stream.
#[derive(Debug)]
pub(super) enum Source {
    /// Read end of its pipe.
    Pipe(Watched),
    /// Master of its terminal.
    Terminal(Watched),
}

/// Opens the sink, copies all output of a process, and closes both at once at its end: clients read
/// until the end of the stream before they delete the process.
///
/// Where the sink cannot be opened or written to, that is logged, and the process's end is kept until the
/// process (on a terminal) or we are dropped: it blocks when that is full, and is not killed by SIGPIPE.
pub(super) async fn output(stream: &str, source: Source, sink: Sink, progress: &Progress) {
    let mut opening = pin!(sink.open(stream, progress));
    let opened = tokio::select! {
        biased;
        target = &mut opening => target,
        () = source.has_no_more(progress) => {
            drop(source);
            // Nothing was written, but a reader that comes late must still find the end.
            if let Err(e) = opening.await {
                log::warn!("{stream}: {e}");
            }
            return;
        }
    };
    let copied = match opened {
        Ok(target) => copy(stream, &source, target, progress).await,
        Err(e) => Err(e),
    };
    let Err(e) = copied else { return };
    log::warn!("{stream}: {e}: the rest of the output is kept back");
    progress.expect(false);
    match source {
        Source::Terminal(_) => progress.ended().await,
        Source::Pipe(_) => pending().await,
    }
}

/// Copies until the end of the source.
async fn copy(
    stream: &str,
    source: &Source,
    target: Target,
    progress: &Progress,
) -> io::Result<()> {
    let Target {
        stream: Stream::Watched(fifo),
        fifo: true,
    } = &target
    else {
        progress.met();
        return copy_all(stream, source, &target.stream, progress).await;
    };
    let had_time = Instant::now() + TAKE_DEADLINE;
    let copying = async {
        match source {
            Source::Pipe(pipe) => splice_all(pipe, fifo, progress).await,
            Source::Terminal(_) => copy_all(stream, source, &target.stream, progress).await,
        }
    };
    let meeting = async {
        progress.ended().await;
        taken(Some(source), fifo, progress, had_time).await;
        // What is left then is a matter between the client and its FIFO.
        progress.met();
        pending().await
    };
    let copied = tokio::select! {
        copied = copying => copied,
        never = meeting => never,
    };
    taken(None, fifo, progress, had_time).await;
    copied
}

/// Waits until the client has read what the process wrote: what is still at the process's end and what is in
/// the FIFO. Until `had_time` for a client that has not begun to read, then only while it does: there are
/// some that give up what they have not read when they hear of the end (the CRI plugin of containerd 1.6).
async fn taken(source: Option<&Source>, fifo: &Watched, progress: &Progress, had_time: Instant) {
    let owed = || source.is_some_and(|source| progress.owes(is_readable(source.fd().get_ref())));
    let (mut seen, mut moved) = (0, Instant::now());
    let mut pause = SHORTEST_PAUSE;
    loop {
        let left = unread(fifo.get_ref()).unwrap_or(0);
        let taken = progress.taken(left);
        if (left == 0 && !owed()) || progress.is_enough(taken) {
            return;
        }
        let now = Instant::now();
        if taken != seen {
            (seen, moved) = (taken, now);
        }
        let until = if taken == 0 {
            had_time
        } else {
            moved + PATIENCE
        };
        if now >= until {
            return;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn splice_all(pipe: &Watched, fifo: &Watched, progress: &Progress) -> io::Result<()> {
    loop {
        let mut readable = pipe.readable().await?;
        let spliced = fifo.async_io(Interest::WRITABLE, |fifo| splice_some(pipe.get_ref(), fifo));
        match spliced.await {
            Ok(Some(0)) => return Ok(()),
            Ok(Some(moved)) => {
                progress.passed_on(moved);
                yield_now().await;
            }
            Ok(None) if readable.ready().is_read_closed() => return Ok(()),
            Ok(None) => readable.clear_ready(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Moves some bytes; `None` means an empty pipe, `WouldBlock` a full FIFO. The kernel has one answer
/// for both, and who waits for the wrong one waits for ever.
fn splice_some(pipe: &OwnedFd, fifo: &OwnedFd) -> io::Result<Option<usize>> {
    let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
    let once = || splice(pipe, None, fifo, None, CHUNK, flags);
    match once() {
        Err(Errno::EAGAIN) if !is_readable(pipe) => Ok(None),
        // The pipe may have been filled only after the first look. We alone empty it: should there
        // be an EAGAIN now, it is the FIFO's.
        Err(Errno::EAGAIN) => Ok(Some(once()?)),
        other => Ok(Some(other?)),
    }
}

async fn copy_all(
    stream: &str,
    source: &Source,
    target: &Stream,
    progress: &Progress,
) -> io::Result<()> {
    let mut full = false;
    let mut buffer = vec![0u8; BUFFER];
    let mut after_end = 0;
    while after_end < TERMINAL_HOLDS {
        let n = source.read(&mut buffer, progress).await?;
        let mut bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        if matches!(source, Source::Terminal(_)) && progress.has_ended() {
            after_end += n;
        }
        progress.took(n);
        while !bytes.is_empty() {
            let written = match target.write(bytes).await {
                Err(e) if is_full(&e) => {
                    if !full {
                        full = true;
                        log::warn!("{stream}: {e}: the output waits for space");
                    }
                    sleep(FULL_PAUSE).await;
                    continue;
                }
                other => other?,
            };
            full = false;
            progress.passed_on(written);
            bytes = bytes.get(written..).unwrap_or_default();
        }
        yield_now().await;
    }
    Ok(())
}

/// A full disk may have room again: what is written meanwhile waits.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Copies a client's input to a pipe or a terminal until all writers have closed it, or the process
/// takes no more.
pub(super) async fn input(source: Stream, target: Stream) -> io::Result<()> {
    let mut buffer = vec![0u8; BUFFER];
    loop {
        let n = source.read(&mut buffer).await?;
        let mut bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        while !bytes.is_empty() {
            let written = target.write(bytes).await?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        yield_now().await;
    }
}

// === impl Source ===

impl Source {
    /// The descriptor.
    pub(super) fn fd(&self) -> &Watched {
        match self {
            Self::Pipe(fd) | Self::Terminal(fd) => fd,
        }
    }

    /// Some bytes, 0 at the end. A pipe ends with its last writer. A terminal ends with its process,
    /// once it is empty: others may keep it open, but the master must not outlive the process.
    async fn read(&self, buffer: &mut [u8], progress: &Progress) -> io::Result<usize> {
        match self {
            Self::Pipe(pipe) => read_watched(pipe, buffer).await,
            Self::Terminal(master) => {
                tokio::select! {
                    biased;
                    () = progress.ended() => {}
                    read = read_watched(master, buffer) => return read,
                }
                match read_now(master, buffer) {
                    Err(Errno::EAGAIN) => Ok(0),
                    other => Ok(other?),
                }
            }
        }
    }

    /// Returns when the end has come and there is nothing to read; never when there is something.
    async fn has_no_more(&self, progress: &Progress) {
        match self {
            Self::Pipe(pipe) => {
                while let Ok(mut ready) = pipe.readable().await {
                    if is_readable(pipe.get_ref()) {
                        break;
                    }
                    if ready.ready().is_read_closed() {
                        return;
                    }
                    ready.clear_ready();
                }
            }
            Self::Terminal(master) => {
                progress.ended().await;
                if !is_readable(master.get_ref()) {
                    return;
                }
            }
        }
        pending::<()>().await;
    }
}
