//! One launcher process and the socket to it.

use super::orphans::KnownPids;
use super::{ChildProcess, Launched, SpawnArgs, SyncSocket, broken, watch};
use crate::failure::At;
use hull_abi::{FdRole, Reply, Request, SetupError, Step};
use hull_sys::{Errno, fd, socket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A running launcher.
#[derive(Debug)]
pub(super) struct Connection {
    socket: AsyncFd<OwnedFd>,
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
        Command::new("/proc/self/exe")
            .arg0("containerd-shim-hull-v1")
            .arg("launcher")
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| fd::errno(&e))?;
        let socket = watch(ours, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket })
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
/// died while it was idle is replaced; one that dies with the request is not asked twice, since the
/// process may exist.
pub(super) async fn spawn(
    connection: &mut Option<Connection>,
    args: SpawnArgs,
    known: &KnownPids,
) -> Result<Launched, SetupError> {
    let failed = || "ask the launcher".to_owned();
    let (ours, theirs) = socket::pair().at(Step::Clone, failed)?;
    let body = fd::sealed_memory(c"plan", &args.body).at(Step::Clone, failed)?;
    let mut roles = vec![FdRole::Body, FdRole::Sync];
    roles.extend(args.fds.iter().map(|(role, _)| *role));
    let request = Request {
        spawn: args.spawn,
        fds: roles,
    };
    let bytes = hull_abi::encode(&request).map_err(|e| broken(&e.to_string()))?;
    let mut fds = vec![body.as_fd(), theirs.as_fd()];
    fds.extend(args.fds.iter().map(|(_, fd)| fd.as_fd()));

    let sent = match connection {
        Some(open) => open.send(&bytes, &fds).await,
        None => Err(Errno::EPIPE),
    };
    match sent {
        Ok(()) => {}
        Err(errno) if is_gone(errno) => {
            let fresh = Connection::open().at(Step::Clone, || "start a launcher".to_owned())?;
            fresh.send(&bytes, &fds).await.at(Step::Clone, failed)?;
            *connection = Some(fresh);
        }
        Err(errno) => return Err(errno).at(Step::Clone, failed),
    }
    drop(fds);
    drop(theirs);
    let Some(open) = connection else {
        return Err(broken("it was not started"));
    };
    let answer = match open.receive().await {
        Ok(answer) => answer,
        Err(errno) => {
            *connection = None;
            return Err(broken(&format!("it died: {}", errno.desc().to_lowercase())));
        }
    };
    let (bytes, mut fds) = answer;
    match hull_abi::decode(&bytes).map_err(|e| broken(&e.to_string()))? {
        Reply::Failed(error) => Err(error),
        Reply::Spawned { pid } => {
            let pidfd = fds.pop().ok_or_else(|| broken("the pidfd was lost"))?;
            let process = ChildProcess::new(pid, pidfd, known.add(pid)).at(Step::Clone, failed)?;
            let sync = SyncSocket::new(ours).at(Step::Clone, failed)?;
            Ok(Launched { process, sync })
        }
    }
}
