//! The host's side of Wasm: the binaries that run and compile it, and the store of artifacts.

use crate::failure::{At, because};
use crate::init::MAX_MODULE;
use crate::step;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, SetupError, Step, ToInit, WasmJob};
use hull_artifact::{CompilerIdentity, EngineId, Found, Key, Lock, ModuleDigest, Store};
use hull_sys::mount::{self, MountAttr};
use hull_sys::{fd, seal};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

const STEP: Step = Step::Artifact;

/// How long a module may take to be read.
const SNAPSHOT_SECONDS: u32 = 30;
/// Compiled code has some 0.5 to 8 times the size of its module.
const MAX_GROWTH: u64 = 64;
/// Tables and memory images of the smallest modules.
const ALWAYS_GRANTED: u64 = 16 << 20;

/// How often somebody who waits for another's compilation looks whether it is over, at first and later.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
const LOOK_AGAIN_AT_LAST: Duration = Duration::from_millis(50);

/// Does the job and gives what it brings.
pub(super) fn perform(
    sync: &Sync,
    job: WasmJob,
    file: Option<OwnedFd>,
) -> Result<Vec<OwnedFd>, SetupError> {
    match job {
        WasmJob::Open {
            runner,
            compiler,
            store,
            empty,
        } => {
            let (store, empty) = (Path::new(&store), Path::new(&empty));
            Ok(vec![
                sealed(&runner, empty)?,
                sealed(&compiler, empty)?,
                read_only(store)?,
            ])
        }
        WasmJob::RememberEngine {
            store,
            compiler,
            engine,
        } => {
            let compiler = CompilerIdentity::from_text(compiler);
            prepare(Path::new(&store))?
                .remember_engine_id(&compiler, &engine_id(&engine)?)
                .map_err(|e| failed(Blame::Host, &e))?;
            Ok(Vec::new())
        }
        WasmJob::Compile {
            store,
            engine,
            digest,
            program,
        } => {
            let missing = || because(STEP, Blame::Hull, "compile".to_owned(), "no module came");
            let digest = ModuleDigest::from_bytes(digest);
            let path = Path::new(&store);
            let order = Order {
                store: prepare(path)?,
                key: Key::new(&digest, &engine_id(&engine)?),
                module: File::from(file.ok_or_else(missing)?),
                digest,
                program,
            };
            // Held until the artifact is open: whoever makes room in the store takes it first.
            let _lock = order.compile(sync)?;
            // Also when nobody is left to take it; then this goes nowhere.
            match Store::at(read_only(path)?).open(&order.key) {
                Ok(Found::Good(artifact)) => Ok(vec![artifact.into()]),
                Ok(Found::Bad(flaw)) => {
                    let action = format!("look at what was stored in {store:?}");
                    Err(because(STEP, Blame::Host, action, &flaw.to_string()))
                }
                Ok(Found::Absent) => Ok(Vec::new()),
                Err(e) => Err(failed(Blame::Host, &e)),
            }
        }
    }
}

/// A binary of ours, as a file that no container can write to (CVE-2019-5736).
fn sealed(binary: &str, empty: &Path) -> Result<OwnedFd, SetupError> {
    seal::sealed(Path::new(binary), empty).at(STEP, || format!("make a sealed image of {binary:?}"))
}

fn prepare(store: &Path) -> Result<Store, SetupError> {
    Store::prepare(store).map_err(|e| failed(Blame::Host, &e))
}

/// A view of the store through which nothing can be changed: a container's processes may get at the
/// descriptor of their artifact by /proc, and open it again.
fn read_only(store: &Path) -> Result<OwnedFd, SetupError> {
    let directory = prepare(store)?.into_directory();
    let action = || format!("make a read-only view of {store:?}");
    let view = mount::clone_tree_at(&directory, false).at(STEP, action)?;
    let attr = MountAttr {
        set: hull_abi::MountFlags::RDONLY.0,
        ..MountAttr::default()
    };
    mount::set_attr(&view, attr, false).at(STEP, action)?;
    Ok(view)
}

/// A module to be compiled.
struct Order {
    store: Store,
    key: Key,
    module: File,
    digest: ModuleDigest,
    program: String,
}

impl Order {
    /// Sees to it that there is an artifact, if it can be made. The lock of its key, unless nobody wants
    /// it any more.
    fn compile(&self, sync: &Sync) -> Result<Option<Lock>, SetupError> {
        step::begin(STEP)?;
        let Some(lock) = wait(sync, || self.store.try_lock(&self.key))? else {
            return Ok(None);
        };
        if let Ok(Found::Good(artifact)) = self.store.open(&self.key)
            && hull_artifact::verify(&artifact, &self.key).is_ok()
        {
            return Ok(Some(lock));
        }
        let Some(_slot) = wait(sync, || self.store.try_slot(slots()))? else {
            return Ok(None);
        };
        let copy = self.snapshot()?;
        sync.send_fds(STEP, &FromInit::Claimed, &[copy.as_fd()])?;
        let copied = File::from(copy);
        let size = copied.metadata().map_or(0, |meta| meta.len());
        drop(copied);
        let Some((ToInit::Keep, mut fds)) = sync.receive_fds(STEP)? else {
            // It could not be compiled, or the daemon is gone.
            return Ok(None);
        };
        let lost = || because(STEP, Blame::Hull, "keep".to_owned(), "no artifact came");
        let artifact = File::from(fds.pop().ok_or_else(lost)?);
        // Whatever the compiler has become, nothing of it writes to this any more.
        fd::seal(&artifact).at(STEP, || "seal an artifact".to_owned())?;
        self.check_size(size, &artifact)?;
        let stored = self.store.insert(&self.key, &artifact);
        stored.map_err(|e| failed(Blame::Host, &e))?;
        Ok(Some(lock))
    }

    /// A small module must not fill the disk.
    fn check_size(&self, module: u64, artifact: &File) -> Result<(), SetupError> {
        let artifact = artifact.metadata().map_or(u64::MAX, |meta| meta.len());
        if artifact
            <= module
                .saturating_mul(MAX_GROWTH)
                .saturating_add(ALWAYS_GRANTED)
        {
            return Ok(());
        }
        let action = format!("compile {:?}", self.program);
        let cause = format!(
            "{module} bytes became {artifact}, more than {MAX_GROWTH} times as many: \
             it may have very large memories or tables with little in them"
        );
        Err(because(STEP, Blame::Image, action, &cause))
    }

    fn snapshot(&self) -> Result<OwnedFd, SetupError> {
        use hull_artifact::Error;
        // A file system that does not answer must not keep others from compiling the same module.
        // SIGALRM ends this process.
        let _alarm = Alarm::set(SNAPSHOT_SECONDS);
        hull_artifact::snapshot(&self.module, MAX_MODULE, &self.digest).map_err(|e| {
            let blame = if matches!(e, Error::TooLarge { .. } | Error::Changed) {
                Blame::Image
            } else {
                Blame::Host
            };
            because(
                STEP,
                blame,
                format!("read {:?}", self.program),
                &e.to_string(),
            )
        })
    }
}

/// Tries until something can be had; `None` when the daemon is gone.
fn wait<T>(
    sync: &Sync,
    attempt: impl Fn() -> Result<Option<T>, hull_artifact::Error>,
) -> Result<Option<T>, SetupError> {
    let mut pause = LOOK_AGAIN;
    while !sync.is_abandoned() {
        if let Some(had) = attempt().map_err(|e| failed(Blame::Host, &e))? {
            return Ok(Some(had));
        }
        // flock(2) has no time limit, and a signal to end it is no simpler.
        std::thread::sleep(pause);
        pause = (pause * 2).min(LOOK_AGAIN_AT_LAST);
    }
    Ok(None)
}

/// How many modules are compiled at once on this host.
fn slots() -> usize {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cpus.clamp(2, 8)
}

/// A time limit for this process.
struct Alarm;

impl Alarm {
    fn set(seconds: u32) -> Self {
        nix::unistd::alarm::set(seconds);
        Self
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        nix::unistd::alarm::cancel();
    }
}

fn engine_id(text: &str) -> Result<EngineId, SetupError> {
    let action = || format!("take the engine id {text:?}");
    EngineId::parse(text).map_err(|e| because(STEP, Blame::Hull, action(), &e.to_string()))
}

/// The texts of the store name the object and the cause themselves.
fn failed(blame: Blame, error: &hull_artifact::Error) -> SetupError {
    because(STEP, blame, error.to_string(), "")
}
