//! The task service.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, process};

use containerd_shim::api::{
    CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse,
    DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest, PidsRequest,
    PidsResponse, ShutdownRequest, StartRequest, StartResponse, StateRequest, StateResponse,
    Status, WaitRequest, WaitResponse,
};
use containerd_shim::event::Event;
use containerd_shim::protos::api::ProcessInfo;
use containerd_shim::protos::events::task::{
    TaskCreate, TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskStart,
};
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::timestamp::Timestamp;
use containerd_shim::protos::ttrpc::{Code, Error, get_status};
use containerd_shim::publisher::RemotePublisher;
use containerd_shim::util::read_address;
use containerd_shim::{ExitSignal, Task, TtrpcContext, TtrpcResult};

use crate::events::Events;
use crate::processes::{Key, Processes, Stage};

/// The shim before and beside its service.
#[derive(Clone)]
pub(crate) struct Null {
    namespace: String,
    /// Ends the server.
    pub(crate) exit: Arc<ExitSignal>,
}

impl Null {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            exit: Arc::default(),
        }
    }

    pub(crate) fn service(&self, publisher: RemotePublisher) -> Service {
        Service {
            exit: Arc::clone(&self.exit),
            events: Events::publish_with(publisher, self.namespace.clone()),
            processes: Processes::default(),
        }
    }
}

/// What answers.
pub(crate) struct Service {
    exit: Arc<ExitSignal>,
    events: Events,
    processes: Processes,
}

impl Service {
    fn find(&self, id: &str, exec: &str) -> TtrpcResult<(Key, Stage)> {
        let key = (id.to_owned(), exec.to_owned());
        match self.processes.get(&key) {
            Some(stage) => Ok((key, stage)),
            None => Err(not_found(&key)),
        }
    }

    fn push(&self, event: impl Event) {
        self.events.push(event);
    }
}

fn not_found((id, exec): &Key) -> Error {
    let text = format!("process {exec:?} of container {id:?} does not exist");
    Error::RpcStatus(get_status(Code::NOT_FOUND, text))
}

/// The pid of every "process": ours, which does no harm to whoever looks at it.
fn pid() -> u32 {
    process::id()
}

fn now() -> MessageField<Timestamp> {
    let since: Duration = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut time = Timestamp::new();
    time.seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    time.nanos = i32::try_from(since.subsec_nanos()).unwrap_or(0);
    MessageField::some(time)
}

/// Removes the server's socket. The framework would do so when all connections have ended, by a file
/// in the bundle; by then the bundle may be gone.
fn remove_socket() {
    if let Ok(address) = read_address() {
        let path = address.strip_prefix("unix://").unwrap_or(&address);
        // The framework does without a word what is left to do.
        drop(fs::remove_file(path));
    }
}

impl Task for Service {
    fn create(&self, _: &TtrpcContext, req: CreateTaskRequest) -> TtrpcResult<CreateTaskResponse> {
        self.processes
            .set((req.id.clone(), String::new()), Stage::Created);
        self.push(TaskCreate {
            container_id: req.id,
            bundle: req.bundle,
            rootfs: req.rootfs,
            pid: pid(),
            ..TaskCreate::default()
        });
        Ok(CreateTaskResponse {
            pid: pid(),
            ..CreateTaskResponse::default()
        })
    }

    fn exec(&self, _: &TtrpcContext, req: ExecProcessRequest) -> TtrpcResult<Empty> {
        self.find(&req.id, "")?;
        self.processes
            .set((req.id.clone(), req.exec_id.clone()), Stage::Created);
        self.push(TaskExecAdded {
            container_id: req.id,
            exec_id: req.exec_id,
            ..TaskExecAdded::default()
        });
        Ok(Empty::new())
    }

    fn start(&self, _: &TtrpcContext, req: StartRequest) -> TtrpcResult<StartResponse> {
        let (key, _) = self.find(&req.id, &req.exec_id)?;
        if req.exec_id.is_empty() {
            self.push(TaskStart {
                container_id: req.id.clone(),
                pid: pid(),
                ..TaskStart::default()
            });
        } else {
            self.push(TaskExecStarted {
                container_id: req.id.clone(),
                exec_id: req.exec_id.clone(),
                pid: pid(),
                ..TaskExecStarted::default()
            });
        }
        let process = match req.exec_id.as_str() {
            "" => req.id.clone(),
            exec => exec.to_owned(),
        };
        self.push(TaskExit {
            container_id: req.id,
            id: process,
            pid: pid(),
            exited_at: now(),
            ..TaskExit::default()
        });
        self.processes.set(key, Stage::Ended);
        Ok(StartResponse {
            pid: pid(),
            ..StartResponse::default()
        })
    }

    fn wait(&self, _: &TtrpcContext, req: WaitRequest) -> TtrpcResult<WaitResponse> {
        let (key, _) = self.find(&req.id, &req.exec_id)?;
        self.processes.wait(&key);
        Ok(WaitResponse {
            exited_at: now(),
            ..WaitResponse::default()
        })
    }

    fn delete(&self, _: &TtrpcContext, req: DeleteRequest) -> TtrpcResult<DeleteResponse> {
        let key = (req.id.clone(), req.exec_id.clone());
        self.processes.remove(&key).ok_or_else(|| not_found(&key))?;
        if req.exec_id.is_empty() {
            self.push(TaskDelete {
                container_id: req.id,
                pid: pid(),
                exited_at: now(),
                ..TaskDelete::default()
            });
        }
        Ok(DeleteResponse {
            pid: pid(),
            exited_at: now(),
            ..DeleteResponse::default()
        })
    }

    fn state(&self, _: &TtrpcContext, req: StateRequest) -> TtrpcResult<StateResponse> {
        let ((id, exec_id), stage) = self.find(&req.id, &req.exec_id)?;
        let status = match stage {
            Stage::Created => Status::CREATED,
            Stage::Ended => Status::STOPPED,
        };
        Ok(StateResponse {
            id,
            exec_id,
            pid: pid(),
            status: status.into(),
            ..StateResponse::default()
        })
    }

    fn pids(&self, _: &TtrpcContext, req: PidsRequest) -> TtrpcResult<PidsResponse> {
        self.find(&req.id, "")?;
        let process = ProcessInfo {
            pid: pid(),
            ..ProcessInfo::default()
        };
        Ok(PidsResponse {
            processes: vec![process],
            ..PidsResponse::default()
        })
    }

    fn kill(&self, _: &TtrpcContext, req: KillRequest) -> TtrpcResult<Empty> {
        // What is started has ended already; what is not, ends now.
        let (key, _) = self.find(&req.id, &req.exec_id)?;
        self.processes.set(key, Stage::Ended);
        Ok(Empty::new())
    }

    fn close_io(&self, _: &TtrpcContext, _: CloseIORequest) -> TtrpcResult<Empty> {
        Ok(Empty::new())
    }

    fn connect(&self, _: &TtrpcContext, _: ConnectRequest) -> TtrpcResult<ConnectResponse> {
        Ok(ConnectResponse {
            shim_pid: pid(),
            task_pid: pid(),
            ..ConnectResponse::default()
        })
    }

    fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> TtrpcResult<Empty> {
        if self.processes.is_empty() {
            remove_socket();
            self.exit.signal();
        }
        Ok(Empty::new())
    }
}
