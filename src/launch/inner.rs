//! Containers of our own, which containerd knows nothing of: run once, to their end.

use super::{
    PREPARE_DEADLINE, Place, RELEASE_DEADLINE, encode, end, release_gate, release_job, until_ready,
};
use crate::daemon::Shared;
use crate::error::Error;
use hull_abi::{CgroupSetup, FdRole, HostJob, Plan, SetupError, Spawn};
use hull_launcher::client::{ChildProcess, SpawnArgs};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What is run.
pub(crate) struct Inner<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) place: &'a Place,
    pub(crate) fds: Vec<(FdRole, OwnedFd)>,
    pub(crate) limit: Duration,
    /// The process on whose behalf it runs. Nobody wants the result once that is dead.
    pub(crate) client: &'a ChildProcess,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself: exit status, or 128 + signal number.
    Status(u32),
    /// It was killed when the time was over.
    TimedOut,
    /// It was killed since its client is dead.
    Unwanted,
}

/// Runs the plan's program. Nothing is left of it afterwards.
///
/// # Errors
/// Why it could not be started.
pub(crate) async fn run_to_end(shared: &Shared, inner: Inner<'_>) -> Result<Ended, Error> {
    let (plan, place) = (inner.plan, inner.place);
    let job = HostJob::Prepare {
        mounts: Vec::new(),
        rootfs: plan.root.path.clone(),
        cgroup: Some(CgroupSetup {
            paths: place.cgroup.clone(),
            resources: plan.resources.clone(),
            owner: plan.cgroup_owner(),
        }),
        pod_files: None,
    };
    let ended = match shared.launcher.run(&job, PREPARE_DEADLINE).await {
        Ok(()) => run(shared, inner).await,
        // The path is ours alone: what is in the way there is of an earlier run.
        Err(error) => Err(error.into()),
    };
    let released = shared
        .launcher
        .run(&release_job(place), RELEASE_DEADLINE)
        .await;
    if let Err(e) = released {
        let (id, e) = (&place.id, SetupError::from(e));
        log::error!("container {id}: clean up after a compilation: {e}");
    }
    ended
}

async fn run(shared: &Shared, inner: Inner<'_>) -> Result<Ended, Error> {
    let Inner {
        plan,
        place,
        fds,
        limit,
        client,
    } = inner;
    let spawn = Spawn::Init {
        new_namespaces: plan.namespaces.iter().map(|n| n.kind).collect(),
        pid_namespace: None,
        cgroup: place.cgroup.clone(),
        keyring: None,
        between: plan.needs_process_between(),
    };
    let body = encode(plan)?;
    let launched = shared
        .launcher
        .spawn(SpawnArgs { spawn, body, fds })
        .await?;
    let (child, sync) = (launched.process, launched.sync);
    let work = async {
        until_ready(shared, plan, place, &sync, &child).await?;
        release_gate(plan, &sync, child.pid()).await?;
        match tokio::time::timeout(limit, child.ended()).await {
            Ok(Ok(ended)) => Ok(Ended::Status(ended.status)),
            Ok(Err(errno)) => Err(Error::host("wait for the compiler", errno)),
            Err(_) => Ok(Ended::TimedOut),
        }
    };
    let ended = tokio::select! {
        biased;
        () = client.dead() => Ok(Ended::Unwanted),
        ended = work => ended,
    };
    if !matches!(ended, Ok(Ended::Status(_))) {
        end(&child).await;
    }
    ended
}
