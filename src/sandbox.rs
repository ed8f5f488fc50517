//! The sandbox API of containerd 2.x, for `sandboxer = "shim"`
//! (<https://github.com/containerd/containerd/blob/main/api/runtime/sandbox/v1/sandbox.proto>): a pod
//! without a pause image. A sandbox is a container with a plan of our own, so the registry has it, its
//! exit is taken, `delete` cleans up after it and Connect and Pids of the task API know it. containerd
//! publishes the events of sandboxes itself.

mod create;
mod files;

use crate::container::{ContainerHandle, ProcessInfo, Request};
use crate::daemon::Shared;
use crate::error::Error;
use crate::events::timestamp;
use crate::lifecycle::Status;
use crate::metrics;
use crate::process::Exit;
use crate::turn;
use async_trait::async_trait;
use containerd_shim_protos::sandbox_api as api;
use containerd_shim_protos::sandbox_async::Sandbox;
use hull_abi::{CgroupPaths, ContainerId};
use protobuf::MessageField;
use protobuf::well_known_types::any::Any;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use ttrpc::r#async::TtrpcContext;

/// How long a killed holder may take to be gone where the caller names no time. It only ever waits for
/// signals, so this is for a frozen cgroup and the like.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The states that CRI knows (`runtime.v1.PodSandboxState`).
const READY: &str = "SANDBOX_READY";
const NOT_READY: &str = "SANDBOX_NOTREADY";

/// Answers the sandbox API.
#[derive(Debug, Clone)]
pub(crate) struct SandboxService {
    shared: Arc<Shared>,
    /// Which containers of the registry are sandboxes.
    sandboxes: Arc<Mutex<HashMap<ContainerId, Known>>>,
}

/// What is known of a sandbox besides what its container knows.
#[derive(Debug, Clone)]
struct Known {
    created_at: SystemTime,
    /// The cgroup of the whole pod, if it has one.
    pod_cgroup: Option<CgroupPaths>,
}

/// A sandbox that was asked for.
struct Found {
    id: ContainerId,
    container: ContainerHandle,
    known: Known,
}

// === impl SandboxService ===

impl SandboxService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            sandboxes: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Known>> {
        // Every change is a single insert or remove, so a panic elsewhere leaves the map whole.
        let locked = self.sandboxes.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: &str) -> Result<Found, Error> {
        let absent = || Error::NotFound(format!("sandbox {id:?} does not exist"));
        let found = self.shared.registry.get(id);
        let id = ContainerId::parse(id).map_err(|_| absent())?;
        let Ok(container) = found else {
            // The Task API may have removed it, and another container may get its id.
            self.lock().remove(&id);
            return Err(absent());
        };
        let known = self.lock().get(&id).cloned().ok_or_else(absent)?;
        Ok(Found {
            id,
            container,
            known,
        })
    }

    /// Carried through whatever becomes of the caller.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        turn::spawn("sandbox", async move {
            // A caller that gave up needs no answer.
            drop(reply.send(work.await));
        });
        let lost = |_| Error::Unavailable("the request ended without an answer".to_owned());
        answer.await.map_err(lost)?
    }

    /// Ends the sandbox, removes it and lets the daemon leave. Without such a sandbox only the last
    /// remains: what asks for it is the clean-up after a failed CreateSandbox.
    async fn shut_down(self, id: String) -> Result<(), Error> {
        if let Ok(found) = self.find(&id) {
            found.stop(STOP_DEADLINE).await?;
            let deleted = found
                .container
                .ask(|reply| Request::Delete { exec: None, reply });
            match deleted.await {
                Ok(_) | Err(Error::NoContainer) => {}
                Err(error) => return Err(error),
            }
            self.lock().remove(&found.id);
        } else {
            // It may be on its way; then nobody wants it any more.
            self.shared.registry.give_up(&id);
        }
        self.shared.shutdown();
        Ok(())
    }
}

// === impl Found ===

impl Found {
    async fn state(&self) -> Result<ProcessInfo, Error> {
        let state = |reply| Request::State { exec: None, reply };
        self.container.ask(state).await
    }

    async fn exit(&self) -> Result<Exit, Error> {
        let wait = |reply| Request::Wait { exec: None, reply };
        let exit = self.container.ask(wait).await?;
        exit.await.map_err(|_| Error::NoContainer)
    }

    /// Usage of the pod, from which CRI makes its statistics.
    async fn stats(&self) -> Result<Any, Error> {
        match &self.known.pod_cgroup {
            Some(pod) => metrics::to_any(&hull_cgroup::stats(pod).map_err(metrics::failed)?),
            None => self.container.ask(|reply| Request::Stats { reply }).await,
        }
    }

    /// Kills the holder and waits until it is gone. One that is gone already is as good.
    async fn stop(&self, limit: Duration) -> Result<(), Error> {
        let killed = self.container.ask(|reply| Request::Kill {
            exec: None,
            signal: nix::libc::SIGKILL,
            all: false,
            reply,
        });
        match killed.await {
            Ok(()) | Err(Error::Finished | Error::NoContainer) => {}
            Err(error) => return Err(error),
        }
        match tokio::time::timeout(limit, self.exit()).await {
            Ok(Ok(_) | Err(Error::NoContainer)) => Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Deadline(format!(
                "sandbox {} is not gone {} s after SIGKILL",
                self.id,
                limit.as_secs()
            ))),
        }
    }
}

fn is_ready(status: Status) -> bool {
    match status {
        Status::Running | Status::Pausing | Status::Paused => true,
        Status::Created | Status::Starting | Status::Stopped => false,
    }
}

/// What `crictl inspectp` shows, in containerd's terms (`SandboxInfo`).
fn info(state: &ProcessInfo) -> String {
    serde_json::json!({
        "pid": state.pid,
        "processStatus": state.status.name(),
        "runtimeType": "io.containerd.hull.v1",
    })
    .to_string()
}

#[async_trait]
impl Sandbox for SandboxService {
    async fn create_sandbox(
        &self,
        _ctx: &TtrpcContext,
        req: api::CreateSandboxRequest,
    ) -> ttrpc::Result<api::CreateSandboxResponse> {
        let (reply, answer) = oneshot::channel();
        // Who makes it has to see that the caller gave up, so the answer goes the way of Create's.
        let service = self.clone();
        turn::spawn("create of a sandbox", async move {
            create::run(&service, req, reply).await;
        });
        let lost = |_| Error::Unavailable("create ended without an answer".to_owned());
        answer.await.map_err(lost)??;
        Ok(api::CreateSandboxResponse::default())
    }

    async fn start_sandbox(
        &self,
        _ctx: &TtrpcContext,
        req: api::StartSandboxRequest,
    ) -> ttrpc::Result<api::StartSandboxResponse> {
        let found = self.find(&req.sandbox_id)?;
        let start = |reply| Request::Start { exec: None, reply };
        let pid = found.container.ask(start).await?;
        log::info!("sandbox {}: started, held by process {pid}", found.id);
        Ok(api::StartSandboxResponse {
            pid,
            created_at: MessageField::some(timestamp(found.known.created_at)),
            ..Default::default()
        })
    }

    async fn platform(
        &self,
        _ctx: &TtrpcContext,
        req: api::PlatformRequest,
    ) -> ttrpc::Result<api::PlatformResponse> {
        self.find(&req.sandbox_id)?;
        let mut response = api::PlatformResponse::default();
        let platform = response.platform.mut_or_insert_default();
        "linux".clone_into(&mut platform.os);
        "amd64".clone_into(&mut platform.architecture);
        Ok(response)
    }

    async fn stop_sandbox(
        &self,
        _ctx: &TtrpcContext,
        req: api::StopSandboxRequest,
    ) -> ttrpc::Result<api::StopSandboxResponse> {
        let found = self.find(&req.sandbox_id)?;
        let limit = match req.timeout_secs {
            0 => STOP_DEADLINE,
            seconds => Duration::from_secs(seconds.into()),
        };
        self.detached(async move { found.stop(limit).await })
            .await?;
        Ok(api::StopSandboxResponse::default())
    }

    async fn wait_sandbox(
        &self,
        _ctx: &TtrpcContext,
        req: api::WaitSandboxRequest,
    ) -> ttrpc::Result<api::WaitSandboxResponse> {
        let exit = self.find(&req.sandbox_id)?.exit().await?;
        Ok(api::WaitSandboxResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn sandbox_status(
        &self,
        _ctx: &TtrpcContext,
        req: api::SandboxStatusRequest,
    ) -> ttrpc::Result<api::SandboxStatusResponse> {
        let found = self.find(&req.sandbox_id)?;
        let state = found.state().await?;
        let ready = is_ready(state.status);
        let mut response = api::SandboxStatusResponse {
            sandbox_id: req.sandbox_id,
            pid: state.pid,
            state: if ready { READY } else { NOT_READY }.to_owned(),
            created_at: MessageField::some(timestamp(found.known.created_at)),
            ..Default::default()
        };
        if req.verbose {
            response.info.insert("info".to_owned(), info(&state));
        }
        if let Some(exit) = state.exit {
            response.exited_at = MessageField::some(timestamp(exit.at));
        }
        Ok(response)
    }

    async fn ping_sandbox(
        &self,
        _ctx: &TtrpcContext,
        req: api::PingRequest,
    ) -> ttrpc::Result<api::PingResponse> {
        let found = self.find(&req.sandbox_id)?;
        let state = found.state().await?;
        if state.status == Status::Stopped {
            let text = format!("sandbox {} is not alive", found.id);
            return Err(Error::FailedPrecondition(text).into());
        }
        Ok(api::PingResponse::default())
    }

    async fn shutdown_sandbox(
        &self,
        _ctx: &TtrpcContext,
        req: api::ShutdownSandboxRequest,
    ) -> ttrpc::Result<api::ShutdownSandboxResponse> {
        self.detached(self.clone().shut_down(req.sandbox_id))
            .await?;
        Ok(api::ShutdownSandboxResponse::default())
    }

    async fn sandbox_metrics(
        &self,
        _ctx: &TtrpcContext,
        req: api::SandboxMetricsRequest,
    ) -> ttrpc::Result<api::SandboxMetricsResponse> {
        let found = self.find(&req.sandbox_id)?;
        let stats = found.stats().await?;
        let mut response = api::SandboxMetricsResponse::default();
        let metrics = response.metrics.mut_or_insert_default();
        metrics.id = req.sandbox_id;
        metrics.timestamp = MessageField::some(timestamp(SystemTime::now()));
        metrics.data = MessageField::some(stats);
        Ok(response)
    }
}
