//! Images that are a Wasm module instead of a root file system.
//!
//! Only a container whose program is not in its root comes here. containerd is asked by a job, in a
//! process that is not ours (`hull image-module`); what comes back is a digest.

use super::{Asking, Module, Source, Wasm, utf8};
use crate::daemon::Shared;
use crate::error::Error;
use crate::launch::killed;
use hull_abi::{Blame, ContentSource, HostJob, ImageModule, Process, SetupError, Step, WasmJob};
use hull_artifact::ModuleDigest;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// How long asking may take; the job has a deadline of its own.
const DEADLINE: Duration = Duration::from_secs(40);
/// Largest answer.
const MAX_ANSWER: u64 = 64 << 10;

impl Asking<'_> {
    /// The module of the container's image, for a process whose program is not in the root.
    ///
    /// # Errors
    /// `absent`, which says why the process fails, if there is no such module; or why nobody knows.
    pub(super) async fn image_module(
        &self,
        absent: SetupError,
        home: Option<String>,
    ) -> Result<Module, Error> {
        let (place, process) = (self.guest.place, self.guest.process);
        let name = process.args.first().map(String::as_str).unwrap_or_default();
        // The module has no name of its own, so the first "#" ends it.
        let (program, function) = match name.split_once('#') {
            Some((program, function)) => (program, Some(function.to_owned())),
            None => (name, None),
        };
        let digest = match place.image_module.get() {
            // An exec of what the container itself runs.
            Some(digest) if is_named(&self.guest.plan.process, program) => *digest,
            Some(_) => return Err(absent.into()),
            None if !self.guest.is_init() => return Err(absent.into()),
            None => {
                let digest = tokio::select! {
                    biased;
                    () = self.guest.child.dead() => return Err(killed(Step::Artifact)),
                    found = find(self.shared, place.id.as_str(), absent) => found?,
                };
                *place.image_module.get_or_init(|| digest)
            }
        };
        Ok(Module {
            program: program.to_owned(),
            function,
            digest: ModuleDigest::from_bytes(digest),
            home,
            source: Source::Image,
        })
    }
}

/// Whether a process calls the module of its image by this name.
fn is_named(process: &Process, program: &str) -> bool {
    let name = process.args.first().and_then(|name| name.split('#').next());
    name == Some(program)
}

async fn find(shared: &Shared, id: &str, absent: SetupError) -> Result<[u8; 32], Error> {
    // Whoever runs containers without containerd has no images.
    let socket = &shared.address;
    let socket = socket.strip_prefix("unix://").unwrap_or(socket);
    if !Path::new(socket).exists() {
        return Err(absent.into());
    }
    let answer = match ask(shared, id).await {
        Ok(answer) => answer,
        Err(Error::Setup(error)) if error.blame == Blame::Image => {
            return Err(and(absent, &error.action));
        }
        Err(error) => {
            let why = format!("its image was not looked at: {}", error.line());
            return Err(and(absent, &why));
        }
    };
    let ImageModule {
        image,
        digest,
        calls,
    } = answer;
    match digest {
        Some(digest) => {
            let module = ModuleDigest::from_bytes(digest);
            log::info!(
                "container {id}: image {image:?} is module sha256:{module} ({calls} calls of containerd)"
            );
            Ok(digest)
        }
        None if image.is_empty() => Err(absent.into()),
        None => Err(and(
            absent,
            &format!("image {image:?} has no Wasm layer either"),
        )),
    }
}

async fn ask(shared: &Shared, id: &str) -> Result<ImageModule, Error> {
    let source = shared.wasm.content_source(shared)?;
    let program = source.program.clone();
    let job = HostJob::Wasm(WasmJob::Image {
        source,
        store: utf8(&shared.wasm.store)?,
        container: id.to_owned(),
    });
    let mut brought = shared.launcher.fetch(&job, DEADLINE).await?;
    let lost = || Error::Wasm("the launcher lost a descriptor".to_owned());
    let answer: OwnedFd = brought.pop().ok_or_else(lost)?;
    let bytes = hull_sys::fd::read_to_end(answer, MAX_ANSWER)
        .map_err(|e| Error::host("read the answer of hull image-module", e))?;
    hull_abi::decode(&bytes).map_err(|_| {
        Error::Wasm(format!(
            "{program:?} answers in another way than expected: is it of another version?"
        ))
    })
}

/// An error with one more thing to know.
fn and(error: SetupError, more: &str) -> Error {
    let cause = format!("{}; {more}", error.cause);
    SetupError { cause, ..error }.into()
}

impl Wasm {
    /// How a job asks containerd.
    ///
    /// # Errors
    /// [`Error::Wasm`] when there is no `hull` to do it.
    pub(super) fn content_source(&self, shared: &Shared) -> Result<ContentSource, Error> {
        let program = self.find("hull").ok_or_else(|| {
            let place = self.beside();
            Error::Wasm(format!(
                "hull, which asks containerd, is neither {place} nor in $PATH"
            ))
        })?;
        Ok(ContentSource {
            program: utf8(&program)?,
            address: shared.address.clone(),
            namespace: shared.namespace.clone(),
        })
    }
}
