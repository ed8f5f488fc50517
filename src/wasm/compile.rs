//! Compiling: one at a time per module on this host, in a jail, and into the store.

use super::{Client, Order, Source, clone, jail, utf8};
use crate::daemon::Shared;
use crate::error::Error;
use crate::launch::killed;
use hull_abi::{Blame, FromInit, HostJob, SetupError, Step, ToInit, WasmJob};
use hull_artifact::EngineId;
use hull_launcher::client::Job;
use hull_plan::CompilerTask;
use jail::{Jail, Verdict};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};
use tokio::sync::{MutexGuard, SemaphorePermit};

/// How long storing an artifact may take.
const KEEP_DEADLINE: Duration = Duration::from_secs(60);
/// How long taking a module from its container or image may take; the job has deadlines of its own.
const TAKE_DEADLINE: Duration = Duration::from_secs(40);
/// Longest id that is read.
const MAX_ID: usize = 1024;

/// Makes the artifact of a module, unless somebody else has made it meanwhile, and gives it.
///
/// # Errors
/// What is wrong with the module, in the compiler's words; a limit of the jail that was reached; what
/// the host lacks; or that whoever wanted it is dead.
pub(super) async fn run(order: Order<'_>) -> Result<File, Error> {
    let limits = jail::Limits::from_env()?;
    let (file, source) = match &order.module.source {
        Source::File(file) => (Some(clone(file)?), None),
        Source::Image => (None, Some(order.shared.wasm.content_source(order.shared)?)),
    };
    let job = HostJob::Wasm(WasmJob::Compile {
        store: utf8(&order.shared.wasm.store)?,
        engine: order.engine().to_string(),
        digest: *order.module.digest.as_bytes(),
        program: order.module.program.clone(),
        source,
    });
    let job = order.shared.launcher.begin(&job, file).await?;
    let made = converse(order, &job, limits).await;
    job.end().await;
    made
}

async fn converse(order: Order<'_>, job: &Job, limits: jail::Limits) -> Result<File, Error> {
    let lost = || Error::Wasm("the launcher lost a descriptor".to_owned());
    // Others may be compiling it, or others before us.
    let patience = limits.time * 2 + TAKE_DEADLINE + KEEP_DEADLINE;
    let (mut word, mut fds) = tokio::select! {
        biased;
        () = order.client.child.dead() => return Err(killed(Step::Artifact)),
        word = job.next(patience) => word?,
    };
    if word == FromInit::Claimed {
        let copy = fds.pop().ok_or_else(lost)?;
        let artifact = compile(order, limits, copy).await?;
        job.answer(&ToInit::Keep, &[artifact.as_fd()]).await?;
        (word, fds) = job.next(KEEP_DEADLINE).await?;
    }
    if matches!(word, FromInit::Done { .. }) {
        fds.pop().map(File::from).ok_or_else(lost)
    } else {
        Err(Error::Wasm("the launcher answers out of order".to_owned()))
    }
}

async fn compile(order: Order<'_>, limits: jail::Limits, copy: OwnedFd) -> Result<OwnedFd, Error> {
    let Order {
        shared,
        tools,
        client,
        module,
        proposals,
    } = order;
    let _turn = turn(shared, client).await?;
    let began = Instant::now();
    let artifact = output()?;
    let jail = Jail {
        client,
        task: CompilerTask::Compile(proposals),
        compiler: clone(&tools.compiler)?,
        stdin: Some(copy),
        stdout: clone(&artifact)?,
        limits,
    };
    let (blame, cause) = match jail::run(shared, jail).await {
        Err(error) => (Blame::Host, error.line()),
        Ok(Verdict::Ok) => {
            let (id, program) = (&client.place.id, &module.program);
            let milliseconds = began.elapsed().as_millis();
            log::info!("container {id}: compiled {program:?} in {milliseconds} ms");
            return Ok(artifact);
        }
        Ok(Verdict::Refused(line)) => (Blame::Image, line),
        Ok(Verdict::Broken(line)) => (Blame::Host, line),
        Ok(Verdict::Unwanted) => return Err(killed(Step::Artifact)),
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
    client: Client<'_>,
    compiler: &OwnedFd,
) -> Result<EngineId, Error> {
    let _turn = turn(shared, client).await?;
    let answer = output()?;
    let jail = Jail {
        client,
        task: CompilerTask::Id,
        compiler: clone(compiler)?,
        stdin: None,
        stdout: clone(&answer)?,
        limits: jail::Limits::from_env()?,
    };
    let failed = |why: &str| Error::Wasm(format!("hull-wasmc --id: {why}"));
    match jail::run(shared, jail).await? {
        Verdict::Ok => {}
        Verdict::Refused(line) | Verdict::Broken(line) => return Err(failed(&line)),
        Verdict::Unwanted => return Err(killed(Step::Artifact)),
    }
    let mut bytes = [0; MAX_ID];
    let len = File::from(answer)
        .read_at(&mut bytes, 0)
        .map_err(|e| Error::host("read the answer of hull-wasmc --id", e))?;
    let text = String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
    EngineId::parse(&text).map_err(|e| failed(&e.to_string()))
}

/// The right to compile for a container.
struct Turn<'a> {
    _place: SemaphorePermit<'a>,
    /// Its jail has one cgroup.
    _container: MutexGuard<'a, ()>,
}

/// Waits for its turn, which comes since every compilation has a time limit.
async fn turn<'a>(shared: &'a Shared, client: Client<'a>) -> Result<Turn<'a>, Error> {
    let turn = async {
        let container = client.place.compiling.lock().await;
        let place = shared.wasm.turns.acquire().await;
        place.map(|place| Turn {
            _place: place,
            _container: container,
        })
    };
    tokio::select! {
        biased;
        () = client.child.dead() => Err(killed(Step::Artifact)),
        turn = turn => turn.map_err(|_| Error::Wasm("the daemon leaves".to_owned())),
    }
}

fn output() -> Result<OwnedFd, Error> {
    hull_sys::fd::memory(c"artifact").map_err(|e| Error::host("make a memory file", e))
}
