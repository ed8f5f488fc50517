//! Loggers: programs on the host that take the output of one process (`binary://`, `binary-v2://`).
//!
//! A logger reads two pipes and says on a third when it is ready. We copy into the pipes and hold their
//! read ends as well: a logger that dies means back-pressure, not EPIPE. It goes when it has read
//! everything; who does not is asked to by SIGTERM, in the end by SIGKILL.

use super::name::LoggerName;
use super::sink::Sink;
use super::stream::{Stream, Watched, read_watched};
use crate::error::Error;
use crate::turn;
use hull_abi::{Blame, FdRole, FromInit, HostJob, LoggerProgram, SetupError, Spawn, Step};
use hull_launcher::client::{ChildProcess, Launched, Launcher, SpawnArgs, watch};
use hull_sys::Errno;
use hull_sys::fd::unread;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc::{SIGKILL, SIGTERM};
use nix::unistd::pipe2;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch as state;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a logger may take to say that it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(20);
/// How long one that has read everything may take for its last lines before it is asked to end.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long one may take to end when it is asked to, as in containerd.
const TERMINATION_DEADLINE: Duration = Duration::from_secs(12);
/// The same for one whose process never came to be.
const ABANDON_DEADLINE: Duration = Duration::from_secs(2);
/// How long a killed one may take to end.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at what it has not read yet: no event tells that a pipe is empty.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// `PF_EXITING` in the flags of /proc/pid/stat
/// ([proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), field 9).
const EXITING: u64 = 0x4;

/// Whose output a logger takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// The container's id, or the exec process's, as containerd's own shim has it.
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) bundle: &'a Path,
}

/// The pipes of a logger that is not started yet.
#[derive(Debug)]
pub(super) struct Pipes {
    ours: [Watched; 2],
    theirs: [OwnedFd; 2],
}

/// A logger that runs, or ran.
#[derive(Debug)]
pub(crate) struct Logger {
    /// For the log.
    what: String,
    process: Arc<ChildProcess>,
    /// Its exit status, once it has one.
    status: state::Receiver<Option<u32>>,
    ending: Arc<AtomicBool>,
    /// The read ends, so that nobody gets EPIPE.
    pipes: [OwnedFd; 2],
}

// === impl Pipes ===

impl Pipes {
    pub(super) fn new() -> Result<Self, Error> {
        let host = |e: Errno| Error::host("make a pipe for the logger", e);
        let pipe = || {
            let (theirs, ours) = pipe2(OFlag::O_CLOEXEC)?;
            fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            Ok((Arc::new(watch(ours, Interest::WRITABLE)?), theirs))
        };
        let (out, out_theirs) = pipe().map_err(host)?;
        let (err, err_theirs) = pipe().map_err(host)?;
        Ok(Self {
            ours: [out, err],
            theirs: [out_theirs, err_theirs],
        })
    }

    /// Where stdout and stderr go.
    pub(super) fn sinks(&self) -> [Sink; 2] {
        let [out, err] = &self.ours;
        [out, err].map(|pipe| Sink::Logger(Stream::Watched(Arc::clone(pipe))))
    }
}

// === impl Logger ===

impl Logger {
    /// Starts the program and waits until it is ready.
    ///
    /// # Errors
    /// It cannot be executed, ended before it was ready, or took too long. There is none then.
    pub(super) async fn start(
        launcher: &Launcher,
        name: &LoggerName,
        origin: Origin<'_>,
        pipes: Pipes,
    ) -> Result<Self, Error> {
        let host = |e: Errno| Error::host(format!("start logging binary {:?}", name.path), e);
        let (ready, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(host)?;
        fcntl(&ready, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(host)?;
        let ready = Arc::new(watch(ready, Interest::READABLE).map_err(host)?);
        let [out, err] = &pipes.theirs;
        let duplicate = |fd: &OwnedFd| fd.try_clone().map_err(|e| host(hull_sys::fd::errno(&e)));
        let fds = vec![
            (FdRole::Stdio(3), duplicate(out)?),
            (FdRole::Stdio(4), duplicate(err)?),
            (FdRole::Stdio(5), theirs),
        ];
        let job = HostJob::Logger(LoggerProgram {
            path: name.path.clone(),
            args: name.args.clone(),
            env: vec![
                format!("CONTAINER_ID={}", origin.id),
                format!("CONTAINER_NAMESPACE={}", origin.namespace),
            ],
            cwd: origin.bundle.to_string_lossy().into_owned(),
        });
        let args = SpawnArgs {
            spawn: Spawn::Job,
            body: hull_abi::encode(&job).map_err(|e| Error::Invalid(e.to_string()))?,
            fds,
        };
        let Launched { process, sync } = launcher.spawn(args).await?;
        let become_ready = async {
            match sync.receive().await {
                Ok((FromInit::Execing, _)) => {}
                Ok((FromInit::Failed(error), _)) => return Err(error.into()),
                _ => return Err(name.failed("it was killed before it ran")),
            }
            // The end means that execve has worked.
            if let Ok((FromInit::Failed(error), _)) = sync.receive().await {
                return Err(error.into());
            }
            name.said_ready(&ready, process.pid()).await
        };
        let became = timeout(READY_DEADLINE, become_ready).await;
        let late = || Err(name.failed("it was not ready within 20 s"));
        let became = became.unwrap_or_else(|_| late());
        let what = format!("logger {:?} of {}", name.path, origin.id);
        let logger = Self::watch(what, process, pipes);
        match became {
            Ok(()) => Ok(logger),
            Err(error) => {
                logger.abandon().await;
                Err(error)
            }
        }
    }

    fn watch(what: String, process: ChildProcess, pipes: Pipes) -> Self {
        let process = Arc::new(process);
        let (tell, status) = state::channel(None);
        let ending = Arc::new(AtomicBool::new(false));
        let written = pipes.ours.each_ref().map(Arc::downgrade);
        let end = end_of(
            what.clone(),
            Arc::clone(&process),
            Arc::clone(&ending),
            written,
        );
        turn::spawn("logger", async move {
            // Who waits for it has a receiver; nobody may be left who does.
            tell.send(Some(end.await)).ok();
        });
        Self {
            what,
            process,
            status,
            ending,
            pipes: pipes.theirs,
        }
    }

    /// Whether it has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.status.borrow().is_some()
    }

    /// Waits until it has read everything that was written to it so far, or is dead.
    pub(super) async fn takes_all(&self) {
        let some = |pipe| unread(pipe).is_ok_and(|bytes| bytes > 0);
        while !self.is_dead() && self.pipes.iter().any(some) {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// To be called when nothing more is written to it: waits for its end until it has read everything
    /// (or the time for that is over) and written its last lines; then it has to go.
    pub(super) async fn end(&self, read_until: Instant) {
        self.ending.store(true, Ordering::Relaxed);
        let by_itself = async {
            let in_time = timeout_at(read_until, self.takes_all()).await.is_ok();
            sleep(LAST_LINES).await;
            if !in_time {
                log::warn!("{} does not read what is left of the output", self.what);
            }
        };
        tokio::select! {
            () = self.dead() => {}
            () = by_itself => self.terminate(TERMINATION_DEADLINE).await,
        }
    }

    /// Ends one that has nothing to write.
    pub(crate) async fn abandon(&self) {
        self.ending.store(true, Ordering::Relaxed);
        self.terminate(ABANDON_DEADLINE).await;
    }

    async fn terminate(&self, deadline: Duration) {
        // ESRCH: it has ended by itself.
        self.process.signal(SIGTERM).ok();
        if timeout(deadline, self.dead()).await.is_ok() {
            return;
        }
        log::warn!("{}: killed, {deadline:?} after SIGTERM", self.what);
        self.process.signal(SIGKILL).ok();
        if timeout(KILL_DEADLINE, self.dead()).await.is_err() {
            log::warn!("{} does not end", self.what);
        }
    }

    async fn dead(&self) {
        // An error means that its watcher is gone, and with it the event loop.
        drop(self.status.clone().wait_for(Option::is_some).await);
    }
}

/// Reaps a logger and says so if output of its process is left without anybody who takes it.
async fn end_of(
    what: String,
    process: Arc<ChildProcess>,
    ending: Arc<AtomicBool>,
    written: [Weak<AsyncFd<OwnedFd>>; 2],
) -> u32 {
    let status = match process.ended().await {
        Ok(ended) => ended.status,
        Err(errno) => {
            log::error!("{what}: its exit is lost: {errno}");
            255
        }
    };
    let in_use = written.iter().any(|pipe| pipe.strong_count() > 0);
    if in_use && !ending.load(Ordering::Relaxed) {
        log::warn!(
            "{what} has ended with status {status}: nobody takes the output any more, and the process \
             blocks when its pipes are full"
        );
    }
    status
}

// === impl LoggerName ===

impl LoggerName {
    fn failed(&self, why: &str) -> Error {
        Error::Setup(SetupError {
            step: Step::Logger,
            blame: Blame::Caller,
            action: format!("{:?}", self.path),
            cause: why.to_owned(),
            errno: 0,
        })
    }

    /// Waits for a byte, or for the end where that is enough.
    async fn said_ready(&self, ready: &Watched, pid: i32) -> Result<(), Error> {
        let mut byte = [0];
        let read = read_watched(ready, &mut byte).await;
        match read.map_err(|e| Error::host("read from the logging binary", e))? {
            0 if self.must_say_ready => Err(self.failed(
                "logging binary did not call ready (it may have crashed or exited prematurely)",
            )),
            0 if is_exiting(pid) => Err(self.failed("it ended before it was ready")),
            _ => Ok(()),
        }
    }
}

/// Whether a child of ours is on its way out or a zombie. The kernel sets the flag before it closes the
/// descriptors, so whoever saw the end of a pipe because of that sees the flag too.
fn is_exiting(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name may hold blanks and parentheses; after it come the fields from the third on.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let flags = fields
        .split(' ')
        .nth(6)
        .and_then(|flags| flags.parse().ok());
    flags.is_none_or(|flags: u64| flags & EXITING != 0)
}
