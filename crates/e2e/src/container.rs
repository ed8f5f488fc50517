//! A container of a [`Lab`]: one bundle, its shim and the calls that containerd would make.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use containerd_shim_protos::api::{
    CreateTaskRequest, DeleteResponse, ExecProcessRequest, Mount, StateResponse, Status,
};
use hull_client::{Any, Bundle, RpcError, Spec, Stdio, Streams, Task, Version};
use protobuf::MessageField;
use serde_json::Value;

use crate::lab::Lab;
use crate::time::{block, limit, look_until, within_limit};
use crate::{procfs, target};

/// SIGKILL.
const KILL: u32 = 9;
/// How long a daemon may take to end after Shutdown.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// What a container did from start to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit status.
    pub status: u32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// A container whose shim runs. Dropping it ends the container as containerd would: kill, Delete,
/// Shutdown, the `delete` action, and away with the bundle.
#[derive(Debug)]
pub struct Container<'lab> {
    /// Its id.
    pub id: String,
    /// The client of its shim.
    pub task: Task,
    /// Its bundle.
    pub bundle: Bundle,
    /// The FIFOs of its init.
    pub stdio: Stdio,
    /// The spec in the bundle.
    pub spec: Spec,
    /// The address that `start` printed.
    pub address: String,
    lab: &'lab Lab,
    shim_pid: u32,
}

impl<'lab> Container<'lab> {
    /// Makes the bundle, runs `start` and connects.
    pub(crate) fn start_shim(lab: &'lab Lab, id: &str, spec: &Spec, streams: Streams) -> Self {
        let spec = if spec.json().pointer("/linux/cgroupsPath").is_some() {
            spec.clone()
        } else {
            spec.clone().cgroup(&format!("{}/{id}", lab.cgroup()))
        };
        let bundle = Bundle::make(&lab.dir().join("bundles").join(id), &spec).unwrap();
        let stdio = Stdio::make(&lab.dir().join("stdio"), id, streams).unwrap();
        let address = lab
            .binary()
            .start(id, bundle.path(), &[])
            .unwrap_or_else(|error| panic!("{error}\nlog: {}", bundle.log()));
        let connected = block(async {
            let task = Task::connect(&address, lab.tag(), Version::V2).await?;
            let shim_pid = task.connect_task(id).await?.shim_pid;
            Ok::<_, RpcError>((task, shim_pid))
        });
        let (task, shim_pid) =
            connected.unwrap_or_else(|error| panic!("{address}: {error}\n{}", bundle.log()));
        lab.begins(shim_pid);
        Self {
            id: id.to_owned(),
            task,
            bundle,
            stdio,
            spec,
            address,
            lab,
            shim_pid,
        }
    }

    /// The daemon's pid.
    pub fn shim_pid(&self) -> u32 {
        self.shim_pid
    }

    /// The container's cgroup, from the root of each hierarchy.
    pub fn cgroup(&self) -> String {
        self.spec.json()["linux"]["cgroupsPath"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The upper directory of its overlay: what is put there before Create is the image's, and
    /// what it writes appears there.
    pub fn upper(&self) -> PathBuf {
        let upper = self.lab.dir().join("snapshots").join(&self.id).join("fs");
        fs::create_dir_all(&upper).unwrap();
        upper
    }

    /// The request that containerd would send: the image as an overlay, and the FIFOs.
    pub fn create_request(&self) -> CreateTaskRequest {
        let upper = self.upper();
        let work = upper.with_file_name("work");
        fs::create_dir_all(&work).unwrap();
        let mut mount = Mount::new();
        mount.type_ = "overlay".to_owned();
        mount.source = "overlay".to_owned();
        mount.options = vec![
            "index=off".to_owned(),
            format!("workdir={}", work.display()),
            format!("upperdir={}", upper.display()),
            format!("lowerdir={}", self.lab.image().rootfs().display()),
        ];
        let mut request = CreateTaskRequest::new();
        request.id.clone_from(&self.id);
        request.bundle = self.bundle.path().display().to_string();
        request.rootfs.push(mount);
        request.terminal = self.stdio.streams().terminal;
        request.stdin = self.stdio.stdin_path().display().to_string();
        request.stdout = self.stdio.stdout_path().display().to_string();
        request.stderr = self.stdio.stderr_path().display().to_string();
        request
    }

    /// Replaces the bundle's config.json by this spec in the same cgroup, for the next Create.
    pub fn reconfigure(&self, spec: &Spec) {
        let spec = spec.clone().cgroup(&self.cgroup());
        let path = self.bundle.path().join("config.json");
        std::fs::write(path, spec.json().to_string()).unwrap();
    }

    /// Creates; gives the init's pid.
    pub fn try_create(&self) -> Result<u32, RpcError> {
        block(self.task.create(&self.create_request()))
    }

    /// Creates, or fails the test.
    pub fn create(&self) -> u32 {
        self.try_create()
            .unwrap_or_else(|error| panic!("create: {error}\n{}", self.bundle.log()))
    }

    /// Starts the init, or fails the test.
    pub fn start(&self) -> u32 {
        self.try_start("")
            .unwrap_or_else(|error| panic!("start: {error}\n{}", self.bundle.log()))
    }

    /// Creates and starts; gives the init's pid.
    pub fn run(&self) -> u32 {
        self.create();
        self.start()
    }

    /// Starts the init (empty `exec`) or an exec.
    pub fn try_start(&self, exec: &str) -> Result<u32, RpcError> {
        block(self.task.start(&self.id, exec))
    }

    /// Registers an exec of `args` with FIFOs for its output. Who drops them is a client that went
    /// away.
    #[must_use]
    pub fn add_exec<const N: usize>(&self, exec: &str, args: [&str; N]) -> Stdio {
        self.add_exec_with(exec, &self.spec.process(args), Streams::OUTPUT)
    }

    /// Registers an exec of any process with any streams.
    #[must_use]
    pub fn add_exec_with(&self, exec: &str, process: &Value, streams: Streams) -> Stdio {
        let (stdio, result) = self.try_add_exec(exec, process, streams);
        result.unwrap_or_else(|error| panic!("exec {exec}: {error}\n{}", self.bundle.log()));
        stdio
    }

    /// Registers an exec; gives its FIFOs and the shim's answer.
    pub fn try_add_exec(
        &self,
        exec: &str,
        process: &Value,
        streams: Streams,
    ) -> (Stdio, Result<(), RpcError>) {
        let name = format!("{}-{exec}", self.lab.id(&self.id));
        let stdio = Stdio::make(&self.lab.dir().join("stdio"), &name, streams).unwrap();
        let mut any = Any::new();
        any.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
        any.value = process.to_string().into_bytes();
        let mut request = ExecProcessRequest::new();
        request.id.clone_from(&self.id);
        request.exec_id = exec.to_owned();
        request.terminal = streams.terminal;
        request.stdin = stdio.stdin_path().display().to_string();
        request.stdout = stdio.stdout_path().display().to_string();
        request.stderr = stdio.stderr_path().display().to_string();
        request.spec = MessageField::some(any);
        let result = block(self.task.exec(&request));
        (stdio, result)
    }

    /// Runs an exec from start to deletion.
    pub fn exec<const N: usize>(&self, exec: &str, args: [&str; N]) -> Ran {
        self.exec_process(exec, &self.spec.process(args))
    }

    /// Runs an exec of any process from start to deletion.
    pub fn exec_process(&self, exec: &str, process: &Value) -> Ran {
        let mut stdio = self.add_exec_with(exec, process, Streams::OUTPUT);
        self.try_start(exec)
            .unwrap_or_else(|error| panic!("start {exec}: {error}\n{}", self.bundle.log()));
        let (stdout, stderr) = read_output(&mut stdio);
        let status = self.wait_exec(exec);
        block(self.task.delete(&self.id, exec)).unwrap();
        Ran {
            status,
            stdout,
            stderr,
        }
    }

    /// Creates, starts, reads all output and waits for the end of the init.
    pub fn run_to_end(&mut self) -> Ran {
        self.run();
        let (stdout, stderr) = read_output(&mut self.stdio);
        Ran {
            status: self.wait(),
            stdout,
            stderr,
        }
    }

    /// What the init writes to stdout up to and including `mark`, or fails the test.
    pub fn read_until(&mut self, mark: &str) -> String {
        let out = self.stdio.out.as_mut().unwrap();
        let bytes = out
            .read_until(mark.as_bytes(), limit())
            .unwrap_or_else(|error| panic!("waiting for {mark:?}: {error}\n{}", self.bundle.log()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The exit status of the init, once it has one.
    pub fn wait(&self) -> u32 {
        self.wait_exec("")
    }

    /// The exit status of an exec, once it has one.
    pub fn wait_exec(&self, exec: &str) -> u32 {
        within_limit("Wait", self.task.wait(&self.id, exec))
            .unwrap()
            .exit_status
    }

    /// The state of the init.
    pub fn state(&self) -> Result<StateResponse, RpcError> {
        block(self.task.state(&self.id, ""))
    }

    /// The status of the init, or fails the test.
    pub fn status(&self) -> Status {
        self.state().unwrap().status()
    }

    /// Sends a signal to the init.
    pub fn kill(&self, signal: u32) -> Result<(), RpcError> {
        block(self.task.kill(&self.id, "", signal))
    }

    /// Deletes the init.
    pub fn delete(&self) -> Result<DeleteResponse, RpcError> {
        block(self.task.delete(&self.id, ""))
    }

    /// Kills the init and waits for its end.
    pub fn kill_and_wait(&self) -> u32 {
        self.kill(KILL).unwrap();
        self.wait()
    }

    /// Ends whatever there is, as containerd would. Gives what went wrong.
    fn dispose(&self) -> Result<(), String> {
        self.lab
            .expect_gone(self.shim_pid, self.lab.socket(&self.id));
        let there = match self.state() {
            Ok(state) => Some(state.status()),
            Err(RpcError::Status { .. } | RpcError::Closed) => None,
            Err(error) => return Err(format!("State: {error}")),
        };
        if let Some(status) = there {
            if status != Status::STOPPED {
                block(self.task.kill_all(&self.id, KILL))
                    .map_err(|error| format!("Kill: {error}"))?;
                block(async { tokio::time::timeout(limit(), self.task.wait(&self.id, "")).await })
                    .map_err(|_elapsed| "Wait: no exit after SIGKILL".to_owned())?
                    .map_err(|error| format!("Wait: {error}"))?;
            }
            self.delete().map_err(|error| format!("Delete: {error}"))?;
        }
        let open = self.lab.leaks_of(self.shim_pid);
        if !open.is_empty() {
            return Err(format!("the daemon still has open: {}", open.join(", ")));
        }
        // A shim with other containers stays, and one that is gone cannot answer.
        drop(block(self.task.shutdown(&self.id)));
        match self.lab.binary().delete(&self.id, self.bundle.path()) {
            Ok(_) => {}
            // The runc shim fails where there was no Create: containerd issue 11071.
            Err(_) if !target::is_hull() => {}
            Err(error) => return Err(format!("delete action: {error}")),
        }
        self.bundle.remove().map_err(|error| {
            format!(
                "{error}: {:?}",
                std::error::Error::source(&error).map(ToString::to_string)
            )
        })
    }

    /// Waits until the daemon is gone: after Shutdown, or after a kill.
    pub fn wait_for_daemon(&self) {
        look_until(SHUTDOWN_LIMIT, || {
            procfs::has_ended(self.shim_pid).then_some(())
        })
        .unwrap_or_else(|| panic!("daemon {} is still there", self.shim_pid));
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        if let Err(problem) = self.dispose() {
            self.lab.problem(format!(
                "{}: {problem}\nlog: {}",
                self.id,
                self.bundle.log()
            ));
        }
        if std::thread::panicking() {
            eprintln!("log of {}: {}", self.id, self.bundle.log());
        }
    }
}

/// Reads stdout and stderr to their ends. Both may be long: reading one after the other could
/// block the process on the other, but only past 128 KiB of stderr.
pub fn read_output(stdio: &mut Stdio) -> (String, String) {
    let read = |reader: Option<&mut hull_client::FifoReader>| {
        reader.map_or_else(String::new, |reader| {
            String::from_utf8_lossy(&reader.read_to_end(limit()).unwrap()).into_owned()
        })
    };
    (read(stdio.out.as_mut()), read(stdio.err.as_mut()))
}
