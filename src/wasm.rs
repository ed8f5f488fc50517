//! Wasm on the daemon's side: which runner and which compiled artifact a process gets.
//!
//! A process on its way into a container finds out that its program is a Wasm file and asks
//! (`hull_abi::FromInit::Wasm`). From then on only digests and descriptors move: the artifact is looked
//! up by the digest of the module, made first if it is not there, and handed over together with the
//! runner's binary and its config. A native container never comes here.

mod compile;
mod guest;
mod jail;

use crate::daemon::Shared;
use crate::error::Error;
use crate::launch::Place;
use hull_abi::{FromInit, HostJob, Plan, Process, Step, ToInit, WasmJob};
use hull_artifact::{CompilerIdentity, EngineId, Found, Key, ModuleDigest, Store};
use hull_launcher::client::{ChildProcess, SyncSocket};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

pub(crate) use jail::cgroups_path;

/// How long looking at the store and sealing two binaries may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// How long a process that is gone may leave its last words unread.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where the binaries and the store are, and what has been opened of them.
#[derive(Debug)]
pub(crate) struct Wasm {
    /// The directory of the shim's own binary, as `start` saw it.
    siblings: Option<PathBuf>,
    store: PathBuf,
    tools: OnceCell<Tools>,
    /// One compilation at a time: each may use as much as its limits allow.
    turn: Mutex<()>,
}

/// What running Wasm takes. Opened once, so that runner, compiler and engine id stay those of one
/// version while the files on disk are replaced.
#[derive(Debug)]
struct Tools {
    runner: OwnedFd,
    compiler: OwnedFd,
    /// A read-only view, of the directory that was there at first: should it be replaced, nothing is
    /// found here any more and each start asks a job.
    store: Store,
    engine: EngineId,
}

/// The process that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guest<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) place: &'a Place,
    pub(crate) process: &'a Process,
    pub(crate) child: &'a ChildProcess,
}

/// What a process on its way has asked for so far.
pub(crate) struct Asking<'a> {
    shared: &'a Shared,
    guest: Guest<'a>,
    module: Option<Module>,
}

/// The Wasm file that it found.
#[derive(Debug)]
struct Module {
    /// Its path in the container.
    program: String,
    digest: ModuleDigest,
    /// The user's home directory, where the environment names none.
    home: Option<String>,
    file: OwnedFd,
}

/// One module for one container, and the means.
#[derive(Clone, Copy)]
struct Order<'a> {
    shared: &'a Shared,
    tools: &'a Tools,
    client: Client<'a>,
    module: &'a Module,
}

/// On whose behalf the compiler runs.
#[derive(Clone, Copy)]
struct Client<'a> {
    place: &'a Place,
    child: &'a ChildProcess,
}

// === impl Asking ===

impl<'a> Asking<'a> {
    pub(crate) fn new(shared: &'a Shared, guest: Guest<'a>) -> Self {
        Self {
            shared,
            guest,
            module: None,
        }
    }

    /// The process that asks.
    pub(crate) fn guest(&self) -> Guest<'a> {
        self.guest
    }

    /// Answers [`FromInit::Wasm`] and [`FromInit::BadArtifact`]: gives the process what it takes to
    /// run the module. Other words mean nothing here.
    ///
    /// # Errors
    /// What is wrong with the module, its compilation, or the host.
    pub(crate) async fn answer(
        &mut self,
        word: FromInit,
        mut fds: Vec<OwnedFd>,
        sync: &SyncSocket,
    ) -> Result<(), Error> {
        let mut flaw = None;
        if let FromInit::Wasm {
            program,
            digest,
            home,
        } = word
        {
            let lost = || Error::Wasm("the module's descriptor was lost".to_owned());
            self.module = Some(Module {
                program,
                digest: ModuleDigest::from_bytes(digest),
                home,
                file: fds.pop().ok_or_else(lost)?,
            });
        } else if let FromInit::BadArtifact { flaw: found } = word {
            flaw = Some(found);
        } else {
            return Ok(());
        }
        let unasked = || Error::Wasm("a process answers out of order".to_owned());
        let module = self.module.as_ref().ok_or_else(unasked)?;
        let (shared, guest) = (self.shared, self.guest);
        let client = Client {
            place: guest.place,
            child: guest.child,
        };
        let tools = shared.wasm.tools(shared, client).await?;
        let order = Order {
            shared,
            tools,
            client,
            module,
        };
        let done = match order.artifact(flaw).await {
            Ok(artifact) => self.hand_over(order, &artifact, sync).await,
            Err(error) => Err(error),
        };
        match done {
            // It may have said why it could not wait.
            Err(_) if hull_sys::fd::is_readable(guest.child.pidfd()) => Err(last_words(sync).await),
            done => done,
        }
    }

    async fn hand_over(
        &self,
        order: Order<'_>,
        artifact: &File,
        sync: &SyncSocket,
    ) -> Result<(), Error> {
        let Guest { plan, process, .. } = self.guest;
        let Order { tools, module, .. } = order;
        let config = guest::config(plan, process, &module.program, module.home.as_deref());
        let config = hull_abi::encode(&config).map_err(|e| Error::Invalid(e.to_string()))?;
        let config = hull_sys::fd::sealed_memory(c"hull-wasm", &config)
            .map_err(|e| Error::host("make the runner's config", e))?;
        let fds = [tools.runner.as_fd(), config.as_fd(), artifact.as_fd()];
        let word = ToInit::Runner {
            key: *order.key().as_bytes(),
        };
        if sync.send_fds(&word, &fds).await.is_ok() {
            return Ok(());
        }
        Err(last_words(sync).await)
    }
}

/// What a process that is gone, or about to be, said of its end.
async fn last_words(sync: &SyncSocket) -> Error {
    match tokio::time::timeout(LAST_WORDS, sync.receive()).await {
        Ok(Ok((FromInit::Failed(error), _))) => error.into(),
        _ => crate::launch::killed(Step::Artifact),
    }
}

// === impl Order ===

impl Order<'_> {
    fn key(&self) -> Key {
        Key::new(&self.module.digest, &self.tools.engine)
    }

    /// What is in the store, or what is there after compiling. `flaw` is what the process has found
    /// wrong with what was in the store.
    async fn artifact(self, flaw: Option<String>) -> Result<File, Error> {
        let key = self.key();
        let found = self.tools.store.open(&key);
        let found = found.map_err(|e| Error::Wasm(e.to_string()))?;
        let flaw = match (flaw, found) {
            (Some(flaw), _) => Some(flaw),
            (None, Found::Good(artifact)) => return Ok(artifact),
            (None, Found::Absent) => None,
            (None, Found::Bad(flaw)) => Some(flaw.to_string()),
        };
        if let Some(flaw) = flaw {
            let id = &self.client.place.id;
            log::warn!("container {id}: artifact {key} is made anew: {flaw}");
        }
        compile::run(self).await
    }
}

// === impl Wasm ===

impl Wasm {
    /// Reads where things are from the environment: `HULL_LIBEXEC` is the directory of the binaries,
    /// `HULL_ARTIFACTS` that of the store.
    pub(crate) fn from_env() -> Self {
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            siblings: path(crate::start::LIBEXEC),
            store: path("HULL_ARTIFACTS")
                .unwrap_or_else(|| PathBuf::from("/var/lib/hull/artifacts")),
            tools: OnceCell::new(),
            turn: Mutex::new(()),
        }
    }

    /// Waits until nothing is compiled any more, up to a deadline. Nothing will be while the guard is
    /// held.
    pub(crate) async fn idle(&self, deadline: Duration) -> Option<MutexGuard<'_, ()>> {
        let idle = tokio::time::timeout(deadline, self.turn.lock()).await;
        idle.inspect_err(|_| log::warn!("leaving while a module is compiled"))
            .ok()
    }

    /// A binary of ours: beside the shim's, else in `$PATH`.
    fn binary(&self, name: &str) -> Result<PathBuf, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = self.siblings.iter().cloned();
        directories
            .chain(std::env::split_paths(&path))
            .map(|directory| directory.join(name))
            .find(|candidate| candidate.is_absolute() && candidate.is_file())
            .ok_or_else(|| {
                let beside = match &self.siblings {
                    Some(directory) => format!("in {directory:?}"),
                    None => "beside the shim".to_owned(),
                };
                Error::Wasm(format!(
                    "{name} is neither {beside} nor in $PATH: this host can only run native programs"
                ))
            })
    }

    async fn tools(&self, shared: &Shared, client: Client<'_>) -> Result<&Tools, Error> {
        self.tools
            .get_or_try_init(|| self.open(shared, client))
            .await
    }

    async fn open(&self, shared: &Shared, client: Client<'_>) -> Result<Tools, Error> {
        let (runner, compiler) = (self.binary("hull-wasm")?, self.binary("hull-wasmc")?);
        // Before it is opened: should it be replaced in between, its answer is remembered for a file
        // that is no more.
        let identity = fs::metadata(&compiler)
            .map(|metadata| CompilerIdentity::of(&metadata))
            .map_err(|e| Error::host(format!("look at {compiler:?}"), e))?;
        let job = HostJob::Wasm(WasmJob::Open {
            runner: utf8(&runner)?,
            compiler: utf8(&compiler)?,
            store: utf8(&self.store)?,
            empty: utf8(&crate::start::empty_dir()?)?,
        });
        let brought = shared.launcher.fetch(&job, OPEN_DEADLINE).await?;
        let [runner, compiler_binary, store] = <[OwnedFd; 3]>::try_from(brought)
            .map_err(|_| Error::Wasm("the launcher lost descriptors".to_owned()))?;
        let store = Store::at(store);
        let engine = match store.engine_id(&identity) {
            Some(engine) => engine,
            None => {
                let engine = compile::ask_engine(shared, client, &compiler_binary).await?;
                let job = HostJob::Wasm(WasmJob::RememberEngine {
                    store: utf8(&self.store)?,
                    compiler: identity.as_str().to_owned(),
                    engine: engine.to_string(),
                });
                if let Err(e) = shared.launcher.run(&job, OPEN_DEADLINE).await {
                    // Then it is asked again next time.
                    log::warn!("wasm: {}", Error::from(e).line());
                }
                engine
            }
        };
        Ok(Tools {
            runner,
            compiler: compiler_binary,
            store,
            engine,
        })
    }
}

fn utf8(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Invalid(format!("path {path:?} is not UTF-8")))
}
