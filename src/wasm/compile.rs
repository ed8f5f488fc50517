//! Compiling: one at a time per module on this host, in a jail, and into the store.

use super::{Order, jail, utf8};
use crate::daemon::Shared;
use crate::error::Error;
use crate::launch::Place;
use hull_abi::{Blame, FromInit, HostJob, SetupError, Step, ToInit, WasmJob};
use hull_artifact::EngineId;
use jail::{Jail, Verdict};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// How long storing an artifact may take.
const KEEP_DEADLINE: Duration = Duration::from_secs(60);
/// Longest id that is read.
const MAX_ID: usize = 1024;

/// Makes the artifact of a module, unless somebody else has made it meanwhile.
///
/// # Errors
/// What is wrong with the module, in the compiler's words; a limit of the jail that was reached; or
/// what the host lacks.
pub(super) async fn run(order: Order<'_>) -> Result<(), Error> {
    let Order {
        shared,
        tools,
        module,
        ..
    } = order;
    let limits = jail::Limits::from_env()?;
    let job = HostJob::Wasm(WasmJob::Compile {
        store: utf8(&shared.wasm.store)?,
        engine: tools.engine.to_string(),
        digest: *module.digest.as_bytes(),
        program: module.program.clone(),
    });
    let file = clone(&module.file)?;
    let job = shared.launcher.begin(&job, Some(file)).await?;
    // Somebody else may be compiling it, and somebody before him another version.
    let (word, mut fds) = job.next(limits.time * 2 + KEEP_DEADLINE).await?;
    if word == FromInit::Done {
        job.end().await;
        return Ok(());
    }
    let copy = fds
        .pop()
        .ok_or_else(|| Error::Wasm("the launcher lost a descriptor".to_owned()))?;
    let outcome = compile(order, limits, copy).await;
    let artifact = match outcome {
        Ok(artifact) => artifact,
        Err(error) => {
            job.end().await;
            return Err(error);
        }
    };
    job.answer(&ToInit::Keep, &[artifact.as_fd()]).await?;
    let (FromInit::Done, _) = job.next(KEEP_DEADLINE).await? else {
        return Err(Error::Wasm("the launcher answers out of order".to_owned()));
    };
    job.end().await;
    Ok(())
}

async fn compile(order: Order<'_>, limits: jail::Limits, copy: OwnedFd) -> Result<OwnedFd, Error> {
    let Order {
        shared,
        tools,
        place,
        module,
    } = order;
    let _turn = shared.wasm.turn.lock().await;
    let began = Instant::now();
    let artifact = output()?;
    let jail = Jail {
        id: &place.id,
        ask_id: false,
        compiler: clone(&tools.compiler)?,
        stdin: Some(copy),
        stdout: clone(&artifact)?,
        limits,
    };
    let (blame, cause) = match jail::run(shared, jail).await {
        Err(error) => (Blame::Host, error.line()),
        Ok(Verdict::Ok) => {
            let (id, program, milliseconds) =
                (&place.id, &module.program, began.elapsed().as_millis());
            log::info!("container {id}: compiled {program:?} in {milliseconds} ms");
            return Ok(artifact);
        }
        Ok(Verdict::Refused(line)) => (Blame::Image, line),
        Ok(Verdict::Broken(line)) => (Blame::Host, line),
    };
    Err(Error::Setup(SetupError {
        step: Step::Artifact,
        blame,
        action: format!("compile {:?}", module.program),
        cause,
        errno: 0,
    }))
}

/// Asks the compiler for the id of its engine on this host.
///
/// # Errors
/// When it does not answer as it should.
pub(super) async fn ask_engine(
    shared: &Shared,
    place: &Place,
    compiler: &OwnedFd,
) -> Result<EngineId, Error> {
    let _turn = shared.wasm.turn.lock().await;
    let answer = output()?;
    let jail = Jail {
        id: &place.id,
        ask_id: true,
        compiler: clone(compiler)?,
        stdin: None,
        stdout: clone(&answer)?,
        limits: jail::Limits::from_env()?,
    };
    let failed = |why: &str| Error::Wasm(format!("hull-wasmc --id: {why}"));
    match jail::run(shared, jail).await? {
        Verdict::Ok => {}
        Verdict::Refused(line) | Verdict::Broken(line) => return Err(failed(&line)),
    }
    let mut bytes = [0; MAX_ID];
    let len = File::from(answer)
        .read_at(&mut bytes, 0)
        .map_err(|e| Error::host("read the answer of hull-wasmc --id", e))?;
    let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
    EngineId::parse(&text).map_err(|e| failed(&e.to_string()))
}

fn output() -> Result<OwnedFd, Error> {
    hull_sys::fd::memory(c"artifact").map_err(|e| Error::host("make a memory file", e))
}

fn clone(fd: &OwnedFd) -> Result<OwnedFd, Error> {
    fd.try_clone()
        .map_err(|e| Error::host("duplicate a descriptor", e))
}
