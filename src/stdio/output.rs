//! One output stream of a process from its first byte to its end.

use super::copy::{self, Source};
use super::progress::Progress;
use super::sink::Sink;
use crate::turn;
use hull_sys::fd::is_readable;
use nix::fcntl::{FcntlArg, fcntl};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::{Instant, timeout_at};

/// A pipe whose size the kernel does not tell: the largest that an unprivileged process can have.
const LARGEST_PIPE: u64 = 1024 * 1024;

/// An output stream that is being copied; dropping it ends that and closes the stream.
#[derive(Debug)]
pub(super) struct Output {
    task: JoinHandle<()>,
    progress: Arc<Progress>,
    /// The copy alone keeps it open.
    source: Weak<AsyncFd<OwnedFd>>,
    terminal: bool,
}

impl Drop for Output {
    fn drop(&mut self) {
        self.task.abort();
    }
}

// === impl Output ===

impl Output {
    /// Begins to copy.
    pub(super) fn start(stream: &'static str, source: Source, sink: Sink) -> Self {
        let progress = Arc::new(Progress::new());
        let terminal = matches!(source, Source::Terminal(_));
        let end = Arc::downgrade(source.fd());
        let seen = Arc::clone(&progress);
        let task = turn::spawn("output", async move {
            copy::output(stream, source, sink, &seen).await;
            seen.over();
        });
        Self {
            task,
            progress,
            source: end,
            terminal,
        }
    }

    /// To be called once the process has been reaped: what is written from now on is not its own.
    pub(super) fn process_ended(&self) {
        let unread = match self.source.upgrade() {
            Some(source) if self.terminal || is_readable(source.get_ref()) => {
                capacity(source.get_ref())
            }
            _ => 0,
        };
        self.progress.end(unread);
    }

    fn owes(&self) -> bool {
        let source = self.source.upgrade();
        let readable = source.is_some_and(|source| is_readable(source.get_ref()));
        self.progress.owes(readable)
    }

    /// Waits until the process's client has taken what it got or had the time to, if there is anything.
    pub(super) async fn met(&self) {
        loop {
            let changed = self.progress.changed();
            let silent = self.progress.is_silent() && !self.owes();
            if silent || self.progress.is_met() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until everything that the process wrote is in the sink; given a `patience`, only as
    /// long as something moves within it.
    pub(super) async fn drained(&self, patience: Option<Duration>) {
        let start = Instant::now();
        loop {
            let changed = self.progress.changed();
            if !self.owes() {
                return;
            }
            let Some(patience) = patience else {
                changed.await;
                continue;
            };
            let quiet_at = || self.progress.last_move().max(start) + patience;
            if timeout_at(quiet_at(), changed).await.is_err() {
                // It may be us who did not run: the copy gets its turn first.
                yield_now().await;
                if quiet_at() <= Instant::now() {
                    return;
                }
            }
        }
    }
}

/// How much can be in a pipe at most. A terminal answers with an error and limits itself.
fn capacity(pipe: &OwnedFd) -> u64 {
    fcntl(pipe, FcntlArg::F_GETPIPE_SZ)
        .ok()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(LARGEST_PIPE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_launcher::client::watch;
    use nix::fcntl::{OFlag, open};
    use nix::sys::stat::Mode;
    use nix::unistd::{mkfifo, pipe2, read, write};
    use std::path::{Path, PathBuf};
    use tokio::io::Interest;
    use tokio::time::sleep;

    /// Shorter than any deadline, longer than anything takes that need not wait.
    const MOMENT: Duration = Duration::from_millis(100);

    fn fifo(dir: &Path) -> PathBuf {
        let path = dir.join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        path
    }

    fn reader(fifo: &Path) -> OwnedFd {
        open(fifo, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()).unwrap()
    }

    /// The output of a process that wrote this and has ended.
    fn of_ended(text: &str, fifo: &Path) -> Arc<Output> {
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        write(&theirs, text.as_bytes()).unwrap();
        drop(theirs);
        let source = Source::Pipe(Arc::new(watch(ours, Interest::READABLE).unwrap()));
        let sink = Sink::prepare("stdout", fifo, false).unwrap();
        let output = Output::start("stdout", source, sink);
        output.process_ended();
        Arc::new(output)
    }

    fn meeting(output: &Arc<Output>) -> JoinHandle<()> {
        let output = Arc::clone(output);
        turn::spawn("output", async move { output.met().await })
    }

    fn take(reader: &OwnedFd) -> Vec<u8> {
        let mut bytes = [0; 16];
        let len = read(reader, &mut bytes).unwrap();
        bytes[..len].to_vec()
    }

    #[tokio::test]
    async fn an_end_waits_for_a_client_that_comes_late_and_reads_later() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = fifo(dir.path());
        let output = of_ended("early", &fifo);
        let met = meeting(&output);
        sleep(MOMENT).await;
        let reader = reader(&fifo);
        sleep(MOMENT).await;
        assert!(!met.is_finished(), "nothing was read yet");
        assert_eq!(take(&reader), b"early");
        met.await.unwrap();
    }

    #[tokio::test]
    async fn an_end_waits_for_a_client_that_is_there_and_does_not_read_yet() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = fifo(dir.path());
        let reader = reader(&fifo);
        let output = of_ended("early", &fifo);
        let met = meeting(&output);
        sleep(MOMENT).await;
        assert!(!met.is_finished(), "nothing was read yet");
        assert_eq!(take(&reader), b"early");
        met.await.unwrap();
    }

    #[tokio::test]
    async fn an_end_waits_for_a_client_while_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = fifo(dir.path());
        let reader = reader(&fifo);
        let output = of_ended("early", &fifo);
        let met = meeting(&output);
        sleep(MOMENT).await;
        assert!(!met.is_finished(), "nothing was read yet");
        assert_eq!(read(&reader, &mut [0]), Ok(1));
        sleep(MOMENT / 2).await;
        assert!(!met.is_finished(), "4 bytes are left, and it reads");
        sleep(MOMENT).await;
        assert!(met.is_finished(), "it reads no more");
    }

    #[tokio::test]
    async fn an_end_waits_for_nobody_if_there_is_nothing_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = fifo(dir.path());
        let output = of_ended("", &fifo);
        let met = meeting(&output);
        sleep(MOMENT).await;
        assert!(met.is_finished());
    }

    #[tokio::test]
    async fn a_client_that_had_its_time_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = fifo(dir.path());
        let _reader = reader(&fifo);
        let output = of_ended("never read", &fifo);
        sleep(Duration::from_millis(600)).await;
        let met = meeting(&output);
        sleep(MOMENT).await;
        assert!(met.is_finished());
    }
}
