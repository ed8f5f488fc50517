//! One launcher process and the socket to it.

use super::orphans::KnownPids;
use super::{ChildProcess, Launched, SpawnArgs, SyncSocket, broken, watch};
use crate::failure::{At, because};
use hull_abi::{Blame, FdRole, Reply, Request, SetupError, Spawn, Step};
use hull_sys::{Errno, fd, pidfd, socket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A running launcher.
#[derive(Debug)]
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
    /// `None` when the launcher was gone at once.
    process: Option<OwnedFd>,
}

impl Connection {
    /// Starts a launcher from our own image, which `start` has sealed.
    fn open() -> Result<Self, Errno> {
        let (ours, theirs) = socket::pair()?;
        nix::fcntl::fcntl(
            &ours,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        // posix_spawn; the child is reaped by the daemon's sweep like any orphan.
        let child = Command::new("/proc/self/exe")
            .arg0("containerd-shim-hull-v1")
            .arg("launcher")
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| fd::errno(&e))?;
        // Nobody reaps while a request is under way, so the number is still this process's.
        let process = i32::try_from(child.id())
            .ok()
            .and_then(|pid| pidfd::open(pid).ok());
        let socket = watch(ours, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, process })
    }

    /// Ends a launcher that does not answer; one that is fine leaves when its socket is closed.
    pub(super) fn kill(&self) {
        if let Some(process) = &self.process {
            // ESRCH: it has ended by itself.
            pidfd::send_signal(process, nix::libc::SIGKILL).ok();
        }
    }

    async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.socket
            .async_io(Interest::WRITABLE, |s| Ok(socket::send(s, bytes, fds)?))
            .await
            .map_err(|e| fd::errno(&e))
    }

    async fn receive(&self) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
        let (bytes, fds) = self
            .socket
            .async_io(Interest::READABLE, |s| Ok(socket::receive(s)?))
            .await
            .map_err(|e| fd::errno(&e))?;
        if bytes.is_empty() {
            Err(Errno::EPIPE)
        } else {
            Ok((bytes, fds))
        }
    }
}

/// Whether the launcher is simply gone, so that a fresh one can take the request.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN)
}

/// Makes a process through the connection, which is opened first if there is none. A launcher that
/// died before it read the request is replaced; one that dies with it is not asked twice, since the
/// process may exist.
pub(super) async fn spawn(
    connection: &mut Option<Connection>,
    args: SpawnArgs,
    known: &KnownPids,
) -> Result<Launched, SetupError> {
    let failed = || "ask the launcher".to_owned();
    let (ours, theirs) = socket::pair().at(Step::Clone, failed)?;
    let sync = SyncSocket::new(ours).at(Step::Clone, failed)?;
    // Not sealed, which could wait for other processors: only a process of ours ever has it.
    let body = fd::memory_with(c"plan", &args.body).at(Step::Clone, failed)?;
    let is_job = matches!(args.spawn, Spawn::Job);
    let mut roles = vec![FdRole::Body, FdRole::Sync];
    roles.extend(args.fds.iter().map(|(role, _)| *role));
    let request = Request {
        spawn: args.spawn,
        fds: roles,
    };
    let bytes = hull_abi::encode(&request).map_err(|e| broken(&e.to_string()))?;
    let mut fds = vec![body.as_fd(), theirs.as_fd()];
    fds.extend(args.fds.iter().map(|(_, fd)| fd.as_fd()));

    let mut asked = ask(connection, &bytes, &fds).await;
    if asked.as_ref().is_err_and(|errno| is_unread(*errno)) {
        *connection = None;
        asked = ask(connection, &bytes, &fds).await;
    }
    drop(fds);
    drop(theirs);
    let (bytes, mut fds) = match asked {
        Ok(answer) => answer,
        Err(errno) => {
            *connection = None;
            if is_job {
                // It may be at work all the same, and whoever cleans up must come after it.
                while sync.receive().await.is_ok() {}
            }
            let cause = errno.desc().to_lowercase();
            let no_descriptors = matches!(errno, Errno::EMFILE | Errno::ENFILE);
            return Err(if no_descriptors {
                because(Step::Clone, Blame::Host, failed(), &cause)
            } else {
                broken(&format!("it died or cannot be started: {cause}"))
            });
        }
    };
    match hull_abi::decode(&bytes).map_err(|e| broken(&e.to_string()))? {
        Reply::Failed(error) => Err(error),
        Reply::Spawned { pid } => {
            let pidfd = fds.pop().ok_or_else(|| broken("the pidfd was lost"))?;
            let process = ChildProcess::new(pid, pidfd, known.add(pid)).at(Step::Clone, failed)?;
            Ok(Launched { process, sync })
        }
    }
}

/// One request and its answer, with a new launcher if there is none or it died while it was idle.
async fn ask(
    connection: &mut Option<Connection>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(Vec<u8>, Vec<OwnedFd>), Errno> {
    if let Some(open) = connection {
        match open.send(bytes, fds).await {
            Ok(()) => return open.receive().await,
            Err(errno) if is_gone(errno) => {}
            Err(errno) => return Err(errno),
        }
    }
    let fresh = connection.insert(Connection::open()?);
    fresh.send(bytes, fds).await?;
    fresh.receive().await
}

/// Whether the other end of a socket was closed with our datagram still in its queue, so that nobody
/// has acted on it ([unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)).
fn is_unread(errno: Errno) -> bool {
    errno == Errno::ECONNRESET
}
