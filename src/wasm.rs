//! Wasm on the daemon's side: which runner and which compiled artifact a process gets.
//!
//! A process on its way into a container finds out that its program is a Wasm file and asks
//! (`hull_abi::WasmRequest`). From then on only digests and descriptors move: the artifact is looked
//! up by the digest of the module, made first if it is not there, and handed over together with the
//! runner's binary and its config. A native container never comes here.

mod compile;
mod cpus;
mod entry;
mod guest;
mod image;
mod jail;
mod notes;

use crate::daemon::Shared;
use crate::error::Error;
use crate::launch::Place;
use crate::observe::{self, About};
use hull_abi::{
    Blame, Entry, FromInit, HostJob, Plan, Process, Proposal, SetupError, Step, ToInit, WasmJob,
    WasmRequest, World,
};
use hull_artifact::{Boot, CompilerIdentity, EngineId, Exports, Found, Key, ModuleDigest, Store};
use hull_launcher::client::{ChildProcess, SyncSocket};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

pub(crate) use jail::cgroups_path;
pub(crate) use notes::layers;

/// How long looking at the store and sealing two binaries may take.
const OPEN_DEADLINE: Duration = Duration::from_secs(30);

/// How many modules a daemon compiles at once.
const TURNS: u32 = 8;

/// How many files a daemon has read at once to note what they are.
const NOTING: usize = 2;

/// How long a process that is gone may leave its last words unread.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where the binaries and the store are, and what has been opened of them.
#[derive(Debug)]
pub(crate) struct Wasm {
    /// The directory of the shim's own binary, as `start` saw it.
    siblings: Option<PathBuf>,
    store: PathBuf,
    tools: OnceCell<Tools>,
    /// Places for compilations of this daemon. How many the host bears is for the store's places to say; this
    /// only tells when there are none.
    turns: Semaphore,
    /// Places for jobs that read a file to note what it is.
    noting: Arc<Semaphore>,
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
    /// What tells this run of the machine from others, as far as the kernel says it.
    boot: Option<Boot>,
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

/// The Wasm file that it found, or that its image is.
#[derive(Debug)]
struct Module {
    /// Its path in the container, or what the container calls it.
    program: String,
    /// The exported function that is asked for.
    function: Option<String>,
    digest: ModuleDigest,
    /// The user's home directory, where the environment names none.
    home: Option<String>,
    source: Source,
}

/// Where the bytes of a module are.
#[derive(Debug)]
enum Source {
    /// In a file of the container.
    File(OwnedFd),
    /// In a layer of its image, which bears the module's digest.
    Image,
}

/// One module for one container, and the means.
#[derive(Clone, Copy)]
struct Order<'a> {
    shared: &'a Shared,
    tools: &'a Tools,
    client: Client<'a>,
    module: &'a Module,
    /// What the compiler takes for it beside what it takes for everyone.
    proposals: &'a [Proposal],
}

/// On whose behalf the compiler runs.
#[derive(Clone, Copy)]
struct Client<'a> {
    place: &'a Place,
    child: &'a ChildProcess,
}

// === impl Guest ===

impl Guest<'_> {
    /// Whether it is the container's first process.
    fn is_init(&self) -> bool {
        std::ptr::eq(self.process, &self.plan.process)
    }
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

    /// Gives the process what it takes to run the module.
    ///
    /// # Errors
    /// What is wrong with the module, its compilation, or the host.
    pub(crate) async fn answer(
        &mut self,
        request: WasmRequest,
        fds: Vec<OwnedFd>,
        sync: &SyncSocket,
    ) -> Result<(), Error> {
        match self.respond(request, fds, sync).await {
            Ok(true) => Ok(()),
            Err(error) if !hull_sys::fd::is_readable(self.guest.child.pidfd()) => Err(error),
            // It may have said why it could not wait.
            Ok(false) | Err(_) => Err(last_words(sync).await),
        }
    }

    /// Whether the process was there to take the answer.
    async fn respond(
        &mut self,
        request: WasmRequest,
        mut fds: Vec<OwnedFd>,
        sync: &SyncSocket,
    ) -> Result<bool, Error> {
        let mut flaw = None;
        let lost = || Error::Wasm("the module's descriptor was lost".to_owned());
        match request {
            WasmRequest::Module {
                program,
                function,
                home,
            } => {
                let file = File::from(fds.pop().ok_or_else(lost)?);
                let Some(digest) = self.known(&file).await? else {
                    return Ok(sync.send(&ToInit::Digest).await.is_ok());
                };
                self.module = Some(Module {
                    program,
                    function,
                    digest,
                    home,
                    source: Source::File(file.into()),
                });
            }
            WasmRequest::Digested {
                program,
                function,
                digest,
                home,
            } => {
                self.module = Some(Module {
                    program,
                    function,
                    digest: ModuleDigest::from_bytes(digest),
                    home,
                    source: Source::File(fds.pop().ok_or_else(lost)?),
                });
            }
            WasmRequest::Absent { error, home } => {
                self.module = Some(self.image_module(error, home).await?);
            }
            WasmRequest::BadArtifact { flaw: found } => flaw = Some(found),
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
            proposals: &guest.plan.wasm.proposals,
        };
        let artifact = order.artifact(flaw).await?;
        self.hand_over(order, &artifact, sync).await
    }

    /// The digest of a large module, if it is known.
    async fn known(&self, module: &File) -> Result<Option<ModuleDigest>, Error> {
        let Guest { place, child, .. } = self.guest;
        let client = Client { place, child };
        let tools = self.shared.wasm.tools(self.shared, client).await?;
        Ok(notes::digest(tools, place, module))
    }

    async fn hand_over(
        &self,
        order: Order<'_>,
        artifact: &File,
        sync: &SyncSocket,
    ) -> Result<bool, Error> {
        let Guest { plan, process, .. } = self.guest;
        let Order { tools, module, .. } = order;
        let entry = self.entry(module, artifact)?;
        let observed = self.observed(&entry);
        let mut config = guest::config(plan, process, &module.program, module.home.as_deref());
        config.entry = entry;
        let config = config.encode();
        let config = config.map_err(|e| Error::Invalid(e.to_string()))?;
        let config = hull_sys::fd::sealed_memory(c"hull-wasm", &config)
            .map_err(|e| Error::host("make the runner's config", e))?;
        let mut fds = vec![tools.runner.as_fd(), config.as_fd(), artifact.as_fd()];
        fds.extend(observed.as_ref().map(OwnedFd::as_fd));
        let word = ToInit::Runner {
            key: *order.key().as_bytes(),
            checked: order.is_checked(artifact)?,
        };
        Ok(sync.send_fds(&word, &fds).await.is_ok())
    }
}

impl Asking<'_> {
    /// The socket at which the container's server tells how it does. One that cannot be made holds nothing up.
    fn observed(&self, entry: &Entry) -> Option<OwnedFd> {
        let place = self.guest.place;
        let is_its_server = self.guest.is_init() && *entry == Entry::Http;
        let directory = place.observed.as_deref().filter(|_| is_its_server)?;
        let about = About {
            namespace: &self.shared.namespace,
            id: place.id.as_str(),
            cgroup: &place.cgroup,
        };
        observe::open(directory, &about)
            .inspect_err(|e| log::warn!("container {}: {}", place.id, e.line()))
            .ok()
    }

    /// Where the guest begins. Further processes of a server are what their modules are: a second server
    /// would find its address taken.
    fn entry(&self, module: &Module, artifact: &File) -> Result<Entry, Error> {
        let exports = Exports::of_stored(artifact).map_err(|e| Error::Wasm(e.to_string()))?;
        let Guest { plan, process, .. } = self.guest;
        let wanted = entry::Wanted {
            program: &module.program,
            function: module.function.as_deref(),
            args: &process.args,
            world: if self.guest.is_init() {
                plan.wasm.world
            } else {
                World::ByExports
            },
        };
        entry::choose(&exports, wanted).map_err(|cause| {
            Error::Setup(SetupError {
                step: Step::Program,
                blame: Blame::Caller,
                action: format!("run {:?}", module.program),
                cause,
                errno: 0,
            })
        })
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
        Key::new(&self.module.digest, &self.engine())
    }

    fn engine(&self) -> EngineId {
        self.tools.engine.with(&Proposal::list(self.proposals))
    }

    /// What is in the store, or what is there after compiling. `flaw` is what the process has found
    /// wrong with what was in the store.
    async fn artifact(self, flaw: Option<String>) -> Result<File, Error> {
        let key = self.key();
        let found = self.tools.store.open(&key);
        let found = found.map_err(|e| Error::Wasm(e.to_string()))?;
        let flaw = match (flaw, found) {
            (Some(flaw), _) => Some(flaw),
            (None, Found::Good(artifact)) => match Exports::of_stored(&artifact) {
                Ok(_) => {
                    if hull_artifact::is_touch_due(&artifact) {
                        self.note_use(&key)?;
                    }
                    return Ok(artifact);
                }
                Err(flaw) => Some(flaw.to_string()),
            },
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

impl Order<'_> {
    /// Tells the store, which nobody waits for.
    fn note_use(self, key: &Key) -> Result<(), Error> {
        let launcher = self.shared.launcher.clone();
        let job = HostJob::Wasm(WasmJob::Touch {
            store: utf8(&self.shared.wasm.store)?,
            key: *key.as_bytes(),
        });
        crate::turn::spawn("use of an artifact", async move {
            if let Err(e) = launcher.run(&job, OPEN_DEADLINE).await {
                log::warn!("wasm: {}", Error::from(e).line());
            }
        });
        Ok(())
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
            turns: Semaphore::new(usize::try_from(TURNS).unwrap_or(1)),
            noting: Arc::new(Semaphore::new(NOTING)),
        }
    }

    /// Waits until nothing is compiled any more, up to a deadline. Nothing will be while the guard is
    /// held.
    pub(crate) async fn idle(&self, deadline: Duration) -> Option<SemaphorePermit<'_>> {
        let idle = tokio::time::timeout(deadline, self.turns.acquire_many(TURNS)).await;
        idle.inspect_err(|_| log::warn!("leaving while a module is compiled"))
            .ok()?
            .ok()
    }

    /// A binary of ours: beside the shim's, else in `$PATH`.
    fn binary(&self, name: &str) -> Result<PathBuf, Error> {
        self.find(name).ok_or_else(|| {
            let place = self.beside();
            Error::Wasm(format!(
                "{name} is neither {place} nor in $PATH: this host can only run native programs"
            ))
        })
    }

    fn find(&self, name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = self.siblings.iter().cloned();
        directories
            .chain(std::env::split_paths(&path))
            .map(|directory| directory.join(name))
            .find(|candidate| candidate.is_absolute() && candidate.is_file())
    }

    /// Where binaries of ours are looked for at first.
    fn beside(&self) -> String {
        match &self.siblings {
            Some(directory) => format!("in {directory:?}"),
            None => "beside the shim".to_owned(),
        }
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
            boot: Boot::current(),
        })
    }
}

fn utf8(path: &Path) -> Result<String, Error> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Error::Invalid(format!("path {path:?} is not UTF-8")))
}

fn clone(fd: impl AsFd) -> Result<OwnedFd, Error> {
    let cloned = fd.as_fd().try_clone_to_owned();
    cloned.map_err(|e| Error::host("duplicate a descriptor", e))
}
