//! The host's side of Wasm: the binaries that run and compile it, and the store of artifacts.

use super::image;
use crate::failure::{At, because};
use crate::step;
use crate::sync::Sync;
use hull_abi::{Blame, ContentSource, FromInit, Noted, SetupError, Step, ToInit, WasmJob};
use hull_artifact::{
    Boot, CompilerIdentity, EngineId, Exports, Found, Key, Lock, MAX_MODULE, ModuleDigest, Sight,
    Store,
};
use hull_sys::mount::{self, MountAttr};
use hull_sys::{Errno, fd, seal};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
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
        WasmJob::Touch { store, key } => {
            let touched = prepare(Path::new(&store))?.touch(&Key::from_bytes(key));
            touched.map_err(|e| failed(Blame::Host, &e))?;
            Ok(Vec::new())
        }
        WasmJob::Note { store, what } => {
            let missing = || because(STEP, Blame::Hull, "note".to_owned(), "no file came");
            let file = File::from(file.ok_or_else(missing)?);
            note(Path::new(&store), &what, &file).map_err(|e| failed(Blame::Host, &e))?;
            Ok(Vec::new())
        }
        WasmJob::Image {
            source,
            store,
            container,
        } => {
            step::begin(STEP)?;
            Ok(vec![image::module_of(sync, &source, &store, &container)?])
        }
        WasmJob::Compile {
            store,
            engine,
            digest,
            program,
            source,
        } => {
            let missing = || because(STEP, Blame::Hull, "compile".to_owned(), "no module came");
            let module = match (file, source) {
                (Some(file), _) => Module::File(File::from(file)),
                (None, Some(source)) => Module::Layer(source),
                (None, None) => return Err(missing()),
            };
            let digest = ModuleDigest::from_bytes(digest);
            let path = Path::new(&store);
            let order = Order {
                store: prepare(path)?,
                key: Key::new(&digest, &engine_id(&engine)?),
                module,
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

fn note(store: &Path, what: &Noted, file: &File) -> Result<(), hull_artifact::Error> {
    let Some(boot) = Boot::current() else {
        return Ok(());
    };
    let store = Store::prepare(store)?;
    match what {
        Noted::Artifact(bytes) => {
            let key = Key::from_bytes(*bytes);
            let read = || {
                // The next start finds the flaw and has it mended.
                hull_artifact::verify(file, &key).map_err(|_| hull_artifact::Error::Changed)?;
                Ok(*bytes)
            };
            store.note(|| Sight::of_artifact(file, &key, &boot), read)
        }
        Noted::Module { place } => {
            let read = || {
                hull_artifact::digest(file, MAX_MODULE)
                    .map(|digest| *digest.as_bytes())
                    .map_err(|e| hull_artifact::Error::Module(fd::errno(&e)))
            };
            store.note(|| Sight::of(file, place, &boot), read)
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

/// Where a module comes from.
enum Module {
    /// A file of the container.
    File(File),
    /// A layer of its image.
    Layer(ContentSource),
}

/// A module to be compiled.
struct Order {
    store: Store,
    key: Key,
    module: Module,
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
            && Exports::of_stored(&artifact).is_ok()
        {
            return Ok(Some(lock));
        }
        let Some(_slot) = wait(sync, || self.store.try_slot(slots()))? else {
            return Ok(None);
        };
        let copy = self.snapshot(sync)?;
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

    /// A copy of the module that nobody can change any more.
    fn snapshot(&self, sync: &Sync) -> Result<OwnedFd, SetupError> {
        match &self.module {
            Module::File(file) => self.copy(file),
            Module::Layer(source) => self.fetch(sync, source),
        }
    }

    fn fetch(&self, sync: &Sync, source: &ContentSource) -> Result<OwnedFd, SetupError> {
        let name = format!("sha256:{}", self.digest);
        let layer = image::layer(sync, source, &name)?;
        fd::seal(&layer).at(STEP, || format!("seal layer {name}"))?;
        let action = || format!("read layer {name}");
        match hull_artifact::digest(&layer, MAX_MODULE).map_err(|e| fd::errno(&e)) {
            Ok(digest) if digest == self.digest => Ok(layer.into()),
            Ok(_) => {
                let cause = "what came is something else";
                Err(because(STEP, Blame::Hull, action(), cause))
            }
            Err(errno) => Err(errno).at(STEP, action),
        }
    }

    fn copy(&self, module: &File) -> Result<OwnedFd, SetupError> {
        use hull_artifact::Error;
        // A file system that does not answer must not keep others from compiling the same module.
        // SIGALRM ends this process.
        let _alarm = Alarm::set(SNAPSHOT_SECONDS);
        let reopened = reopened(module).at(STEP, || format!("open {:?}", self.program))?;
        let module = reopened.as_ref().unwrap_or(module);
        hull_artifact::snapshot(module, MAX_MODULE, &self.digest).map_err(|e| {
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

/// A file that can be read, of a descriptor that only refers to one.
fn reopened(module: &File) -> Result<Option<File>, Errno> {
    let flags = OFlag::from_bits_retain(fcntl(module, FcntlArg::F_GETFL)?);
    if !flags.contains(OFlag::O_PATH) {
        return Ok(None);
    }
    let path = format!("/proc/self/fd/{}", module.as_raw_fd());
    let opened = File::options()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
        .open(path);
    opened.map(Some).map_err(|e| fd::errno(&e))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn what_only_refers_to_a_module_is_opened_to_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("module");
        std::fs::write(&path, "content").unwrap();
        let readable = File::open(&path).unwrap();
        assert!(reopened(&readable).unwrap().is_none());
        let reference = File::options()
            .read(true)
            .custom_flags(OFlag::O_PATH.bits())
            .open(&path)
            .unwrap();
        let mut text = String::new();
        let mut opened = reopened(&reference).unwrap().unwrap();
        opened.read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
    }
}
