//! The standard streams of a process: what containerd named, and the copying in between.
//!
//! A process never gets containerd's FIFO itself: when containerd stopped it would see EPIPE. It gets
//! a pipe (or a terminal); we copy, and hold both ends of each FIFO, so that a reader that went away
//! means back-pressure until it returns.

mod copy;
mod logger;
mod name;
mod open;
mod output;
mod progress;
mod sink;
mod stream;

pub(crate) use logger::{Logger, Origin};
pub(crate) use open::{Opened, Prepared, open};

use crate::error::Error;
use crate::turn;
use copy::Source;
use hull_sys::pty;
use open::nonblocking;
use output::Output;
use sink::{Input, Sink};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stream::{Stream, Watched};
use tokio::io::Interest;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How long an exit waits for clients that have not opened the FIFOs of what the process wrote: one that
/// learns of the exit before gives up on them. (The runc shim waits for them before it creates anything.)
const MEETING: Duration = Duration::from_secs(2);

/// While bytes keep moving after the end of a process, its exit waits for them: a client closes its
/// readers as soon as it knows of the exit.
const QUIET: Duration = Duration::from_millis(20);
/// But not longer than this.
const LONGEST_SETTLE: Duration = Duration::from_millis(200);

/// The streams of a process that runs.
#[derive(Debug)]
pub(crate) struct Stdio {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Copying of output; ends by itself at the end of the process's side.
    outputs: Vec<Arc<Output>>,
    input: Option<Copying>,
    /// Our own writer of the stdin FIFO: while it is open the process sees no end of input.
    stdin_writer: Option<OwnedFd>,
    terminal: Option<Terminal>,
    /// Takes the output.
    logger: Option<Arc<Logger>>,
}

#[derive(Debug)]
struct Terminal {
    master: Watched,
    /// A terminal that nobody has open is at its end for its master, and stays so for the event
    /// loop, though the process may open it again as /dev/tty. While we have it open as well, the
    /// end can only come once we know of the process's.
    _slave: Option<OwnedFd>,
}

/// The copying of input; dropping it ends that.
#[derive(Debug)]
struct Copying(JoinHandle<()>);

impl Drop for Copying {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === impl Stdio ===

impl Stdio {
    /// Begins to copy between pipes (or a terminal's master) and what containerd named.
    ///
    /// # Errors
    /// When the terminal cannot be watched.
    pub(crate) fn start(prepared: Prepared, master: Option<OwnedFd>) -> Result<Self, Error> {
        let mut inner = Inner::default();
        for (stream, pipe, sink) in prepared.outputs {
            inner.add_output(stream, Source::Pipe(pipe), sink);
        }
        if let Some((input, pipe)) = prepared.input {
            inner.set_input(input, pipe);
        }
        if let (Some((sink, input)), Some(master)) = (prepared.terminal, master) {
            let slave = pty::open_peer(&master)
                .inspect_err(|e| log::warn!("open the terminal of a process: {e}"))
                .ok();
            let master = nonblocking(master, Interest::READABLE | Interest::WRITABLE)
                .map_err(|e| Error::host("watch the terminal", e))?;
            inner.add_output("stdout", Source::Terminal(Arc::clone(&master)), sink);
            if let Some(input) = input {
                inner.set_input(input, Stream::Watched(Arc::clone(&master)));
            }
            inner.terminal = Some(Terminal {
                master,
                _slave: slave,
            });
        }
        Ok(Self {
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Only plain assignments happen under the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the logger until the end.
    pub(crate) fn keep(&self, logger: Logger) {
        self.lock().logger = Some(Arc::new(logger));
    }

    /// Changes the terminal's size; without a terminal nothing happens.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), Error> {
        let inner = self.lock();
        let Some(terminal) = &inner.terminal else {
            return Ok(());
        };
        pty::resize(terminal.master.get_ref(), columns, rows).map_err(|e| Error::host("resize", e))
    }

    /// Lets the process see the end of its input once all clients have closed theirs.
    pub(crate) fn close_stdin(&self) {
        self.lock().stdin_writer = None;
    }

    /// After the process has been reaped: waits while what it wrote still moves, a short while in
    /// all. What others write to the same streams is copied on, but not waited for.
    pub(crate) async fn settle(&self) {
        let (outputs, logger) = {
            let mut inner = self.lock();
            inner.end_input();
            (inner.outputs.clone(), inner.logger.clone())
        };
        let met = async {
            for output in &outputs {
                output.met().await;
            }
        };
        if timeout(MEETING, met).await.is_err() {
            log::debug!("nobody reads the output after {MEETING:?}");
        }
        // The rest is for `finish`.
        drained(&outputs, Some(QUIET), LONGEST_SETTLE).await;
        if let Some(logger) = logger {
            // nerdctl's stops reading as soon as containerd tells it of the exit.
            drop(timeout(LONGEST_SETTLE, logger.takes_all()).await);
        }
    }

    /// Before the process is forgotten: waits for output that is on its way to a slow or late reader,
    /// at most until the deadline, then closes everything, whoever still holds the other ends. A logger
    /// has the rest of that time to read; then it gets some more for its end.
    pub(crate) async fn finish(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let (outputs, logger) = {
            let mut inner = self.lock();
            inner.end_input();
            (std::mem::take(&mut inner.outputs), inner.logger.take())
        };
        if !logger.as_ref().is_some_and(|logger| logger.is_dead()) {
            drained(&outputs, None, deadline).await;
        }
        drop(outputs);
        if let Some(logger) = logger {
            logger.end(end).await;
        }
    }
}

/// Waits for all outputs within one deadline. While we wait for one the others move as well.
async fn drained(outputs: &[Arc<Output>], patience: Option<Duration>, deadline: Duration) {
    let all = async {
        for output in outputs {
            output.drained(patience).await;
        }
    };
    if timeout(deadline, all).await.is_err() {
        log::debug!("output still moves after {deadline:?}");
    }
}

// === impl Inner ===

impl Inner {
    fn add_output(&mut self, stream: &'static str, source: Source, sink: Sink) {
        let output = Output::start(stream, source, sink);
        self.outputs.push(Arc::new(output));
    }

    fn set_input(&mut self, input: Input, process: Stream) {
        self.stdin_writer = input.writer;
        let task = turn::spawn("standard input", async move {
            // The process may close its input when it likes, the client its terminal.
            if let Err(e) = copy::input(input.stream, process).await {
                log::debug!("stdin: {e}");
            }
        });
        self.input = Some(Copying(task));
    }

    /// The process has ended: input has nobody to go to, and the terminal's master goes with the
    /// last output.
    fn end_input(&mut self) {
        for output in &self.outputs {
            output.process_ended();
        }
        self.input = None;
        self.stdin_writer = None;
        self.terminal = None;
    }
}
