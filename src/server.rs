//! The ttrpc server: which services answer on the daemon's socket, and to whom.

mod accept;
mod connection;

use crate::daemon::Shared;
use crate::error::Error;
use crate::sandbox::SandboxService;
use crate::service::TaskService;
use crate::turn;
use accept::OwnUser;
use connection::Connection;
use containerd_shim_protos::sandbox_async::create_sandbox;
use containerd_shim_protos::shim_async::create_task;
use std::collections::HashMap;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, watch};
use ttrpc::asynchronous::Service;

const TASK_V2: &str = "containerd.task.v2.Task";
const TASK_V3: &str = "containerd.task.v3.Task";

/// How long answers may take to leave before the daemon does.
const LINGER: Duration = Duration::from_millis(500);

/// What can be called, by the name of the service.
type Services = Arc<HashMap<String, Service>>;

/// The running server.
pub(crate) struct Running {
    leaving: watch::Sender<bool>,
    /// Ends with the last connection.
    connections: mpsc::Receiver<()>,
}

/// Starts to answer. Both versions of the task API are the same messages under two names
/// (containerd: `api/runtime/task`), so one table serves both.
///
/// # Errors
/// When the socket cannot be used.
pub(crate) fn start(listener: StdListener, shared: &Arc<Shared>) -> Result<Running, Error> {
    let service = Arc::new(TaskService::new(Arc::clone(shared)));
    let mut services = create_task(service.clone());
    if let Some(same) = create_task(service).remove(TASK_V3) {
        services.insert(TASK_V2.to_owned(), same);
    }
    let sandboxes = SandboxService::new(Arc::clone(shared));
    services.extend(create_sandbox(Arc::new(sandboxes)));
    let listener =
        UnixListener::from_std(listener).map_err(|e| Error::host("watch the socket", e))?;
    let (leaving, left) = watch::channel(false);
    let (open, connections) = mpsc::channel(1);
    turn::spawn(
        "listener",
        serve(
            OwnUser::new(listener, shared),
            Arc::new(services),
            left,
            open,
        ),
    );
    Ok(Running {
        leaving,
        connections,
    })
}

/// Accepts until the daemon leaves. `open` is held by every connection.
async fn serve(
    mut listener: OwnUser,
    services: Services,
    mut left: watch::Receiver<bool>,
    open: mpsc::Sender<()>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that nobody can tell any more; the daemon ends then, too.
            _ = left.wait_for(|left| *left) => return,
        };
        let connection = Connection::new(accepted, Arc::clone(&services));
        let (left, open) = (left.clone(), open.clone());
        turn::spawn("connection", async move {
            connection.run(left).await;
            drop(open);
        });
    }
}

impl Running {
    /// Stops to accept and gives answers that are on their way a moment.
    pub(crate) async fn leave(&mut self) {
        self.leaving.send_replace(true);
        drop(tokio::time::timeout(LINGER, self.connections.recv()).await);
    }
}
