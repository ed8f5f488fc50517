//! One container of a peer, and the calls that containerd makes for it.

use std::fs;
use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{CreateTaskRequest, ExecProcessRequest, Mount};
use hull_client::{Any, Bundle, RpcError, Spec, Stdio, Streams, Task};
use protobuf::MessageField;
use tokio::net::unix::pipe;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::Result;
use super::bed::Bed;
use super::peer::Peer;

/// SIGKILL.
const KILL: u32 = 9;

/// A client's runtime: one thread, so that no hand-over between threads is measured.
pub(super) fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A bundle, its FIFOs and its snapshot, ready for Create.
#[derive(Debug)]
pub(super) struct Cell<'bed> {
    pub(super) id: String,
    pub(super) bundle: Bundle,
    pub(super) stdio: Stdio,
    pub(super) request: CreateTaskRequest,
    spec: Spec,
    bed: &'bed Bed,
    peer: &'bed Peer,
}

/// What a client waited for the calls of one process, init or exec.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Create or Exec.
    pub(super) create: Duration,
    /// Start.
    pub(super) start: Duration,
    /// From Start's answer to Wait's.
    pub(super) exit: Duration,
    /// Delete.
    pub(super) delete: Duration,
}

impl Times {
    pub(super) fn sum(self) -> Duration {
        self.create + self.start + self.exit + self.delete
    }
}

impl<'bed> Cell<'bed> {
    /// A container with ctr's default spec that runs `args` with FIFOs for its output.
    pub(super) fn make(bed: &'bed Bed, peer: &'bed Peer, args: &[&str]) -> Result<Self> {
        Self::with_spec(bed, peer, Spec::new(args.iter().copied()))
    }

    /// The same with this spec.
    pub(super) fn with_spec(bed: &'bed Bed, peer: &'bed Peer, spec: Spec) -> Result<Self> {
        let id = bed.id();
        let spec = spec.cgroup(&format!("{}/{id}", bed.cgroup(peer)));
        let bundle = Bundle::make(&bed.dir().join("bundles").join(&id), &spec)?;
        let stdio = Stdio::make(&bed.dir().join("stdio"), &id, Streams::OUTPUT)?;
        let snapshot = bed.dir().join("snapshots").join(&id);
        let (upper, work) = (snapshot.join("fs"), snapshot.join("work"));
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let mut mount = Mount::new();
        mount.type_ = "overlay".to_owned();
        mount.source = "overlay".to_owned();
        mount.options = vec![
            "index=off".to_owned(),
            format!("workdir={}", work.display()),
            format!("upperdir={}", upper.display()),
            format!("lowerdir={}", bed.image().rootfs().display()),
        ];
        let mut request = CreateTaskRequest::new();
        request.id.clone_from(&id);
        request.bundle = bundle.path().display().to_string();
        request.rootfs.push(mount);
        request.stdout = stdio.stdout_path().display().to_string();
        request.stderr = stdio.stderr_path().display().to_string();
        Ok(Self {
            id,
            bundle,
            stdio,
            request,
            spec,
            bed,
            peer,
        })
    }

    /// Runs `start`; gives the address and its time.
    pub(super) fn start_shim(&self) -> Result<(String, Duration)> {
        self.bed.start(self.peer, &self.id, self.bundle.path())
    }

    /// A client of the shim at this address.
    pub(super) async fn connect(&self, address: &str) -> Result<Task> {
        Ok(Task::connect(address, self.bed.tag(), self.peer.version).await?)
    }

    /// Create, Start, exit, Delete, with Wait under way before Start, as containerd has it.
    pub(super) async fn run(&self, task: &Task) -> Result<Times> {
        let reading = [self.stdio.stdout_path(), self.stdio.stderr_path()].map(read_all);
        let create = self.create(task).await?;
        let times = self.run_process(task, "", create).await;
        for reader in reading {
            reader?.abort();
        }
        times
    }

    /// Create; gives its time.
    pub(super) async fn create(&self, task: &Task) -> Result<Duration> {
        let (created, took) = timed(task.create(&self.request)).await;
        created.map_err(|error| self.blame("Create", &error))?;
        Ok(took)
    }

    /// Exec, Start, exit, Delete of an exec of `true`.
    pub(super) async fn exec(&self, task: &Task, exec: &str) -> Result<Times> {
        let mut any = Any::new();
        any.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
        any.value = self.spec.process(["true"]).to_string().into_bytes();
        let stdio = Stdio::make(
            &self.bed.dir().join("stdio"),
            &format!("{}-{exec}", self.id),
            Streams::OUTPUT,
        )?;
        let mut request = ExecProcessRequest::new();
        request.id.clone_from(&self.id);
        request.exec_id = exec.to_owned();
        request.stdout = stdio.stdout_path().display().to_string();
        request.stderr = stdio.stderr_path().display().to_string();
        request.spec = MessageField::some(any);
        let began = Instant::now();
        task.exec(&request)
            .await
            .map_err(|error| self.blame("Exec", &error))?;
        self.run_process(task, exec, began.elapsed()).await
    }

    async fn run_process(&self, task: &Task, exec: &str, create: Duration) -> Result<Times> {
        let waiting = {
            let (task, id, exec) = (task.clone(), self.id.clone(), exec.to_owned());
            tokio::spawn(async move { (task.wait(&id, &exec).await, Instant::now()) })
        };
        // Let the request go out.
        tokio::task::yield_now().await;
        let (started, start) = timed(task.start(&self.id, exec)).await;
        started.map_err(|error| self.blame("Start", &error))?;
        let started = Instant::now();
        let (exit, ended) = waiting.await?;
        let exit = exit.map_err(|error| self.blame("Wait", &error))?;
        let (deleted, delete) = timed(task.delete(&self.id, exec)).await;
        deleted.map_err(|error| self.blame("Delete", &error))?;
        if exit.exit_status != 0 {
            return Err(format!("{}: exit status {}", self.peer.name, exit.exit_status).into());
        }
        Ok(Times {
            create,
            start,
            exit: ended.saturating_duration_since(started),
            delete,
        })
    }

    /// Create and Start of a container that stays.
    pub(super) async fn launch(&self, task: &Task) -> Result<u32> {
        self.create(task).await?;
        Ok(task
            .start(&self.id, "")
            .await
            .map_err(|error| self.blame("Start", &error))?)
    }

    /// Kills the init and deletes it.
    pub(super) async fn end(&self, task: &Task) -> Result<()> {
        task.kill(&self.id, "", KILL).await?;
        task.wait(&self.id, "").await?;
        task.delete(&self.id, "").await?;
        Ok(())
    }

    /// What containerd does after Delete: Shutdown, the `delete` action, away with the bundle.
    /// Gives the time of the action.
    pub(super) async fn retire(self, task: &Task) -> Result<Duration> {
        // The shim may end before its answer is out.
        drop(task.shutdown(&self.id).await);
        let took = self.bed.delete(self.peer, &self.id, self.bundle.path())?;
        self.remove()?;
        Ok(took)
    }

    /// Removes bundle and snapshot.
    pub(super) fn remove(self) -> Result<()> {
        self.bundle.remove()?;
        fs::remove_dir_all(self.bed.dir().join("snapshots").join(&self.id))?;
        Ok(())
    }

    fn blame(&self, call: &str, error: &RpcError) -> String {
        format!(
            "{}: {call} of {}: {error}; log: {}",
            self.peer.name,
            self.id,
            self.bundle.log()
        )
    }
}

/// Reads a stream as it comes, as containerd's clients do: a shim may let the end of a process wait for
/// a client that has not begun to read.
fn read_all(fifo: &Path) -> Result<JoinHandle<()>> {
    let pipe = pipe::OpenOptions::new().open_receiver(fifo)?;
    Ok(tokio::spawn(async move {
        let mut chunk = [0_u8; 4096];
        while pipe.readable().await.is_ok() {
            match pipe.try_read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }))
}

/// Awaits; gives the outcome and the time it took.
pub(super) async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let began = Instant::now();
    let outcome = future.await;
    (outcome, began.elapsed())
}
