//! What can be asked of a container, and the handle to ask it by.

use crate::error::Error;
use crate::events::Io;
use crate::lifecycle::Status;
use crate::process::Exit;
use hull_abi::ExecId;
use protobuf::well_known_types::any::Any;
use tokio::sync::{mpsc, oneshot};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A request; `exec: None` means the init process.
#[derive(Debug)]
pub(crate) enum Request {
    State {
        exec: Option<ExecId>,
        reply: Reply<ProcessInfo>,
    },
    Start {
        exec: Option<ExecId>,
        reply: Reply<u32>,
    },
    Delete {
        exec: Option<ExecId>,
        reply: Reply<ProcessInfo>,
    },
    Exec {
        id: ExecId,
        streams: Io,
        spec: Vec<u8>,
        reply: Reply<()>,
    },
    Pids {
        reply: Reply<Vec<(u32, Option<ExecId>)>>,
    },
    Pause {
        reply: Reply<()>,
    },
    Resume {
        reply: Reply<()>,
    },
    Kill {
        exec: Option<ExecId>,
        signal: i32,
        all: bool,
        reply: Reply<()>,
    },
    Resize {
        exec: Option<ExecId>,
        columns: u16,
        rows: u16,
        reply: Reply<()>,
    },
    CloseStdin {
        exec: Option<ExecId>,
        reply: Reply<()>,
    },
    Update {
        resources: Vec<u8>,
        reply: Reply<()>,
    },
    Wait {
        exec: Option<ExecId>,
        reply: Reply<oneshot::Receiver<Exit>>,
    },
    Stats {
        reply: Reply<Any>,
    },
    CheckCheckpoint {
        reply: Reply<()>,
    },
    /// One line for the log.
    Describe {
        reply: Reply<String>,
    },
}

/// What there is to know about a process.
#[derive(Debug, Clone)]
pub(crate) struct ProcessInfo {
    pub(crate) bundle: String,
    pub(crate) pid: u32,
    pub(crate) status: Status,
    pub(crate) streams: Io,
    pub(crate) exit: Option<Exit>,
}

/// A container's mailbox.
#[derive(Debug, Clone)]
pub(crate) struct ContainerHandle(mpsc::Sender<Request>);

impl ContainerHandle {
    pub(super) fn new(mailbox: mpsc::Sender<Request>) -> Self {
        Self(mailbox)
    }

    /// Asks, and waits for the answer. Dropping the future does not take the request back.
    ///
    /// # Errors
    /// The container's answer, or [`Error::NoContainer`] when it was deleted meanwhile.
    pub(crate) async fn ask<T>(
        &self,
        request: impl FnOnce(Reply<T>) -> Request,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.0
            .send(request(reply))
            .await
            .map_err(|_| Error::NoContainer)?;
        answer.await.map_err(|_| Error::NoContainer)?
    }
}
