//! A sandbox of a [`Lab`]: the harness plays containerd with `sandboxer = "shim"`.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, PingRequest, PingResponse, SandboxMetricsRequest,
    SandboxMetricsResponse, SandboxStatusRequest, SandboxStatusResponse, ShutdownSandboxRequest,
    ShutdownSandboxResponse, StartSandboxRequest, StartSandboxResponse, StopSandboxRequest,
    StopSandboxResponse, WaitSandboxRequest, WaitSandboxResponse,
};
use hull_client::{Any, RpcError, Spec, Task, Version};
use hull_proto::cri::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig,
};
use protobuf::{EnumOrUnknown, Message, MessageField};

use crate::lab::Lab;
use crate::procfs;
use crate::time::{block, limit, look_until};

/// The service.
pub const SERVICE: &str = "containerd.runtime.sandbox.v1.Sandbox";
/// Where containerd keeps the bundles of sandboxes, below its state directory.
const CONTROLLER: &str = "io.containerd.sandbox.controller.v1.shim";
/// Where its CRI plugin keeps what it knows of pods.
const CRI: &str = "io.containerd.grpc.v1.cri";
/// How long a daemon may take to end after ShutdownSandbox.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// A sandbox whose shim runs. Dropping it ends it as containerd would: ShutdownSandbox, the `delete`
/// action, and away with the bundle.
#[derive(Debug)]
pub struct Sandbox<'lab> {
    /// Its id.
    pub id: String,
    /// The client of its shim.
    pub task: Task,
    lab: &'lab Lab,
    bundle: PathBuf,
    shim_pid: u32,
}

/// Which of a pod's namespaces are the host's, or else the pod's. The PID namespace is each container's
/// own, as the kubelet has it.
pub fn namespaces(config: &mut PodSandboxConfig) -> &mut NamespaceOption {
    let linux = config.linux.mut_or_insert_default();
    let security = linux.security_context.mut_or_insert_default();
    security.namespace_options.mut_or_insert_default()
}

impl<'lab> Sandbox<'lab> {
    /// Makes the bundle, which has no config.json, runs `start` and connects.
    pub fn start_shim(lab: &'lab Lab) -> Self {
        let id = lab.id("pod");
        let below = |base: &str| {
            let dir = lab.dir().join(base).join(CONTROLLER).join(lab.tag());
            dir.join(&id)
        };
        let (bundle, work) = (below("state"), below("root"));
        for dir in [&bundle, &work] {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(dir).unwrap();
        }
        symlink(&work, bundle.join("work")).unwrap();
        fs::create_dir(bundle.join("rootfs")).unwrap();
        let address = lab.binary().start(&id, &bundle, &[]).unwrap();
        let connected = block(async {
            let task = Task::connect(&address, lab.tag(), Version::V2).await?;
            let shim_pid = task.connect_task(&id).await?.shim_pid;
            Ok::<_, RpcError>((task, shim_pid))
        });
        let (task, shim_pid) = connected.unwrap();
        Self {
            id,
            task,
            lab,
            bundle,
            shim_pid,
        }
    }

    /// The daemon's pid.
    pub fn shim_pid(&self) -> u32 {
        self.shim_pid
    }

    /// Its bundle.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// The holder's cgroup, from the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        format!("{}/{}", self.lab.cgroup(), self.id)
    }

    /// Makes believe that containerd has a CRI plugin; gives its directories of this pod: the files and
    /// the state.
    pub fn with_cri(&self) -> (PathBuf, PathBuf) {
        let pod = |base: &str| {
            let plugin = self.lab.dir().join(base).join(CRI);
            plugin.join("sandboxes").join(&self.id)
        };
        fs::create_dir_all(self.lab.dir().join("state").join(CRI)).unwrap();
        (pod("root"), pod("state"))
    }

    /// What the kubelet asks for of a pod with its own network.
    pub fn config(&self) -> PodSandboxConfig {
        let mut config = PodSandboxConfig::new();
        config.hostname = "the-pod".to_owned();
        let mut linux = LinuxPodSandboxConfig::new();
        linux.cgroup_parent = self.lab.cgroup();
        linux.security_context = MessageField::some(LinuxSandboxSecurityContext::new());
        config.linux = MessageField::some(linux);
        namespaces(&mut config).pid = EnumOrUnknown::new(NamespaceMode::CONTAINER);
        config
    }

    /// The request that containerd would send.
    pub fn create_request(&self, config: &PodSandboxConfig) -> CreateSandboxRequest {
        let mut options = Any::new();
        options.type_url = "runtime.v1.PodSandboxConfig".to_owned();
        options.value = config.write_to_bytes().unwrap();
        let mut request = CreateSandboxRequest::new();
        request.sandbox_id.clone_from(&self.id);
        request.bundle_path = self.bundle.display().to_string();
        request.options = MessageField::some(options);
        request
    }

    /// Calls any method.
    ///
    /// # Errors
    /// What the shim answered. So for every method below.
    pub fn call<R: Message>(&self, method: &str, request: &impl Message) -> Result<R, RpcError> {
        let request = request.write_to_bytes().unwrap();
        let reply = block(self.task.raw(SERVICE, method, request, Some(limit())))?;
        Ok(R::parse_from_bytes(&reply).unwrap())
    }

    /// CreateSandbox.
    pub fn try_create(&self, request: &CreateSandboxRequest) -> Result<(), RpcError> {
        self.call::<CreateSandboxResponse>("CreateSandbox", request)
            .map(drop)
    }

    /// StartSandbox; gives the holder's pid.
    pub fn try_start(&self) -> Result<u32, RpcError> {
        let mut request = StartSandboxRequest::new();
        request.sandbox_id.clone_from(&self.id);
        let started: StartSandboxResponse = self.call("StartSandbox", &request)?;
        assert!(started.created_at.seconds > 0, "{started:?}");
        Ok(started.pid)
    }

    /// Creates and starts; gives the holder's pid.
    pub fn run(&self, config: &PodSandboxConfig) -> u32 {
        self.try_create(&self.create_request(config)).unwrap();
        self.try_start().unwrap()
    }

    /// SandboxStatus.
    pub fn status(&self) -> Result<SandboxStatusResponse, RpcError> {
        let mut request = SandboxStatusRequest::new();
        request.sandbox_id.clone_from(&self.id);
        request.verbose = true;
        self.call("SandboxStatus", &request)
    }

    /// PingSandbox.
    pub fn ping(&self) -> Result<(), RpcError> {
        let mut request = PingRequest::new();
        request.sandbox_id.clone_from(&self.id);
        self.call::<PingResponse>("PingSandbox", &request).map(drop)
    }

    /// SandboxMetrics.
    pub fn metrics(&self) -> Result<SandboxMetricsResponse, RpcError> {
        let mut request = SandboxMetricsRequest::new();
        request.sandbox_id.clone_from(&self.id);
        self.call("SandboxMetrics", &request)
    }

    /// WaitSandbox.
    pub fn wait(&self) -> Result<WaitSandboxResponse, RpcError> {
        let mut request = WaitSandboxRequest::new();
        request.sandbox_id.clone_from(&self.id);
        self.call("WaitSandbox", &request)
    }

    /// StopSandbox.
    pub fn stop(&self) -> Result<(), RpcError> {
        let mut request = StopSandboxRequest::new();
        request.sandbox_id.clone_from(&self.id);
        self.call::<StopSandboxResponse>("StopSandbox", &request)
            .map(drop)
    }

    /// ShutdownSandbox.
    pub fn shutdown(&self) -> Result<(), RpcError> {
        let mut request = ShutdownSandboxRequest::new();
        request.sandbox_id.clone_from(&self.id);
        self.call::<ShutdownSandboxResponse>("ShutdownSandbox", &request)
            .map(drop)
    }

    /// The config of a container of this pod, as CRI makes it: these kinds of namespace by the holder's
    /// pid.
    pub fn member<const N: usize>(
        &self,
        holder: u32,
        shared: &[(&str, &str)],
        args: [&str; N],
    ) -> Spec {
        let spec = Spec::new(args).annotation("io.kubernetes.cri.sandbox-id", &self.id);
        shared.iter().fold(spec, |spec, (kind, file)| {
            let path = PathBuf::from(format!("/proc/{holder}/ns/{file}"));
            spec.namespace(kind, Some(&path))
        })
    }

    /// Waits until the daemon is gone.
    pub fn wait_for_daemon(&self) {
        look_until(SHUTDOWN_LIMIT, || {
            procfs::has_ended(self.shim_pid).then_some(())
        })
        .unwrap_or_else(|| panic!("daemon {} is still there", self.shim_pid));
    }

    fn dispose(&self) -> Result<(), String> {
        self.lab
            .expect_gone(self.shim_pid, self.lab.socket(&self.id));
        // One that is gone cannot answer.
        drop(self.shutdown());
        self.lab
            .binary()
            .delete(&self.id, &self.bundle)
            .map_err(|error| format!("delete action: {error}"))?;
        let rootfs = self.bundle.join("rootfs");
        fs::remove_dir(&rootfs).map_err(|error| format!("remove {rootfs:?}: {error}"))?;
        let left: Vec<_> = ["root", "state"]
            .map(|base| self.lab.dir().join(base).join(CRI).join("sandboxes"))
            .iter()
            .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|path| path.ends_with(&self.id))
            .collect();
        if !left.is_empty() {
            return Err(format!("left {left:?}"));
        }
        fs::remove_dir_all(&self.bundle).map_err(|error| error.to_string())
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        if let Err(problem) = self.dispose() {
            self.lab.problem(format!("{}: {problem}", self.id));
        }
    }
}
