//! Making the processes of a container: from a request to an init process at the gate, from a
//! registered exec to a running program. Every step that fails undoes what was done before.

mod agent;
mod config;
mod gate;
mod hooks;
mod inner;
mod net_devices;
mod outside;
mod place;
mod sandbox;

pub(crate) use config::work as work_on_config;
pub(crate) use gate::{killed, release_gate};
pub(crate) use hooks::{poststart, poststop};
pub(crate) use inner::{Ended, Inner, run_to_end};
pub(crate) use place::{Place, forget, release_job};
pub(crate) use sandbox::{Pod, SandboxArgs, create_sandbox};

use crate::daemon::Shared;
use crate::error::Error;
use crate::events::Io;
use crate::fault;
use crate::observe;
use crate::options::Options;
use crate::stdio::{self, Logger, Opened, Origin, Stdio};
use crate::trace::Recorder;
use crate::wasm::{Asking, Guest};
use agent::Agent;
use gate::{SETUP_DEADLINE, until_exec, until_ready};
use hull_abi::{
    CgroupPaths, CgroupSetup, ContainerId, ExecId, ExecPlan, FdRole, HostJob, HostMount,
    NamespaceKind, Payload, Plan, SetupError, Spawn, Who,
};
use hull_cgroup::OomFiles;
use hull_launcher::client::{ChildProcess, Held, Job, JobError, Launched, SpawnArgs, SyncSocket};
use place::{lease, remember};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;

/// How long mounting and making the cgroup may take.
const PREPARE_DEADLINE: Duration = Duration::from_secs(60);
/// How long killing, unmounting and removing may take.
pub(crate) const RELEASE_DEADLINE: Duration = Duration::from_secs(60);
/// How long the job that holds a unit of systemd may take to leave it.
const LEAVE_DEADLINE: Duration = Duration::from_secs(10);
/// Hooks have timeouts of their own; this is for those that bring none.
const HOOKS_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// How long a process that reported its failure may take to end.
const END_DEADLINE: Duration = Duration::from_secs(5);

/// What Create asks for.
#[derive(Debug)]
pub(crate) struct CreateArgs {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) mounts: Vec<HostMount>,
    pub(crate) streams: Io,
    pub(crate) options: Options,
}

/// A container whose init process waits at the gate.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) plan: Plan,
    pub(crate) place: Place,
    pub(crate) child: Arc<ChildProcess>,
    pub(crate) stdio: Arc<Stdio>,
    pub(crate) gate: SyncSocket,
    /// What it is watched for want of memory by, if it can be.
    pub(crate) memory: Option<OomFiles>,
}

/// What Start of an exec process needs.
#[derive(Debug)]
pub(crate) struct ExecArgs {
    pub(crate) id: ExecId,
    pub(crate) plan: Arc<ExecPlan>,
    /// The container's plan.
    pub(crate) container: Arc<Plan>,
    pub(crate) place: Place,
    pub(crate) init: Arc<ChildProcess>,
    pub(crate) streams: Io,
}

/// Makes a container.
///
/// # Errors
/// The step that failed; nothing is left of the container then.
pub(crate) async fn create(shared: &Shared, args: CreateArgs) -> Result<Created, Error> {
    let mut trace = Recorder::default();
    trace.note("lower config.json");
    let plan = lower(shared, &args).await?;
    let place = place(shared, &args, &plan)?;
    // The event loop's others first: what follows writes files.
    yield_now().await;
    make(shared, args, (plan, place), trace).await
}

/// Makes what was decided on.
async fn make(
    shared: &Shared,
    args: CreateArgs,
    (plan, place): (Plan, Place),
    mut trace: Recorder,
) -> Result<Created, Error> {
    for warning in &plan.warnings {
        log::warn!("container {}: {warning}", place.id);
    }
    trace.note("state file");
    remember(&plan, &place, 0).inspect_err(|_| forget(&place))?;
    trace.note("prepare");
    let prepared = prepare(shared, &args, &plan, &place).await?;
    for warning in &prepared.warnings {
        log::warn!("container {}: {warning}", place.id);
    }
    trace.add(Who::Job, prepared.moments);
    let memory = OomFiles::from_fds(prepared.fds);
    let making = Making {
        plan: &plan,
        place: &place,
        holding: prepared.job,
    };
    match init(shared, &args, making, &mut trace).await {
        Ok(Waiting { child, stdio, gate }) => {
            trace.note("created");
            if plan.trace {
                trace.write(&place.bundle);
            }
            Ok(Created {
                plan,
                place,
                child,
                stdio,
                gate,
                memory,
            })
        }
        Err(error) => {
            undo(shared, &plan, &place).await;
            Err(error)
        }
    }
}

/// Takes a container back that nobody waits for any more.
pub(crate) async fn discard(shared: &Shared, created: Created) {
    let Created {
        plan,
        place,
        child,
        stdio,
        ..
    } = created;
    end(&child).await;
    // It has run nothing that could have written.
    stdio.finish(Duration::ZERO).await;
    undo(shared, &plan, &place).await;
}

/// What init is made from.
struct Making<'a> {
    plan: &'a Plan,
    place: &'a Place,
    /// Holds the unit of systemd until init is in it.
    holding: Option<Job>,
}

/// What [`init`] adds to the plan and the place.
struct Waiting {
    child: Arc<ChildProcess>,
    stdio: Arc<Stdio>,
    gate: SyncSocket,
}

async fn lower(shared: &Shared, args: &CreateArgs) -> Result<Plan, Error> {
    let config = args.bundle.join("config.json");
    let failed = |doing: &str, e| Error::host(format!("{doing} {}", config.display()), e);
    let bundle = text(&args.bundle)?.to_owned();
    let rootfs = match args.mounts.as_slice() {
        [] => None,
        _ => Some(text(&args.bundle.join("rootfs"))?.to_owned()),
    };
    let (id, namespace, facts) = (args.id.clone(), shared.namespace.clone(), shared.facts);
    let (no_pivot, terminal) = (args.options.no_pivot_root, args.streams.terminal);
    let file = config.clone();
    let lower = move || {
        let inputs = hull_plan::Inputs {
            config: &config::read(&file)?,
            bundle: &bundle,
            id: &id,
            namespace: &namespace,
            rootfs: rootfs.as_deref(),
            no_pivot,
            terminal,
        };
        Ok(hull_plan::lower(&inputs, &facts))
    };
    // One that is not there is said to be so by whoever reads it.
    let len = config.metadata().map_or(0, |meta| meta.len());
    let plan = work_on_config(len, lower)
        .await
        .map_err(|e| failed("lower", e))?
        .map_err(|e| failed("read", e))?
        .map_err(invalid)?;
    if args.options.systemd_cgroup && plan.scope.is_none() {
        return Err(Error::Invalid(format!(
            "linux.cgroupsPath: {:?}: expected slice:prefix:name, because of option systemd_cgroup",
            plan.cgroups_path
        )));
    }
    Ok(plan)
}

fn place(shared: &Shared, args: &CreateArgs, plan: &Plan) -> Result<Place, Error> {
    let cgroup = shared
        .layout
        .place(&plan.cgroups_path, plan.scope.as_ref())?;
    Ok(Place {
        id: args.id.clone(),
        bundle: args.bundle.clone(),
        rootfs: PathBuf::from(&plan.root.path),
        rootfs_mounted: !args.mounts.is_empty(),
        cgroup,
        keyring: (!args.options.no_new_keyring).then(|| format!("_ses.{}", args.id)),
        io_owner: (args.options.io_uid, args.options.io_gid),
        state_copy: state_copy(shared, args)?,
        pod_files: None,
        observed: Some(observe::directory(&shared.namespace, &args.id)),
        compiling: Arc::default(),
        layers: crate::wasm::layers(plan, &args.mounts, &crate::state_file::state_dir()),
        image_module: Arc::default(),
    })
}

/// Where clients that choose a directory for state look for the container: below its namespace and id, as
/// with runc.
fn state_copy(shared: &Shared, args: &CreateArgs) -> Result<Option<PathBuf>, Error> {
    let root = Path::new(&args.options.root);
    if args.options.root.is_empty() {
        return Ok(None);
    }
    if !root.is_absolute() {
        let text = format!("option root {root:?} is not an absolute path");
        return Err(Error::Invalid(text));
    }
    Ok(Some(root.join(&shared.namespace).join(args.id.as_str())))
}

/// A config that cannot be lowered is the caller's fault.
pub(crate) fn invalid(error: hull_plan::Invalid) -> Error {
    Error::Invalid(error.to_string())
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str()
        .ok_or_else(|| Error::Invalid(format!("path {path:?} is not UTF-8")))
}

async fn prepare(
    shared: &Shared,
    args: &CreateArgs,
    plan: &Plan,
    place: &Place,
) -> Result<Held, Error> {
    let setup = CgroupSetup {
        paths: place.cgroup.clone(),
        resources: plan.resources.clone(),
        owner: plan.cgroup_owner(),
    };
    let job = HostJob::Prepare {
        mounts: args.mounts.clone(),
        rootfs: plan.root.path.clone(),
        cgroup: Some(setup),
        pod_files: place.pod_files.clone(),
    };
    let lease = lease(place).inspect_err(|_| forget(place))?;
    let prepared = shared
        .launcher
        .run_holding(&job, lease, PREPARE_DEADLINE)
        .await;
    match prepared {
        Ok(prepared) => Ok(prepared),
        Err(JobError::Failed(error)) => {
            // It has undone what it did.
            forget(place);
            Err(error.into())
        }
        Err(JobError::Broken(error)) => {
            release_unfinished(shared, place).await;
            Err(error.into())
        }
    }
}

/// After a [`HostJob::Prepare`] of which nobody knows how far it came.
async fn release_unfinished(shared: &Shared, place: &Place) {
    let mut place = place.clone();
    if hull_cgroup::is_populated(&place.cgroup).unwrap_or(true) {
        // None of ours was started yet: this cgroup is somebody else's.
        place.cgroup = CgroupPaths::default();
    }
    release(shared, &place).await;
}

/// Removes what [`prepare`] made. Should that fail, the state file stays, for `delete`.
async fn release(shared: &Shared, place: &Place) {
    let job = release_job(place);
    match shared.launcher.run(&job, RELEASE_DEADLINE).await {
        Ok(()) => forget(place),
        Err(e) => {
            let (id, e) = (&place.id, SetupError::from(e));
            log::error!("container {id}: clean up after a failed create: {e}");
        }
    }
}

async fn undo(shared: &Shared, plan: &Plan, place: &Place) {
    release(shared, place).await;
    poststop(shared, plan, place).await;
}

async fn init(
    shared: &Shared,
    args: &CreateArgs,
    making: Making<'_>,
    trace: &mut Recorder,
) -> Result<Waiting, Error> {
    trace.note("streams");
    let origin = origin(shared, making.place, making.place.id.as_str());
    let owner = making.place.io_owner;
    let opened = stdio::open(&shared.launcher, &args.streams, origin, owner).await?;
    let Opened {
        streams,
        fds,
        logger,
    } = opened;
    let waiting = at_the_gate(shared, making, streams, fds, trace).await;
    logged(waiting, logger, |waiting| &waiting.stdio).await
}

fn origin<'a>(shared: &'a Shared, place: &'a Place, id: &'a str) -> Origin<'a> {
    Origin {
        id,
        namespace: &shared.namespace,
        bundle: &place.bundle,
    }
}

/// A logger stays with the process that it was started for, and goes if that did not come to be.
async fn logged<T>(
    made: Result<T, Error>,
    logger: Option<Logger>,
    stdio: impl Fn(&T) -> &Arc<Stdio>,
) -> Result<T, Error> {
    match (&made, logger) {
        (Ok(made), Some(logger)) => stdio(made).keep(logger),
        (Err(_), Some(logger)) => logger.abandon().await,
        (_, None) => {}
    }
    made
}

async fn at_the_gate(
    shared: &Shared,
    making: Making<'_>,
    streams: stdio::Prepared,
    mut fds: Vec<(FdRole, OwnedFd)>,
    trace: &mut Recorder,
) -> Result<Waiting, Error> {
    let Making {
        plan,
        place,
        holding,
    } = making;
    if plan.process.payload == Payload::Hold {
        let holder = hull_sys::holder::sealed();
        let holder = holder.map_err(|e| Error::host("make the holder of the pod", e))?;
        fds.push((FdRole::File, holder));
    }
    let new = |n: &&hull_abi::NamespacePlan| n.path.is_none();
    let spawn = Spawn::Init {
        new_namespaces: plan.namespaces.iter().filter(new).map(|n| n.kind).collect(),
        pid_namespace: plan
            .namespaces
            .iter()
            .find(|n| n.kind == NamespaceKind::Pid)
            .and_then(|n| n.path.clone()),
        cgroup: place.cgroup.clone(),
        keyring: place.keyring.clone(),
        between: plan.needs_process_between(),
    };
    trace.note("clone init");
    let body = encode(plan)?;
    let launched = shared
        .launcher
        .spawn(SpawnArgs { spawn, body, fds })
        .await?;
    let child = Arc::new(launched.process);
    let setup = async {
        trace.note("remember init");
        remember(plan, place, child.pid())?;
        if let Some(job) = holding {
            job.leave(LEAVE_DEADLINE).await?;
        }
        outside::settle_ids(plan, &plan.process, &child, given(place, &streams))?;
        trace.note("wait for init");
        let ready = until_ready(shared, plan, place, &launched.sync, &child).await?;
        trace.add(Who::Init, ready.moments);
        trace.note("start streams");
        Ok(Arc::new(Stdio::start(streams, ready.master)?))
    };
    match setup.await {
        Ok(stdio) => Ok(Waiting {
            child,
            stdio,
            gate: launched.sync,
        }),
        Err(error) => {
            end(&child).await;
            Err(error)
        }
    }
}

/// Streams that belong to nobody yet.
fn given<'a>(place: &Place, streams: &'a stdio::Prepared) -> Option<&'a stdio::Prepared> {
    (place.io_owner == (0, 0)).then_some(streams)
}

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    hull_abi::encode(value).map_err(|e| Error::Invalid(e.to_string()))
}

/// Makes sure that a process that failed is gone and reaped.
pub(crate) async fn end(child: &ChildProcess) {
    // ESRCH: it has ended by itself.
    child.signal(nix::libc::SIGKILL).ok();
    if tokio::time::timeout(END_DEADLINE, child.ended())
        .await
        .is_err()
    {
        log::warn!("process {} does not end", child.pid());
    }
}

/// Makes an exec process and waits until its program runs.
///
/// # Errors
/// The step that failed; the process is gone then.
pub(crate) async fn exec(
    shared: &Shared,
    args: ExecArgs,
) -> Result<(Arc<ChildProcess>, Arc<Stdio>), Error> {
    let origin = origin(shared, &args.place, args.id.as_str());
    let owner = args.place.io_owner;
    let opened = stdio::open(&shared.launcher, &args.streams, origin, owner).await?;
    let Opened {
        streams,
        fds,
        logger,
    } = opened;
    let running = into_container(shared, &args, streams, fds).await;
    logged(running, logger, |(_, stdio)| stdio).await
}

async fn into_container(
    shared: &Shared,
    args: &ExecArgs,
    streams: stdio::Prepared,
    mut fds: Vec<(FdRole, OwnedFd)>,
) -> Result<(Arc<ChildProcess>, Arc<Stdio>), Error> {
    let pidfd = args
        .init
        .pidfd()
        .try_clone_to_owned()
        .map_err(|e| Error::host("duplicate the pidfd of init", e))?;
    fds.push((FdRole::Init, pidfd));
    let spawn = Spawn::Exec {
        cgroup: args.place.cgroup.clone(),
        keyring: args.place.keyring.clone(),
        cpus: args.plan.process.attributes.exec_affinity.initial.clone(),
    };
    let body = encode(args.plan.as_ref())?;
    fault::point("clone exec");
    let Launched { process, sync } = shared
        .launcher
        .spawn(SpawnArgs { spawn, body, fds })
        .await?;
    fault::point("wait for exec");
    let started = async {
        let (container, own) = (&args.container, &args.plan.process);
        outside::settle_ids(container, own, &process, given(&args.place, &streams))?;
        let guest = Guest {
            plan: &args.container,
            place: &args.place,
            process: &args.plan.process,
            child: &process,
        };
        let asking = Asking::new(shared, guest);
        let agent = Agent::of(&args.plan.process, &process, || {
            let state = &args.container.state;
            state.render("running", Some(args.init.pid()))
        });
        let master = until_exec(&sync, SETUP_DEADLINE, Some(asking), agent).await?;
        Ok(Arc::new(Stdio::start(streams, master)?))
    };
    match started.await {
        Ok(stdio) => Ok((Arc::new(process), stdio)),
        Err(error) => {
            end(&process).await;
            Err(error)
        }
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        Self::Setup(error.into())
    }
}
