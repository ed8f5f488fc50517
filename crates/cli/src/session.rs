//! The life of one container, as containerd leads it: the shim's start, Create, Start, Wait, Delete,
//! Shutdown, and our ends of its streams.

mod copy;
mod foreground;
mod interrupts;
mod phases;
mod signals;

pub(crate) use phases::{Ended, Phase};

use std::path::Path;
use std::time::Duration;

use hull_abi::{TRACE_FILE, Trace};
use hull_client::api::CreateTaskRequest;
use hull_client::{Bundle, Events, RpcError, ShimBinary, Spec, Stdio, Task, Version};
use nix::sys::signal::Signal as Number;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::error::{Error, NOT_EXECUTABLE, NOT_FOUND};
use crate::guard::Guard;
use crate::run::Wanted;
use crate::state::{self, RunDir};
use crate::{host, output, terminal};
use phases::Phases;
use signals::Signals;

/// How long a daemon may take to end after Shutdown: it has nothing left to do but to send its last
/// event.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Topic of the event that a container ran out of memory.
const OOM: &str = "/tasks/oom";

/// Runs a container in the foreground until nothing is left of it.
///
/// # Errors
/// When it could not be run. Nothing is left then either, or a line of its own says what.
pub(crate) fn run(wanted: &Wanted) -> Result<Ended, Error> {
    live(wanted, Extent::Whole)
}

/// Creates a container and deletes it again, without starting it.
///
/// # Errors
/// When it could not be created.
pub(crate) fn create_only(wanted: &Wanted) -> Result<Ended, Error> {
    live(wanted, Extent::Create)
}

/// How far a container gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To the end of its program.
    Whole,
    /// To the step before its program.
    Create,
}

fn live(wanted: &Wanted, extent: Extent) -> Result<Ended, Error> {
    let id = match &wanted.name {
        Some(name) => name.clone(),
        None => host::random_name()?,
    };
    // Looked for first: without it there is nothing to clean up.
    host::shim()?;
    let dir = RunDir::make(&id)?;
    let own = wanted.streams.terminal.then(terminal::ours).flatten();
    let mut guard = match Guard::start(dir.id(), own) {
        Ok(guard) => guard,
        Err(error) => {
            dir.remove_files()?;
            return Err(error);
        }
    };
    let ended = lead(wanted, extent, &dir, &mut guard);
    let removed = if ended.is_ok() {
        dir.remove_files()
    } else {
        dir.remove()
    };
    guard.dismiss();
    if let Err(error) = removed {
        output::warn(&error.to_string());
    }
    ended
}

fn lead(wanted: &Wanted, extent: Extent, dir: &RunDir, guard: &mut Guard) -> Result<Ended, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::new("make an event loop", error))?;
    runtime.block_on(async {
        let mut life = Life::begin(wanted, dir, guard).await?;
        let ended = life.lead(extent).await?;
        life.close().await;
        Ok(ended)
    })
}

/// A container and its shim.
struct Life<'a> {
    wanted: &'a Wanted,
    id: String,
    guard: &'a mut Guard,
    signals: Signals,
    events: Events,
    phases: Phases,
    bundle: Bundle,
    stdio: Stdio,
    shim: ShimBinary,
    /// The last signal that is to end us once the container is gone.
    interrupted: Option<Number>,
    /// Why output of the container did not arrive: what hull ends with once the container is gone.
    unread: Option<Error>,
}

impl<'a> Life<'a> {
    /// Makes everything that the shim will need.
    async fn begin(wanted: &'a Wanted, dir: &RunDir, guard: &'a mut Guard) -> Result<Self, Error> {
        let verb = wanted.verb;
        let failed = |error: hull_client::Error| Error::caused(verb, &error);
        let signals = Signals::catch()?;
        make_socket_dir(&state::socket_dir())?;
        let events = Events::listen(&dir.events())
            .await
            .map_err(|error| Error::new(format!("listen on {}", dir.events().display()), error))?;
        let spec = named(wanted, dir.id());
        let bundle = Bundle::make(&dir.bundle(), &spec).map_err(failed)?;
        let stdio = Stdio::make_unread(bundle.path(), "init", wanted.streams).map_err(failed)?;
        Ok(Self {
            wanted,
            id: dir.id().to_owned(),
            guard,
            signals,
            events,
            phases: Phases::default(),
            bundle,
            stdio,
            shim: dir.shim()?,
            interrupted: None,
            unread: None,
        })
    }

    async fn lead(&mut self, extent: Extent) -> Result<Ended, Error> {
        let (task, address) = self.start_shim().await?;
        let created_at = self.create(&task).await?;
        let trace = self.trace();
        let code = match extent {
            Extent::Whole => self.foreground(&task).await?,
            Extent::Create => 0,
        };
        self.phases.begin("delete");
        task.delete(&self.id, "")
            .await
            .map_err(|error| self.failed("delete", &error))?;
        self.phases.begin("shut down");
        self.shut_down(&task, &address).await?;
        if let Some(error) = self.unread.take() {
            return Err(error);
        }
        let phases = self.phases.end();
        let ran_out = std::iter::from_fn(|| self.events.take()).any(|topic| topic == OOM);
        if ran_out {
            output::warn(&format!(
                "{}: out of memory: the kernel killed a process of the container; see --memory",
                self.wanted.verb
            ));
        }
        Ok(Ended {
            code,
            interrupted: self.interrupted,
            phases,
            created_at,
            trace,
        })
    }

    /// Starts the daemon and connects to it.
    async fn start_shim(&mut self) -> Result<(Task, String), Error> {
        self.phases.begin("start the shim");
        let address = self
            .shim
            .bootstrap(&self.id, self.bundle.path(), &state::socket_dir())
            .map_err(|error| Error::caused(self.wanted.verb, &error))?;
        self.phases.begin("connect");
        let task = Task::connect(&address, state::NAMESPACE, Version::V2)
            .await
            .map_err(|error| self.failed("connect to the shim", &error))?;
        Ok((task, address))
    }

    /// Create; gives the moment at which it was asked for.
    async fn create(&mut self, task: &Task) -> Result<u64, Error> {
        self.phases.begin("prepare the root");
        let mut request = CreateTaskRequest::new();
        request.id.clone_from(&self.id);
        request.bundle = self.bundle.path().display().to_string();
        let place = self.bundle.path().parent().unwrap_or(self.bundle.path());
        request.rootfs.push(self.wanted.rootfs.prepare(place)?);
        request.terminal = self.stdio.streams().terminal;
        request.stdin = self.stdio.stdin_path().display().to_string();
        request.stdout = self.stdio.stdout_path().display().to_string();
        request.stderr = self.stdio.stderr_path().display().to_string();
        let created_at = self.phases.begin("create");
        // A compilation can take a while; whoever is tired of it need not wait.
        tokio::select! {
            created = task.create(&request) => {
                created.map_err(|error| refused(self.wanted.verb, &error))?;
            }
            signal = self.signals.deadly() => return Err(Error::signalled(signal as i32)),
        }
        Ok(created_at)
    }

    /// The shim's own record, if it was asked for one.
    fn trace(&self) -> Option<Trace> {
        let text = std::fs::read(self.bundle.path().join(TRACE_FILE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Shutdown, and the end of the daemon, which first sends its last event.
    async fn shut_down(&self, task: &Task, address: &str) -> Result<(), Error> {
        let path = address.trim_start_matches("unix://");
        let connection = UnixStream::connect(path).await;
        match task.shutdown(&self.id).await {
            // It may end before its answer is read.
            Ok(()) | Err(RpcError::Closed) => {}
            Err(error) => return Err(self.failed("shut down the shim", &error)),
        }
        if let Ok(mut connection) = connection {
            // Nothing is ever sent to us: the first thing that comes is the end.
            let mut byte = [0];
            let end = timeout(SHUTDOWN_LIMIT, connection.read(&mut byte)).await;
            if end.is_err() {
                return Err(Error::new("shut down the shim", "it does not end"));
            }
        }
        Ok(())
    }

    async fn close(self) {
        self.events.close().await;
    }

    fn failed(&self, what: &str, error: &RpcError) -> Error {
        let what = format!("{}: {what}", self.wanted.verb);
        match error {
            RpcError::Closed => Error::new(what, "the shim ended unexpectedly"),
            RpcError::Status { .. } | RpcError::Deadline(_) | RpcError::Transport(_) => {
                Error::new(what, message(error))
            }
        }
    }
}

/// The config with what depends on the container's name.
fn named(wanted: &Wanted, id: &str) -> Spec {
    // A host name has at most 64 bytes (uname(2)); an id is ASCII.
    let short = id.get(..64).unwrap_or(id);
    let hostname = wanted.hostname.as_deref().unwrap_or(short);
    wanted
        .spec
        .clone()
        .set("/hostname", hostname)
        .cgroup(&format!("/{}-{id}", state::NAMESPACE))
}

/// The directory of sockets; the shim's `start` may have made it.
fn make_socket_dir(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::new(format!("make directory {}", path.display()), error))
}

fn message(error: &RpcError) -> String {
    match error {
        RpcError::Status { message, .. } => message.clone(),
        RpcError::Closed | RpcError::Deadline(_) | RpcError::Transport(_) => error.to_string(),
    }
}

/// A refused Create or Start: whose fault it is decides the exit code, as with docker.
fn refused(verb: &str, error: &RpcError) -> Error {
    let text = message(error);
    let code = exit_code(&text);
    let refused = Error::new(verb, text);
    match code {
        Some(code) => refused.with_code(code),
        None => refused,
    }
}

/// The shim says `exec: "PROGRAM": CAUSE` of a program that cannot be run, and `artifact: compile
/// "FILE": CAUSE` or `program: run "FILE": CAUSE` of a module.
fn exit_code(text: &str) -> Option<u8> {
    let of_modules = ["artifact: compile \"", "program: run \""];
    if of_modules.iter().any(|start| text.starts_with(start)) {
        return Some(NOT_EXECUTABLE);
    }
    let (_, cause) = text.split_once("exec: \"")?;
    let absent = ["not found in $PATH", "no such file or directory"];
    let cause = cause.to_lowercase();
    let is_absent = absent
        .iter()
        .any(|text| cause.contains(&text.to_lowercase()));
    Some(if is_absent { NOT_FOUND } else { NOT_EXECUTABLE })
}
