//! The task API: from protobuf to a request to a container, and back. Knows no kernel.
//!
//! Handlers only wait: ttrpc drops them at a caller's deadline or with its connection, and what they
//! asked for must be carried through all the same.

use crate::container::{self, ContainerHandle, ProcessInfo, Request};
use crate::daemon::Shared;
use crate::error::Error;
use crate::events::{Event, Io, timestamp};
use crate::launch::{self, CreateArgs};
use crate::lifecycle::Status;
use crate::options;
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::Task;
use hull_abi::{ContainerId, ExecId, HostMount};
use protobuf::well_known_types::any::Any;
use protobuf::{EnumOrUnknown, Message as _, MessageField};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;
use ttrpc::r#async::TtrpcContext;

/// Answers the task API from the registry.
#[derive(Debug)]
pub(crate) struct TaskService {
    shared: Arc<Shared>,
}

fn empty() -> api::Empty {
    api::Empty::default()
}

/// An exec id; empty means the init process.
fn exec_id(id: &str) -> Result<Option<ExecId>, Error> {
    match id {
        "" => Ok(None),
        // An id that could not have been registered does not exist.
        id => ExecId::parse(id)
            .map(Some)
            .map_err(|_| Error::NoProcess(id.to_owned())),
    }
}

fn status(status: Status) -> api::Status {
    match status {
        Status::Created | Status::Starting => api::Status::CREATED,
        Status::Running => api::Status::RUNNING,
        Status::Pausing => api::Status::PAUSING,
        Status::Paused => api::Status::PAUSED,
        Status::Stopped => api::Status::STOPPED,
    }
}

fn state_response(id: &str, exec_id: &str, info: ProcessInfo) -> api::StateResponse {
    let mut response = api::StateResponse {
        id: if exec_id.is_empty() { id } else { exec_id }.to_owned(),
        exec_id: exec_id.to_owned(),
        bundle: info.bundle,
        pid: info.pid,
        status: EnumOrUnknown::new(status(info.status)),
        stdin: info.streams.stdin,
        stdout: info.streams.stdout,
        stderr: info.streams.stderr,
        terminal: info.streams.terminal,
        ..Default::default()
    };
    if let Some(exit) = info.exit {
        response.exit_status = exit.status;
        response.exited_at = MessageField::some(timestamp(exit.at));
    }
    response
}

fn create_args(req: &api::CreateTaskRequest) -> Result<CreateArgs, Error> {
    let id = ContainerId::parse(&req.id).map_err(|e| Error::Invalid(e.to_string()))?;
    if !req.checkpoint.is_empty() {
        return Err(Error::Invalid(
            "restoring from a checkpoint is not supported: hull has no CRIU support".to_owned(),
        ));
    }
    let bundle = PathBuf::from(&req.bundle);
    if !bundle.is_absolute() {
        return Err(Error::Invalid(format!(
            "bundle {:?} is not an absolute path",
            req.bundle
        )));
    }
    let mounts = req.rootfs.iter().map(|mount| HostMount {
        fstype: mount.type_.clone(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        options: mount.options.clone(),
    });
    let streams = Io {
        stdin: req.stdin.clone(),
        stdout: req.stdout.clone(),
        stderr: req.stderr.clone(),
        terminal: req.terminal,
    };
    let options = options::parse(req.options.as_ref())?;
    Ok(CreateArgs {
        id,
        bundle,
        mounts: mounts.collect(),
        streams,
        options,
    })
}

async fn create(
    shared: &Arc<Shared>,
    req: api::CreateTaskRequest,
    reply: &oneshot::Sender<Result<u32, Error>>,
) -> Result<u32, Error> {
    let args = create_args(&req)?;
    let reservation = shared.registry.reserve(&args.id)?;
    let streams = args.streams.clone();
    let created = launch::create(shared, args).await?;
    if reply.is_closed() && (shared.leave.is_asked() || reservation.is_unwanted()) {
        // The caller has given up and cleaned up since; nobody would ever delete this container.
        launch::discard(shared, created).await;
        return Err(Error::Unavailable("nobody waits for it any more".to_owned()));
    }
    let pid = created.child.pid().unsigned_abs();
    log::info!("container {} created, init is process {pid}", req.id);
    shared.publisher.publish(Event::Create {
        id: req.id,
        bundle: req.bundle,
        rootfs: req.rootfs,
        io: streams.clone(),
        checkpoint: String::new(),
        pid,
    });
    reservation.fill(container::spawn(Arc::clone(shared), created, streams));
    hull_sys::process::trim_heap();
    Ok(pid)
}

/// The answer to a failed Create. containerd takes the codes for "too late" and "not there" as news
/// about the shim or the task, so those arrive as UNKNOWN.
fn create_failed(error: Error) -> ttrpc::Error {
    if matches!(error, Error::Deadline(_) | Error::Unavailable(_)) {
        return ttrpc::error::get_rpc_status(ttrpc::Code::UNKNOWN, error.line());
    }
    error.into()
}

// === impl TaskService ===

impl TaskService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn container(&self, id: &str) -> Result<ContainerHandle, Error> {
        self.shared.registry.get(id)
    }

    /// Runs beside the handler, so that it is carried through whatever becomes of the caller.
    async fn create_container(&self, req: api::CreateTaskRequest) -> Result<u32, Error> {
        let shared = Arc::clone(&self.shared);
        let (reply, answer) = oneshot::channel();
        tokio::spawn(async move {
            let result = create(&shared, req, &reply).await;
            if result.is_err() {
                // A shutdown may have waited for the end of this.
                shared.container_removed();
            }
            // A caller that gave up needs no answer.
            drop(reply.send(result));
        });
        answer
            .await
            .map_err(|_| Error::Unavailable("create ended without an answer".to_owned()))?
    }

    async fn wait_exit(&self, req: api::WaitRequest) -> Result<api::WaitResponse, Error> {
        let exec = exec_id(&req.exec_id)?;
        let container = self.container(&req.id)?;
        let exit = container.ask(|reply| Request::Wait { exec, reply }).await?;
        let exit = exit.await.map_err(|_| Error::NoContainer)?;
        Ok(api::WaitResponse {
            exit_status: exit.status,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }
}

#[async_trait]
impl Task for TaskService {
    async fn state(
        &self,
        _ctx: &TtrpcContext,
        req: api::StateRequest,
    ) -> ttrpc::Result<api::StateResponse> {
        let exec = exec_id(&req.exec_id)?;
        let info = self
            .container(&req.id)?
            .ask(|reply| Request::State { exec, reply })
            .await?;
        Ok(state_response(&req.id, &req.exec_id, info))
    }

    async fn create(
        &self,
        _ctx: &TtrpcContext,
        req: api::CreateTaskRequest,
    ) -> ttrpc::Result<api::CreateTaskResponse> {
        let pid = self.create_container(req).await.map_err(create_failed)?;
        Ok(api::CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(
        &self,
        _ctx: &TtrpcContext,
        req: api::StartRequest,
    ) -> ttrpc::Result<api::StartResponse> {
        let exec = exec_id(&req.exec_id)?;
        let pid = self
            .container(&req.id)?
            .ask(|reply| Request::Start { exec, reply })
            .await?;
        Ok(api::StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn delete(
        &self,
        _ctx: &TtrpcContext,
        req: api::DeleteRequest,
    ) -> ttrpc::Result<api::DeleteResponse> {
        let exec = exec_id(&req.exec_id)?;
        let container = self.container(&req.id).inspect_err(|_| {
            // Whoever gave a Create up asks for this, and must not get a container after all.
            self.shared.registry.give_up(&req.id);
        })?;
        let info = container
            .ask(|reply| Request::Delete { exec, reply })
            .await?;
        let at = info
            .exit
            .map_or_else(std::time::SystemTime::now, |exit| exit.at);
        Ok(api::DeleteResponse {
            pid: info.pid,
            exit_status: info.exit.map_or(0, |exit| exit.status),
            exited_at: MessageField::some(timestamp(at)),
            ..Default::default()
        })
    }

    async fn pids(
        &self,
        _ctx: &TtrpcContext,
        req: api::PidsRequest,
    ) -> ttrpc::Result<api::PidsResponse> {
        let pids = self
            .container(&req.id)?
            .ask(|reply| Request::Pids { reply })
            .await?;
        let processes = pids
            .into_iter()
            .map(|(pid, exec)| {
                let info = exec.map(|id| {
                    let details = ProcessDetails {
                        exec_id: id.as_str().to_owned(),
                        ..Default::default()
                    };
                    Any {
                        type_url: "containerd.runc.v1.ProcessDetails".to_owned(),
                        value: details.write_to_bytes().unwrap_or_default(),
                        ..Default::default()
                    }
                });
                api::ProcessInfo {
                    pid,
                    info: info.into(),
                    ..Default::default()
                }
            })
            .collect();
        Ok(api::PidsResponse {
            processes,
            ..Default::default()
        })
    }

    async fn pause(
        &self,
        _ctx: &TtrpcContext,
        req: api::PauseRequest,
    ) -> ttrpc::Result<api::Empty> {
        self.container(&req.id)?
            .ask(|reply| Request::Pause { reply })
            .await?;
        Ok(empty())
    }

    async fn resume(
        &self,
        _ctx: &TtrpcContext,
        req: api::ResumeRequest,
    ) -> ttrpc::Result<api::Empty> {
        self.container(&req.id)?
            .ask(|reply| Request::Resume { reply })
            .await?;
        Ok(empty())
    }

    async fn checkpoint(
        &self,
        _ctx: &TtrpcContext,
        req: api::CheckpointTaskRequest,
    ) -> ttrpc::Result<api::Empty> {
        self.container(&req.id)?
            .ask(|reply| Request::CheckCheckpoint { reply })
            .await?;
        Ok(empty())
    }

    async fn kill(&self, _ctx: &TtrpcContext, req: api::KillRequest) -> ttrpc::Result<api::Empty> {
        let exec = exec_id(&req.exec_id)?;
        let signal = i32::try_from(req.signal)
            .map_err(|_| Error::Invalid(format!("signal {} does not exist", req.signal)))?;
        let all = req.all;
        self.container(&req.id)?
            .ask(|reply| Request::Kill {
                exec,
                signal,
                all,
                reply,
            })
            .await?;
        Ok(empty())
    }

    async fn exec(
        &self,
        _ctx: &TtrpcContext,
        req: api::ExecProcessRequest,
    ) -> ttrpc::Result<api::Empty> {
        let container = self.container(&req.id)?;
        let id = ExecId::parse(&req.exec_id).map_err(|e| Error::Invalid(e.to_string()))?;
        let streams = Io {
            stdin: req.stdin,
            stdout: req.stdout,
            stderr: req.stderr,
            terminal: req.terminal,
        };
        let spec = req
            .spec
            .into_option()
            .map(|any| any.value)
            .unwrap_or_default();
        container
            .ask(|reply| Request::Exec {
                id,
                streams,
                spec,
                reply,
            })
            .await?;
        Ok(empty())
    }

    async fn resize_pty(
        &self,
        _ctx: &TtrpcContext,
        req: api::ResizePtyRequest,
    ) -> ttrpc::Result<api::Empty> {
        let exec = exec_id(&req.exec_id)?;
        let size = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let (columns, rows) = (size(req.width), size(req.height));
        self.container(&req.id)?
            .ask(|reply| Request::Resize {
                exec,
                columns,
                rows,
                reply,
            })
            .await?;
        Ok(empty())
    }

    async fn close_io(
        &self,
        _ctx: &TtrpcContext,
        req: api::CloseIORequest,
    ) -> ttrpc::Result<api::Empty> {
        let exec = exec_id(&req.exec_id)?;
        let container = self.container(&req.id)?;
        if req.stdin {
            container
                .ask(|reply| Request::CloseStdin { exec, reply })
                .await?;
        } else {
            container
                .ask(|reply| Request::State { exec, reply })
                .await?;
        }
        Ok(empty())
    }

    async fn update(
        &self,
        _ctx: &TtrpcContext,
        req: api::UpdateTaskRequest,
    ) -> ttrpc::Result<api::Empty> {
        let resources = req
            .resources
            .into_option()
            .map(|any| any.value)
            .unwrap_or_default();
        self.container(&req.id)?
            .ask(|reply| Request::Update { resources, reply })
            .await?;
        Ok(empty())
    }

    async fn wait(
        &self,
        _ctx: &TtrpcContext,
        req: api::WaitRequest,
    ) -> ttrpc::Result<api::WaitResponse> {
        Ok(self.wait_exit(req).await?)
    }

    async fn stats(
        &self,
        _ctx: &TtrpcContext,
        req: api::StatsRequest,
    ) -> ttrpc::Result<api::StatsResponse> {
        let stats = self
            .container(&req.id)?
            .ask(|reply| Request::Stats { reply })
            .await?;
        Ok(api::StatsResponse {
            stats: MessageField::some(stats),
            ..Default::default()
        })
    }

    async fn connect(
        &self,
        _ctx: &TtrpcContext,
        req: api::ConnectRequest,
    ) -> ttrpc::Result<api::ConnectResponse> {
        // Answers for unknown ids too: containerd asks before anything exists.
        let task_pid = match self.container(&req.id) {
            Ok(container) => container
                .ask(|reply| Request::State { exec: None, reply })
                .await
                .map_or(0, |info| info.pid),
            Err(_) => 0,
        };
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(
        &self,
        _ctx: &TtrpcContext,
        _req: api::ShutdownRequest,
    ) -> ttrpc::Result<api::Empty> {
        self.shared.shutdown();
        Ok(empty())
    }
}
