//! The agent that a seccomp filter asks: it gets the filter's listener before the filtered process
//! goes on.

use super::gate::killed;
use crate::error::Error;
use hull_abi::{Blame, Process, SeccompListener, SetupError, Step, ToInit};
use hull_launcher::client::{ChildProcess, SyncSocket};
use hull_sys::{Errno, fd, pidfd, socket};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

/// How long an agent may take to accept a connection and what is sent on it.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait for a place in the queue of an agent's socket.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// The agent of one process.
pub(super) struct Agent<'a> {
    listener: &'a SeccompListener,
    child: &'a ChildProcess,
    /// The state of the container, as JSON.
    state: String,
}

impl<'a> Agent<'a> {
    /// The agent that the process's filter asks, if it asks one.
    pub(super) fn of(
        process: &'a Process,
        child: &'a ChildProcess,
        state: impl FnOnce() -> String,
    ) -> Option<Self> {
        let listener = process.seccomp.as_ref()?.listener.as_ref()?;
        Some(Self {
            listener,
            child,
            state: state(),
        })
    }

    /// Takes the listener, which has this number in the process, gives it to the agent and lets the
    /// process go on.
    ///
    /// # Errors
    /// Why the agent does not have it.
    pub(super) async fn meet(&self, number: i32, sync: &SyncSocket) -> Result<(), Error> {
        let listener = pidfd::get_fd(self.child.pidfd(), number).map_err(|errno| {
            let action = "take the filter's listener (pidfd_getfd)".to_owned();
            failed(action, errno, Blame::Host)
        })?;
        match tokio::time::timeout(DEADLINE, self.give(listener)).await {
            Ok(given) => given?,
            Err(_) => {
                let seconds = DEADLINE.as_secs();
                let cause = format!("it has not taken it after {seconds} s");
                return Err(Error::Setup(SetupError {
                    step: Step::Seccomp,
                    blame: Blame::Caller,
                    action: self.action("send the listener to"),
                    cause,
                    errno: 0,
                }));
            }
        }
        let told = sync.send(&ToInit::Notified).await;
        told.map_err(|_| killed(Step::Seccomp))
    }

    async fn give(&self, listener: OwnedFd) -> Result<(), Error> {
        let blame = |what: &'static str| {
            move |e: io::Error| failed(self.action(what), fd::errno(&e), Blame::Caller)
        };
        let mut stream = self.connect().await.map_err(blame("connect to"))?;
        let text = self.listener.render(self.child.pid(), &self.state);
        let sent = stream
            .async_io(Interest::WRITABLE, || {
                Ok(socket::send_on_stream(&stream, text.as_bytes(), &listener)?)
            })
            .await
            .map_err(blame("send the listener to"))?;
        // Only a state that is longer than the socket's buffer has a rest.
        let rest = text.as_bytes().get(sent..).unwrap_or_default();
        stream
            .write_all(rest)
            .await
            .map_err(blame("send the state to"))
    }

    /// Waits for a place in the queue of the socket: the kernel does not tell when there is one.
    async fn connect(&self) -> io::Result<UnixStream> {
        loop {
            match UnixStream::connect(&self.listener.path).await {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                connected => return connected,
            }
        }
    }

    fn action(&self, what: &str) -> String {
        format!("{what} the seccomp agent at {:?}", self.listener.path)
    }
}

fn failed(action: String, errno: Errno, blame: Blame) -> Error {
    Error::Setup(SetupError {
        step: Step::Seccomp,
        blame,
        action,
        cause: errno.desc().to_lowercase(),
        errno: errno as i32,
    })
}
