//! Making the processes of a container: from a request to an init process at the gate, from a
//! registered exec to a running program. Every step that fails undoes what was done before.

use crate::daemon::Shared;
use crate::error::Error;
use crate::events::Io;
use crate::options::Options;
use crate::state_file::StateFile;
use crate::stdio::{self, Stdio};
use hull_abi::{
    Blame, CgroupPaths, CgroupSetup, ContainerId, ExecPlan, FdRole, FromInit, Hook, HostJob,
    HostMount, NamespaceKind, Plan, SetupError, Spawn, Step, ToInit,
};
use hull_launcher::client::{ChildProcess, Launched, SpawnArgs, SyncSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long mounting and making the cgroup may take.
const PREPARE_DEADLINE: Duration = Duration::from_secs(60);
/// How long a new process may take from one message to the next.
const SETUP_DEADLINE: Duration = Duration::from_secs(60);
/// How long killing, unmounting and removing may take.
pub(crate) const RELEASE_DEADLINE: Duration = Duration::from_secs(60);
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
}

/// Where a container lives on the host.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) rootfs_mounted: bool,
    pub(crate) cgroup: CgroupPaths,
    pub(crate) keyring: Option<String>,
    /// Owner of the standard streams.
    pub(crate) io_owner: (u32, u32),
}

/// What Start of an exec process needs.
#[derive(Debug)]
pub(crate) struct ExecArgs {
    pub(crate) plan: ExecPlan,
    pub(crate) place: Place,
    pub(crate) init: Arc<ChildProcess>,
    pub(crate) streams: Io,
}

/// Makes a container.
///
/// # Errors
/// The step that failed; nothing is left of the container then.
pub(crate) async fn create(shared: &Shared, args: CreateArgs) -> Result<Created, Error> {
    let (plan, place) = decide(shared, &args)?;
    for warning in &plan.warnings {
        log::warn!("container {}: {warning}", place.id);
    }
    remember(&place, 0)?;
    let made = prepare(shared, &args, &plan, &place).await;
    let outcome = match made {
        Err(error) => Err(error),
        Ok(()) => match init(shared, &args, &plan, &place).await {
            Ok(Waiting { child, stdio, gate }) => {
                return Ok(Created {
                    plan,
                    place,
                    child,
                    stdio,
                    gate,
                });
            }
            Err(error) => {
                undo(shared, &plan, &place).await;
                Err(error)
            }
        },
    };
    forget(&place);
    outcome
}

/// What [`init`] adds to the plan and the place.
struct Waiting {
    child: Arc<ChildProcess>,
    stdio: Arc<Stdio>,
    gate: SyncSocket,
}

fn decide(shared: &Shared, args: &CreateArgs) -> Result<(Plan, Place), Error> {
    let config = args.bundle.join("config.json");
    let bytes =
        std::fs::read(&config).map_err(|e| Error::host(format!("read {}", config.display()), e))?;
    let bundle = text(&args.bundle)?;
    let mounted = args.bundle.join("rootfs");
    let has_mounts = !args.mounts.is_empty();
    let inputs = hull_plan::Inputs {
        config: &bytes,
        bundle,
        id: &args.id,
        namespace: &shared.namespace,
        rootfs: has_mounts.then(|| text(&mounted)).transpose()?,
        no_pivot: args.options.no_pivot_root,
        terminal: args.streams.terminal,
    };
    let plan = hull_plan::lower(&inputs, &shared.facts).map_err(invalid)?;
    let cgroup = shared.layout.resolve(&plan.cgroups_path)?;
    let place = Place {
        id: args.id.clone(),
        bundle: args.bundle.clone(),
        rootfs: PathBuf::from(&plan.root.path),
        rootfs_mounted: has_mounts,
        cgroup,
        keyring: (!args.options.no_new_keyring).then(|| format!("_ses.{}", args.id)),
        io_owner: (args.options.io_uid, args.options.io_gid),
    };
    Ok((plan, place))
}

/// A config that cannot be lowered is the caller's fault.
pub(crate) fn invalid(error: hull_plan::Invalid) -> Error {
    Error::Invalid(error.to_string())
}

fn text(path: &Path) -> Result<&str, Error> {
    path.to_str()
        .ok_or_else(|| Error::Invalid(format!("path {path:?} is not UTF-8")))
}

/// Writes down what `delete` needs should we be killed.
fn remember(place: &Place, pid: i32) -> Result<(), Error> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let mut file = StateFile::new(place.id.as_str(), if pid == 0 { own } else { pid })?;
    if pid == 0 {
        file.pid = 0;
        file.start_time = 0;
    }
    file.cgroup = place.cgroup.clone();
    file.rootfs.clone_from(&place.rootfs);
    file.rootfs_mounted = place.rootfs_mounted;
    file.write(&place.bundle)
}

/// Nothing is left that `delete` would have to clean up.
pub(crate) fn forget(place: &Place) {
    if let Err(e) = crate::state_file::remove(&place.bundle) {
        log::warn!("container {}: {}", place.id, e.line());
    }
}

async fn prepare(
    shared: &Shared,
    args: &CreateArgs,
    plan: &Plan,
    place: &Place,
) -> Result<(), Error> {
    let setup = CgroupSetup {
        paths: place.cgroup.clone(),
        resources: plan.resources.clone(),
    };
    let job = HostJob::Prepare {
        mounts: args.mounts.clone(),
        rootfs: plan.root.path.clone(),
        cgroup: Some(setup),
    };
    Ok(shared.launcher.run(&job, PREPARE_DEADLINE).await?)
}

/// The job that takes a container's cgroup and root file system away.
pub(crate) fn release_job(place: &Place) -> HostJob {
    HostJob::Release {
        rootfs: place.rootfs.to_string_lossy().into_owned(),
        unmount: place.rootfs_mounted,
        cgroup: place.cgroup.clone(),
    }
}

async fn undo(shared: &Shared, plan: &Plan, place: &Place) {
    if let Err(e) = shared
        .launcher
        .run(&release_job(place), RELEASE_DEADLINE)
        .await
    {
        log::error!(
            "container {}: clean up after a failed create: {e}",
            place.id
        );
    }
    poststop(shared, plan, place).await;
}

async fn init(
    shared: &Shared,
    args: &CreateArgs,
    plan: &Plan,
    place: &Place,
) -> Result<Waiting, Error> {
    let (pipes, fds) = stdio::pipes(&args.streams, place.io_owner)?;
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
    };
    let body = encode(plan)?;
    let launched = shared
        .launcher
        .spawn(SpawnArgs { spawn, body, fds })
        .await?;
    let child = Arc::new(launched.process);
    let setup = async {
        remember(place, child.pid())?;
        let master = until_ready(shared, plan, place, &launched.sync, child.pid()).await?;
        Ok(Arc::new(Stdio::start(&args.streams, pipes, master)?))
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

fn encode<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    hull_abi::encode(value).map_err(|e| Error::Invalid(e.to_string()))
}

/// Makes sure that a process that failed is gone and reaped.
async fn end(child: &ChildProcess) {
    // ESRCH: it has ended by itself.
    child.signal(nix::libc::SIGKILL).ok();
    if tokio::time::timeout(END_DEADLINE, child.ended())
        .await
        .is_err()
    {
        log::warn!("process {} does not end", child.pid());
    }
}

/// Answers the new init process until it waits at the gate.
async fn until_ready(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    sync: &SyncSocket,
    pid: i32,
) -> Result<Option<OwnedFd>, Error> {
    let mut master = None;
    loop {
        let received = tokio::time::timeout(SETUP_DEADLINE, sync.receive())
            .await
            .map_err(|_| Error::Deadline("the init process is not ready after 60 s".to_owned()))?;
        match received {
            Ok((FromInit::Ready, _)) => return Ok(master),
            Ok((FromInit::Console, fd)) => master = fd,
            Ok((FromInit::Hooks, _)) => {
                let state = plan.state.render("creating", Some(pid));
                host_hooks(shared, place, "prestart", &plan.hooks.prestart, &state).await?;
                host_hooks(
                    shared,
                    place,
                    "createRuntime",
                    &plan.hooks.create_runtime,
                    &state,
                )
                .await?;
                if sync.send(&ToInit::Proceed { pid }).await.is_err() {
                    return Err(killed(Step::RuntimeHooks));
                }
            }
            Ok((FromInit::Failed(error), _)) => return Err(error.into()),
            Ok((FromInit::Execing | FromInit::Done | FromInit::Cloned { .. }, _)) | Err(_) => {
                return Err(killed(Step::Gate));
            }
        }
    }
}

fn killed(step: Step) -> Error {
    Error::Setup(SetupError {
        step,
        blame: Blame::Host,
        action: "wait for the process".to_owned(),
        cause: "it was killed while it was set up (out of memory in its cgroup?)".to_owned(),
        errno: 0,
    })
}

/// Opens the gate and waits until the program runs.
///
/// # Errors
/// Why it does not; the process has ended or will at once.
pub(crate) async fn release_gate(
    plan: &Plan,
    gate: &SyncSocket,
    pid: i32,
) -> Result<(), Error> {
    let hooks = !plan.hooks.start_container.is_empty();
    if gate.send(&ToInit::Start { pid }).await.is_err() {
        return Err(killed(Step::Gate));
    }
    let limit = if hooks {
        HOOKS_DEADLINE
    } else {
        SETUP_DEADLINE
    };
    until_exec(gate, limit).await.map(drop)
}

/// Waits for the execing byte and the end of the socket behind it.
async fn until_exec(sync: &SyncSocket, limit: Duration) -> Result<Option<OwnedFd>, Error> {
    let mut master = None;
    let mut execing = false;
    loop {
        let received = tokio::time::timeout(limit, sync.receive())
            .await
            .map_err(|_| Error::Deadline("the program does not start".to_owned()))?;
        match received {
            Ok((FromInit::Execing, _)) => execing = true,
            Ok((FromInit::Console, fd)) => master = fd,
            Ok((FromInit::Failed(error), _)) => return Err(error.into()),
            Ok((
                FromInit::Ready | FromInit::Hooks | FromInit::Done | FromInit::Cloned { .. },
                _,
            )) => {}
            Err(_) if execing => return Ok(master),
            Err(_) => return Err(killed(Step::Exec)),
        }
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
    let (pipes, mut fds) = stdio::pipes(&args.streams, args.place.io_owner)?;
    let pidfd = args
        .init
        .pidfd()
        .try_clone_to_owned()
        .map_err(|e| Error::host("duplicate the pidfd of init", e))?;
    fds.push((FdRole::Init, pidfd));
    let spawn = Spawn::Exec {
        join_pid_namespace: args.plan.namespaces.contains(&NamespaceKind::Pid),
        cgroup: args.place.cgroup.clone(),
        keyring: args.place.keyring.clone(),
    };
    let body = encode(&args.plan)?;
    let Launched { process, sync } = shared
        .launcher
        .spawn(SpawnArgs { spawn, body, fds })
        .await?;
    let started = async {
        let master = until_exec(&sync, SETUP_DEADLINE).await?;
        Ok(Arc::new(Stdio::start(&args.streams, pipes, master)?))
    };
    match started.await {
        Ok(stdio) => Ok((Arc::new(process), stdio)),
        Err(error) => {
            end(&process).await;
            Err(error)
        }
    }
}

async fn host_hooks(
    shared: &Shared,
    place: &Place,
    kind: &str,
    hooks: &[Hook],
    state: &str,
) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let job = HostJob::Hooks {
        kind: kind.to_owned(),
        hooks: hooks.to_vec(),
        state: state.to_owned(),
        cwd: place.bundle.to_string_lossy().into_owned(),
        stop_at_failure: kind != "poststop",
    };
    Ok(shared.launcher.run(&job, HOOKS_DEADLINE).await?)
}

/// Runs the poststart hooks; a failing one is the caller's to act on.
///
/// # Errors
/// The first hook that failed.
pub(crate) async fn poststart(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    pid: i32,
) -> Result<(), Error> {
    let state = plan.state.render("running", Some(pid));
    host_hooks(shared, place, "poststart", &plan.hooks.poststart, &state).await
}

/// Runs the poststop hooks. Failures are logged: the container is gone whatever they say.
pub(crate) async fn poststop(shared: &Shared, plan: &Plan, place: &Place) {
    let state = plan.state.render("stopped", None);
    if let Err(e) = host_hooks(shared, place, "poststop", &plan.hooks.poststop, &state).await {
        log::warn!("container {}: {}", place.id, e.line());
    }
}
