//! Containers of our own, which containerd knows nothing of: run once, to their end.

use super::{
    PREPARE_DEADLINE, Place, RELEASE_DEADLINE, encode, end, release_gate, release_job, until_ready,
};
use crate::daemon::Shared;
use crate::error::Error;
use hull_abi::{CgroupSetup, FdRole, HostJob, Plan, SetupError, Spawn};
use hull_launcher::client::{ChildProcess, JobError, SpawnArgs};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Runs the plan's program and gives its exit status, 128 + signal number for a signal, or `None`
/// when the time was over. Nothing is left of it afterwards.
///
/// # Errors
/// Why it could not be started.
pub(crate) async fn run_to_end(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    fds: Vec<(FdRole, OwnedFd)>,
    limit: Duration,
) -> Result<Option<u32>, Error> {
    let job = HostJob::Prepare {
        mounts: Vec::new(),
        rootfs: plan.root.path.clone(),
        cgroup: Some(CgroupSetup {
            paths: place.cgroup.clone(),
            resources: plan.resources.clone(),
        }),
    };
    let ended = match shared.launcher.run(&job, PREPARE_DEADLINE).await {
        Ok(()) => run(shared, plan, place, fds, limit).await,
        // It has undone what it did; what is there is not ours.
        Err(error @ JobError::Failed(_)) => return Err(error.into()),
        Err(error @ JobError::Broken(_)) => Err(error.into()),
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

async fn run(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    fds: Vec<(FdRole, OwnedFd)>,
    limit: Duration,
) -> Result<Option<u32>, Error> {
    let spawn = Spawn::Init {
        new_namespaces: plan.namespaces.iter().map(|n| n.kind).collect(),
        pid_namespace: None,
        cgroup: place.cgroup.clone(),
        keyring: None,
    };
    let body = encode(plan)?;
    let launched = shared
        .launcher
        .spawn(SpawnArgs { spawn, body, fds })
        .await?;
    let (child, sync) = (launched.process, launched.sync);
    let started = async {
        until_ready(shared, plan, place, &sync, child.pid()).await?;
        release_gate(plan, &sync, child.pid()).await
    };
    let ended = match started.await {
        Ok(()) => wait(&child, limit).await,
        Err(error) => Err(error),
    };
    if !matches!(ended, Ok(Some(_))) {
        end(&child).await;
    }
    ended
}

async fn wait(child: &ChildProcess, limit: Duration) -> Result<Option<u32>, Error> {
    match tokio::time::timeout(limit, child.ended()).await {
        Ok(Ok(ended)) => Ok(Some(ended.status)),
        Ok(Err(errno)) => Err(Error::host("wait for the compiler", errno)),
        Err(_) => Ok(None),
    }
}
