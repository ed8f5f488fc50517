//! The standard streams of a process: what containerd named, and the copying in between.
//!
//! A process never gets containerd's FIFO itself: when containerd stopped it would see EPIPE. It gets
//! a pipe (or a terminal); we copy, and hold both ends of each FIFO, so that a reader that went away
//! means back-pressure until it returns.

mod copy;
mod sink;

use crate::error::Error;
use crate::events::Io;
use copy::{Progress, pty_to_sink, to_sink, to_stdin};
use hull_abi::FdRole;
use hull_launcher::client::watch;
use hull_sys::{Errno, pty};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::{Gid, Uid, fchown, pipe2};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// While bytes keep moving after the end of a process, its exit waits for them: a client closes its
/// readers as soon as it knows of the exit.
const QUIET: Duration = Duration::from_millis(20);
/// But not longer than this.
const LONGEST_DRAIN: Duration = Duration::from_secs(2);

/// The streams of a process that runs.
#[derive(Debug)]
pub(crate) struct Stdio {
    inner: Mutex<Inner>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Copying of output; ends by itself at the end of the process's side.
    outputs: Vec<JoinHandle<()>>,
    input: Option<JoinHandle<()>>,
    /// Our own writer of the stdin FIFO: while it is open the process sees no end of input.
    stdin_writer: Option<OwnedFd>,
    master: Option<Arc<AsyncFd<OwnedFd>>>,
}

/// Pipes that are made before the process.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

/// Makes the pipes and the list of descriptors for the new process. With a terminal there are none.
///
/// # Errors
/// Wrong stream names, or no descriptors left.
pub(crate) fn pipes(io: &Io, owner: (u32, u32)) -> Result<(Pipes, Vec<(FdRole, OwnedFd)>), Error> {
    for name in [&io.stdin, &io.stdout, &io.stderr] {
        sink::check(name)?;
    }
    let mut pipes = Pipes::default();
    let mut fds = Vec::new();
    if io.terminal {
        return Ok((pipes, fds));
    }
    let made = || -> Result<(OwnedFd, OwnedFd), Errno> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        let (uid, gid) = owner;
        if owner != (0, 0) {
            for end in [&read, &write] {
                fchown(end, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
            }
        }
        Ok((read, write))
    };
    let pipe = || made().map_err(|e| Error::host("make a pipe", e));
    if !io.stdin.is_empty() {
        let (read, write) = pipe()?;
        fds.push((FdRole::Stdio(0), read));
        pipes.stdin = Some(write);
    }
    if !io.stdout.is_empty() {
        let (read, write) = pipe()?;
        fds.push((FdRole::Stdio(1), write));
        pipes.stdout = Some(read);
    }
    if !io.stderr.is_empty() {
        let (read, write) = pipe()?;
        fds.push((FdRole::Stdio(2), write));
        pipes.stderr = Some(read);
    }
    Ok((pipes, fds))
}

fn nonblocking(fd: OwnedFd) -> Result<AsyncFd<OwnedFd>, Errno> {
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    watch(fd, Interest::READABLE | Interest::WRITABLE)
}

// === impl Stdio ===

impl Stdio {
    /// Begins to copy between pipes (or a terminal's master) and what containerd named.
    ///
    /// # Errors
    /// When a stream cannot be opened at all; a FIFO without its other end is waited for.
    pub(crate) fn start(io: &Io, pipes: Pipes, master: Option<OwnedFd>) -> Result<Self, Error> {
        let progress = Arc::new(Progress::default());
        let mut inner = Inner::default();
        let host = |e: Errno| Error::host("copy standard streams", e);
        if let Some(master) = master {
            inner.start_terminal(io, nonblocking(master).map_err(host)?, &progress)?;
        }
        for (pipe, name) in [(pipes.stdout, &io.stdout), (pipes.stderr, &io.stderr)] {
            let Some(pipe) = pipe else { continue };
            let sink = sink::Sink::prepare(name)?;
            let pipe = nonblocking(pipe).map_err(host)?;
            inner
                .outputs
                .push(tokio::spawn(to_sink(pipe, sink, Arc::clone(&progress))));
        }
        if let Some(pipe) = pipes.stdin {
            let (reader, writer) = sink::open_stdin(&io.stdin)?;
            inner.stdin_writer = Some(writer);
            let pipe = nonblocking(pipe).map_err(host)?;
            let reader =
                watch(reader, Interest::READABLE).map_err(|e| Error::host("watch stdin", e))?;
            inner.input = Some(tokio::spawn(to_stdin(reader, Arc::new(pipe))));
        }
        Ok(Self {
            inner: Mutex::new(inner),
            progress,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Only plain assignments happen under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the terminal's size; without a terminal nothing happens.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        let Some(master) = self.lock().master.clone() else {
            return Ok(());
        };
        pty::resize(master.get_ref(), columns, rows).map_err(|e| Error::host("resize", e))
    }

    /// Lets the process see the end of its input once all clients have closed theirs.
    pub(crate) fn close_stdin(&self) {
        self.lock().stdin_writer = None;
    }

    fn outputs_finished(&self) -> bool {
        self.lock().outputs.iter().all(JoinHandle::is_finished)
    }

    /// After the end of the process: waits while output still moves, a short while in all.
    pub(crate) async fn settle(&self) {
        self.wait_outputs(LONGEST_DRAIN, false).await;
        // Input has nobody to go to, and a terminal's master must not outlive its process.
        let mut inner = self.lock();
        if let Some(task) = inner.input.take() {
            task.abort();
        }
        inner.stdin_writer = None;
        inner.master = None;
    }

    /// Before the process is forgotten: waits for output that is on its way to a slow or late reader,
    /// at most until the deadline, then closes everything, whoever still holds the other ends.
    pub(crate) async fn finish(&self, deadline: Duration) {
        self.wait_outputs(deadline, true).await;
        let mut inner = self.lock();
        for task in inner.outputs.drain(..) {
            task.abort();
        }
        if let Some(task) = inner.input.take() {
            task.abort();
        }
        inner.stdin_writer = None;
        inner.master = None;
    }

    async fn wait_outputs(&self, deadline: Duration, for_readers: bool) {
        let end = tokio::time::Instant::now() + deadline;
        let mut moved = self.progress.moved();
        while !self.outputs_finished() && tokio::time::Instant::now() < end {
            let changed = tokio::time::timeout(QUIET, self.progress.changed())
                .await
                .is_ok();
            let quiet = !changed && self.progress.moved() == moved;
            if quiet && !(for_readers && self.progress.is_stuck()) {
                return;
            }
            moved = self.progress.moved();
        }
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        let mut inner = self.lock();
        let input = inner.input.take();
        for task in inner.outputs.drain(..).chain(input) {
            task.abort();
        }
    }
}

impl Inner {
    fn start_terminal(
        &mut self,
        io: &Io,
        master: AsyncFd<OwnedFd>,
        progress: &Arc<Progress>,
    ) -> Result<(), Error> {
        let master = Arc::new(master);
        if io.stdout.is_empty() {
            // Nobody wants the output, but a full terminal would stop the process.
            let null = sink::Sink::null()?;
            self.outputs.push(tokio::spawn(pty_to_sink(
                Arc::clone(&master),
                null,
                Arc::clone(progress),
            )));
        } else {
            let sink = sink::Sink::prepare(&io.stdout)?;
            self.outputs.push(tokio::spawn(pty_to_sink(
                Arc::clone(&master),
                sink,
                Arc::clone(progress),
            )));
        }
        if !io.stdin.is_empty() {
            let (reader, writer) = sink::open_stdin(&io.stdin)?;
            self.stdin_writer = Some(writer);
            let reader =
                watch(reader, Interest::READABLE).map_err(|e| Error::host("watch stdin", e))?;
            self.input = Some(tokio::spawn(to_stdin(reader, Arc::clone(&master))));
        }
        self.master = Some(master);
        Ok(())
    }
}
