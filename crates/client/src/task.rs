//! The task service over one persistent ttrpc connection.

use std::collections::HashMap;
use std::time::Duration;

use containerd_shim_protos::api::{
    CheckpointTaskRequest, CloseIORequest, ConnectRequest, ConnectResponse, CreateTaskRequest,
    CreateTaskResponse, DeleteRequest, DeleteResponse, Empty, ExecProcessRequest, KillRequest,
    PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest, ResumeRequest, ShutdownRequest,
    StartRequest, StartResponse, StateRequest, StateResponse, StatsRequest, StatsResponse,
    UpdateTaskRequest, WaitRequest, WaitResponse,
};
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};
use ttrpc::asynchronous::Client;

use crate::error::RpcError;

/// Longest wait for any answer but those of Wait, Create and Start. containerd gives State two seconds and CRI gives
/// Delete ten; this only keeps a hung shim from hanging its caller for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for Create and Start: either may compile a module. The shim waits 60 s for the compilations of
/// others unless told otherwise, as long for its own, 40 s for the module to be read and 60 s for the artifact
/// to be stored, 220 s in all.
const COMPILE_LIMIT: Duration = Duration::from_secs(240);

/// The name under which the task service is called. The messages are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Version {
    /// `containerd.task.v2.Task`, which every containerd from 1.6 on calls.
    #[default]
    V2,
    /// `containerd.task.v3.Task`, which containerd 2.x calls when the shim announced version 3.
    V3,
}

impl Version {
    /// The ttrpc service name.
    #[must_use]
    pub fn service(self) -> &'static str {
        match self {
            Self::V2 => "containerd.task.v2.Task",
            Self::V3 => "containerd.task.v3.Task",
        }
    }
}

/// A client of one shim's task service. Clones share the connection.
#[derive(Clone)]
pub struct Task {
    client: Client,
    namespace: String,
    version: Version,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("namespace", &self.namespace)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

type Reply<T> = Result<T, RpcError>;

impl Task {
    /// Connects to the address that `start` printed (`unix:///…`). Needs a tokio runtime.
    ///
    /// # Errors
    /// [`RpcError::Transport`] when nobody listens.
    pub async fn connect(address: &str, namespace: &str, version: Version) -> Reply<Self> {
        let client = Client::connect(address).await?;
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
            version,
        })
    }

    /// The same connection, calling the service by another name.
    #[must_use]
    pub fn with_version(&self, version: Version) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    /// Calls any method of any service with bytes, so that a test can send what no typed client
    /// would.
    ///
    /// # Errors
    /// What the shim answered, or why it did not within `limit` (none: as long as it takes).
    pub async fn raw(
        &self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        limit: Option<Duration>,
    ) -> Reply<Vec<u8>> {
        let mut request = ttrpc::Request::new();
        request.service = service.to_owned();
        request.method = method.to_owned();
        request.payload = payload;
        let key = "containerd-namespace-ttrpc".to_owned();
        let metadata = HashMap::from([(key, vec![self.namespace.clone()])]);
        request.metadata = ttrpc::context::to_pb(metadata);
        let answer = self.client.request(request);
        let response = match limit {
            None => answer.await?,
            Some(limit) => tokio::time::timeout(limit, answer)
                .await
                .map_err(|_elapsed| RpcError::Deadline(limit))??,
        };
        Ok(response.payload)
    }

    async fn call<Q: Message, R: Message>(&self, method: &str, request: &Q) -> Reply<R> {
        self.call_within(method, request, Some(ANSWER_LIMIT)).await
    }

    async fn call_within<Q: Message, R: Message>(
        &self,
        method: &str,
        request: &Q,
        limit: Option<Duration>,
    ) -> Reply<R> {
        let malformed = |error: protobuf::Error| RpcError::Transport(error.to_string());
        let payload = request.write_to_bytes().map_err(malformed)?;
        let reply = self
            .raw(self.version.service(), method, payload, limit)
            .await?;
        R::parse_from_bytes(&reply).map_err(malformed)
    }

    /// Creates the container; gives its init's pid.
    ///
    /// # Errors
    /// What the shim answered. So for every method below.
    pub async fn create(&self, request: &CreateTaskRequest) -> Reply<u32> {
        let limit = Some(COMPILE_LIMIT);
        let reply: CreateTaskResponse = self.call_within("Create", request, limit).await?;
        Ok(reply.pid)
    }

    /// Starts the init (`exec` empty) or an exec; gives its pid.
    pub async fn start(&self, id: &str, exec: &str) -> Reply<u32> {
        let mut request = StartRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        let limit = Some(COMPILE_LIMIT);
        let reply: StartResponse = self.call_within("Start", &request, limit).await?;
        Ok(reply.pid)
    }

    /// The state of the init or an exec.
    pub async fn state(&self, id: &str, exec: &str) -> Reply<StateResponse> {
        let mut request = StateRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        self.call("State", &request).await
    }

    /// Deletes the container or an exec; gives pid, exit status and time.
    pub async fn delete(&self, id: &str, exec: &str) -> Reply<DeleteResponse> {
        let mut request = DeleteRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        self.call("Delete", &request).await
    }

    /// Registers an exec.
    pub async fn exec(&self, request: &ExecProcessRequest) -> Reply<()> {
        self.call::<_, Empty>("Exec", request).await.map(drop)
    }

    /// The pids in the container, seen from the host.
    pub async fn pids(&self, id: &str) -> Reply<PidsResponse> {
        let mut request = PidsRequest::new();
        request.id = id.to_owned();
        self.call("Pids", &request).await
    }

    /// Freezes the container.
    pub async fn pause(&self, id: &str) -> Reply<()> {
        let mut request = PauseRequest::new();
        request.id = id.to_owned();
        self.call::<_, Empty>("Pause", &request).await.map(drop)
    }

    /// Thaws the container.
    pub async fn resume(&self, id: &str) -> Reply<()> {
        let mut request = ResumeRequest::new();
        request.id = id.to_owned();
        self.call::<_, Empty>("Resume", &request).await.map(drop)
    }

    /// Sends a signal to the init or an exec.
    pub async fn kill(&self, id: &str, exec: &str, signal: u32) -> Reply<()> {
        let mut request = KillRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        request.signal = signal;
        self.call::<_, Empty>("Kill", &request).await.map(drop)
    }

    /// Sends a signal to every process of the container.
    pub async fn kill_all(&self, id: &str, signal: u32) -> Reply<()> {
        let mut request = KillRequest::new();
        request.id = id.to_owned();
        request.signal = signal;
        request.all = true;
        self.call::<_, Empty>("Kill", &request).await.map(drop)
    }

    /// Sets the size of the terminal, in characters.
    pub async fn resize_pty(&self, id: &str, exec: &str, width: u32, height: u32) -> Reply<()> {
        let mut request = ResizePtyRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        request.width = width;
        request.height = height;
        self.call::<_, Empty>("ResizePty", &request).await.map(drop)
    }

    /// Lets go of the shim's own writer on stdin.
    pub async fn close_io(&self, id: &str, exec: &str) -> Reply<()> {
        let mut request = CloseIORequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        request.stdin = true;
        self.call::<_, Empty>("CloseIO", &request).await.map(drop)
    }

    /// Asks for a checkpoint into `path`.
    pub async fn checkpoint(&self, id: &str, path: &str) -> Reply<()> {
        let mut request = CheckpointTaskRequest::new();
        request.id = id.to_owned();
        request.path = path.to_owned();
        self.call::<_, Empty>("Checkpoint", &request)
            .await
            .map(drop)
    }

    /// Changes limits; `resources` is the OCI `linux.resources` object.
    pub async fn update(&self, id: &str, resources: &serde_json::Value) -> Reply<()> {
        let mut any = Any::new();
        any.type_url =
            "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".to_owned();
        any.value = resources.to_string().into_bytes();
        let mut request = UpdateTaskRequest::new();
        request.id = id.to_owned();
        request.resources = MessageField::some(any);
        self.call::<_, Empty>("Update", &request).await.map(drop)
    }

    /// Waits for the exit of the init or an exec, as long as it takes.
    pub async fn wait(&self, id: &str, exec: &str) -> Reply<WaitResponse> {
        let mut request = WaitRequest::new();
        request.id = id.to_owned();
        request.exec_id = exec.to_owned();
        self.call_within("Wait", &request, None).await
    }

    /// The cgroup's metrics, as the shim packed them.
    pub async fn stats(&self, id: &str) -> Reply<Any> {
        let mut request = StatsRequest::new();
        request.id = id.to_owned();
        let reply: StatsResponse = self.call("Stats", &request).await?;
        Ok(reply.stats.unwrap_or_default())
    }

    /// The shim's and the task's pid.
    pub async fn connect_task(&self, id: &str) -> Reply<ConnectResponse> {
        let mut request = ConnectRequest::new();
        request.id = id.to_owned();
        self.call("Connect", &request).await
    }

    /// Asks the shim to end if it holds no container.
    pub async fn shutdown(&self, id: &str) -> Reply<()> {
        let mut request = ShutdownRequest::new();
        request.id = id.to_owned();
        self.call::<_, Empty>("Shutdown", &request).await.map(drop)
    }
}
