//! The task API: from protobuf to a request to a container, and back. Knows no kernel.
//!
//! Handlers only wait: ttrpc drops them at a caller's deadline or with its connection, and what they
//! asked for must be carried through all the same.

mod create;

use crate::container::{ContainerHandle, ProcessInfo, Request};
use crate::daemon::Shared;
use crate::error::Error;
use crate::events::{Io, timestamp};
use crate::lifecycle::Status;
use async_trait::async_trait;
use containerd_shim_protos::api;
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::Task;
use hull_abi::ExecId;
use protobuf::well_known_types::any::Any;
use protobuf::{EnumOrUnknown, Message as _, MessageField};
use std::sync::Arc;
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
        // An id that could not have been registered does not exist. It may have any length.
        id => ExecId::parse(id)
            .map(Some)
            .map_err(|_| Error::NoProcess(id.chars().take(80).collect())),
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

// === impl TaskService ===

impl TaskService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn container(&self, id: &str) -> Result<ContainerHandle, Error> {
        self.shared.registry.get(id)
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
        let pid = create::run(&self.shared, req)
            .await
            .map_err(create::failed)?;
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
