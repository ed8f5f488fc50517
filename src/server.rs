//! The ttrpc server: which services answer on the daemon's socket, and to whom.

mod accept;

use crate::daemon::Shared;
use crate::error::Error;
use crate::service::TaskService;
use accept::OwnUser;
use async_trait::async_trait;
use containerd_shim_protos::shim_async::create_task;
use std::collections::HashMap;
use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use ttrpc::asynchronous::transport::Listener;
use ttrpc::asynchronous::{MethodHandler, Server, Service, TtrpcContext};

const TASK_V2: &str = "containerd.task.v2.Task";
const TASK_V3: &str = "containerd.task.v3.Task";
const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";
const SANDBOX_METHODS: [&str; 9] = [
    "CreateSandbox",
    "StartSandbox",
    "Platform",
    "StopSandbox",
    "WaitSandbox",
    "SandboxStatus",
    "PingSandbox",
    "ShutdownSandbox",
    "SandboxMetrics",
];

/// How long answers may take to leave before the daemon does.
const LINGER: Duration = Duration::from_millis(500);

/// The running server.
pub(crate) struct Running(Server);

/// Starts to answer. Both versions of the task API are the same messages under two names
/// (containerd: `api/runtime/task`), so one table serves both.
///
/// # Errors
/// When the socket cannot be used.
pub(crate) async fn start(listener: StdListener, shared: &Arc<Shared>) -> Result<Running, Error> {
    let service = Arc::new(TaskService::new(Arc::clone(shared)));
    let mut services = create_task(service.clone());
    if let Some(same) = create_task(service).remove(TASK_V3) {
        services.insert(TASK_V2.to_owned(), same);
    }
    services.insert(SANDBOX.to_owned(), refuse_sandbox());
    let listener =
        UnixListener::from_std(listener).map_err(|e| Error::host("watch the socket", e))?;
    let mut server = Server::new()
        .add_listener(Listener::new(OwnUser::new(listener, shared)))
        .register_service(services);
    server
        .start()
        .await
        .map_err(|e| Error::Unavailable(format!("serve: {e}")))?;
    Ok(Running(server))
}

impl Running {
    /// Stops to accept and gives answers that are on their way a moment.
    pub(crate) async fn leave(&mut self) {
        drop(tokio::time::timeout(LINGER, self.0.shutdown()).await);
    }
}

/// A service that clients probe for must say "unimplemented": ttrpc-rust says "invalid argument" of a
/// service it does not know, which they would take for a failure.
fn refuse_sandbox() -> Service {
    let methods = SANDBOX_METHODS
        .into_iter()
        .map(|name| {
            let handler: Box<dyn MethodHandler + Send + Sync> = Box::new(Unimplemented);
            (name.to_owned(), handler)
        })
        .collect();
    Service {
        methods,
        streams: HashMap::new(),
    }
}

struct Unimplemented;

#[async_trait]
impl MethodHandler for Unimplemented {
    async fn handler(
        &self,
        _ctx: TtrpcContext,
        req: ttrpc::Request,
    ) -> ttrpc::Result<ttrpc::Response> {
        let text = format!("{}/{} is not implemented", req.service, req.method);
        Err(Error::Unimplemented(text).into())
    }
}
