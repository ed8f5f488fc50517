//! Jobs on the host's side that may block: mounting and unmounting the root file system, cgroups,
//! network devices, hooks, loggers. Each runs in a child of its own, so that it may take its time, change its directory or die.

mod image;
mod logger;
mod mapped_rootfs;
mod net_devices;
mod pod_files;
mod rootfs;
mod wasm;

use crate::failure::{At, because, from_cgroup};
use crate::sync::Sync;
use crate::{hook, step};
use hull_abi::{
    Blame, CgroupPaths, CgroupSetup, FromInit, Hook, HostJob, HostMount, PodFiles, SetupError,
    Step, ToInit,
};
use hull_sys::single::SingleThreaded;
pub use pod_files::remove as remove_pod_files;
pub use rootfs::unmount as unmount_rootfs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Largest encoded job.
const MAX_JOB: u64 = 16 << 20;
/// How long killed processes may take to leave their cgroup.
const KILL_DEADLINE: Duration = Duration::from_secs(5);
/// The same where nobody needs the cgroup empty: a process in uninterruptible sleep must not hold up more.
const GONE_DEADLINE: Duration = Duration::from_millis(200);

/// Does the job in `body` and says that it is done.
pub(crate) fn run(
    single: &SingleThreaded,
    sync: &Sync,
    body: OwnedFd,
    file: Option<OwnedFd>,
) -> Result<(), SetupError> {
    step::note(Step::Plan);
    let bytes =
        hull_sys::fd::read_to_end(body, MAX_JOB).at(Step::Plan, || "read a job".to_owned())?;
    let job: HostJob = hull_abi::decode(&bytes).map_err(|e| {
        because(
            Step::Plan,
            Blame::Hull,
            "read a job".to_owned(),
            &e.to_string(),
        )
    })?;
    let Brought { fds, warnings } = perform(single, sync, job, file)?;
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let moments = step::moments();
    sync.send_fds(Step::Plan, &FromInit::Done { moments, warnings }, &fds)
}

/// What a job was to bring, and what did not work and can be done without.
#[derive(Debug, Default)]
struct Brought {
    fds: Vec<OwnedFd>,
    warnings: Vec<String>,
}

fn perform(
    single: &SingleThreaded,
    sync: &Sync,
    job: HostJob,
    file: Option<OwnedFd>,
) -> Result<Brought, SetupError> {
    let done = match job {
        HostJob::Prepare {
            mounts,
            rootfs,
            cgroup,
            pod_files,
        } => {
            let prepared = prepare(single, &mounts, &rootfs, || {
                make_around(sync, cgroup.as_ref(), pod_files.as_ref())
            });
            // The lease: from here on nothing more is done.
            drop(file);
            return prepared;
        }
        HostJob::Release {
            rootfs,
            unmount,
            cgroup,
            pod_files,
        } => release(&rootfs, unmount, &cgroup, pod_files.as_ref()),
        HostJob::Update { cgroup, resources } => {
            hull_cgroup::update(&cgroup, &resources).map_err(|e| from_cgroup(Step::Cgroup, &e))
        }
        HostJob::Freeze { cgroup } => {
            hull_cgroup::freeze(&cgroup).map_err(|e| from_cgroup(Step::Freezer, &e))
        }
        HostJob::Thaw { cgroup } => {
            hull_cgroup::thaw(&cgroup).map_err(|e| from_cgroup(Step::Freezer, &e))
        }
        HostJob::Kill { cgroup } => kill(&cgroup),
        HostJob::NetDevices { devices } => net_devices::perform(&devices, file),
        HostJob::Wasm(job) => {
            // It looks by itself whether the daemon is gone, and then tidies up in the store.
            outlive_daemon(Step::Artifact)?;
            let fds = wasm::perform(sync, job, file)?;
            let warnings = Vec::new();
            return Ok(Brought { fds, warnings });
        }
        HostJob::Logger(program) => {
            // It ends when it has read the last lines, which may be those that tell why the daemon died.
            outlive_daemon(Step::Logger)?;
            match logger::become_program(sync, &program)? {}
        }
        HostJob::Hooks {
            kind,
            hooks,
            state,
            cwd,
            stop_at_failure,
        } => {
            step::begin(Step::HostHooks)?;
            // What a hook has started must end with the daemon too: see there.
            outlive_daemon(Step::HostHooks)?;
            let batch = hook::Batch {
                step: Step::HostHooks,
                kind: &kind,
                hooks: &hooks,
                state: &state,
                cwd: &cwd,
                default_env: &[],
                daemon: Some(sync),
            };
            if stop_at_failure {
                hook::run_all(batch)
            } else {
                hook::run_each(batch)
            }
        }
    };
    done.map(|()| Brought::default())
}

/// For a job that has something to do when the daemon dies, and notices that by itself.
fn outlive_daemon(step: Step) -> Result<(), SetupError> {
    hull_sys::process::die_with_parent(false).at(step, || "outlive the shim".to_owned())
}

fn prepare(
    single: &SingleThreaded,
    mounts: &[HostMount],
    rootfs: &str,
    make_around: impl FnOnce() -> Result<Brought, SetupError>,
) -> Result<Brought, SetupError> {
    step::begin(Step::RootfsMount)?;
    rootfs::mount(single, mounts, rootfs)?;
    make_around().inspect_err(|_| {
        if !mounts.is_empty() {
            // The first failure is the one to report.
            drop(rootfs::unmount(Path::new(rootfs)));
        }
    })
}

/// What a container has besides its root file system.
fn make_around(
    sync: &Sync,
    cgroup: Option<&CgroupSetup>,
    pod: Option<&PodFiles>,
) -> Result<Brought, SetupError> {
    pod.map_or(Ok(()), pod_files::make)?;
    let made = step::begin(Step::Cgroup).and_then(|()| match cgroup {
        Some(setup) => make_cgroup(sync, setup),
        None => Ok(Brought::default()),
    });
    made.inspect_err(|_| {
        // The first failure is the one to report.
        drop(pod.map(pod_files::remove));
    })
}

/// Where systemd makes it, this process stays in it until the container's first process is there.
fn make_cgroup(sync: &Sync, setup: &CgroupSetup) -> Result<Brought, SetupError> {
    let failed = |e: hull_cgroup::Error| from_cgroup(Step::Cgroup, &e);
    let Some(scope) = &setup.paths.scope else {
        hull_cgroup::create(setup).map_err(failed)?;
        return Ok(watch_memory(&setup.paths));
    };
    let placeholder = hull_cgroup::create_scope(setup, scope).map_err(failed)?;
    let Brought { fds, warnings } = watch_memory(&setup.paths);
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    let moments = step::moments();
    sync.send_fds(Step::Cgroup, &FromInit::Holding { moments, warnings }, &fds)?;
    // Should the daemon be gone, the process ends here, and with it the unit.
    match sync.receive(Step::Cgroup)? {
        ToInit::Leave => placeholder
            .leave()
            .map_err(failed)
            .map(|()| Brought::default()),
        ToInit::Proceed { .. }
        | ToInit::Runner { .. }
        | ToInit::Digest
        | ToInit::Notified
        | ToInit::Limited
        | ToInit::Keep
        | ToInit::Start { .. } => {
            let action = "hold the unit".to_owned();
            Err(because(
                Step::Cgroup,
                Blame::Hull,
                action,
                "an unexpected message came",
            ))
        }
    }
}

/// What the daemon hears of want of memory by. Done here, because finding the files waits for everybody who
/// makes or removes a cgroup.
fn watch_memory(paths: &CgroupPaths) -> Brought {
    let mut brought = Brought::default();
    match hull_cgroup::OomFiles::open(paths) {
        Ok(files) => brought.fds = files.map_or_else(Vec::new, hull_cgroup::OomFiles::into_fds),
        Err(e) => brought
            .warnings
            .push(format!("no out-of-memory events: {e}")),
    }
    brought
}

/// Runs poststop hooks in this process, all of them whatever the earlier ones do. For `delete`, which
/// has no launcher.
///
/// # Errors
/// The first hook that failed.
pub fn run_poststop(hooks: &[Hook], state: &str, cwd: &str) -> Result<(), SetupError> {
    let (step, kind) = (Step::HostHooks, "poststop");
    hook::run_each(hook::Batch {
        step,
        kind,
        hooks,
        state,
        cwd,
        default_env: &[],
        daemon: None,
    })
}

/// Kills what is left in the cgroup, removes it, unmounts the root file system and removes the files of
/// a pod. All of it is tried; the first failure is reported.
///
/// # Errors
/// With the step that failed; what was missing already is no failure.
pub fn release(
    rootfs: &str,
    unmount: bool,
    cgroup: &CgroupPaths,
    pod: Option<&PodFiles>,
) -> Result<(), SetupError> {
    step::begin(Step::CgroupRemove)?;
    let removed = empty_cgroup(cgroup).and_then(|()| {
        hull_cgroup::remove(cgroup).map_err(|e| from_cgroup(Step::CgroupRemove, &e))
    });
    step::begin(Step::RootfsUnmount)?;
    let unmounted = if unmount {
        rootfs::unmount(Path::new(rootfs))
    } else {
        Ok(())
    };
    let forgotten = pod.map_or(Ok(()), pod_files::remove);
    removed.and(unmounted).and(forgotten)
}

/// Kills, and gives what was killed a moment to be gone: whoever hears of it looks next.
fn kill(cgroup: &CgroupPaths) -> Result<(), SetupError> {
    hull_cgroup::kill(cgroup).map_err(|e| from_cgroup(Step::Kill, &e))?;
    let deadline = Instant::now() + GONE_DEADLINE;
    let mut pause = Duration::from_micros(100);
    // A cgroup that cannot be looked at has nothing to wait for.
    while hull_cgroup::is_populated(cgroup).unwrap_or(false) && Instant::now() < deadline {
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
    Ok(())
}

fn empty_cgroup(cgroup: &CgroupPaths) -> Result<(), SetupError> {
    let fail = |e: &hull_cgroup::Error| from_cgroup(Step::Kill, e);
    let deadline = Instant::now() + KILL_DEADLINE;
    let mut pause = Duration::from_micros(200);
    while hull_cgroup::is_populated(cgroup).map_err(|e| fail(&e))? {
        hull_cgroup::kill(cgroup).map_err(|e| fail(&e))?;
        if Instant::now() > deadline {
            let action = "kill what is left in the cgroup".to_owned();
            let cause = "processes are still there after 5 s";
            return Err(because(Step::Kill, Blame::Host, action, cause));
        }
        // A killed process leaves its cgroup when it has exited, which no descriptor tells on v1.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(())
}
