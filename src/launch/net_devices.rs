//! Network devices of the host that become the container's, as a job.

use crate::daemon::Shared;
use crate::error::Error;
use crate::turn;
use hull_abi::{HostJob, Plan};
use hull_launcher::client::ChildProcess;
use std::time::Duration;

/// How long moving may take: the kernel waits for nothing but its other users of network devices.
const DEADLINE: Duration = Duration::from_secs(60);

/// Moves the devices into the network namespace that init is in.
///
/// # Errors
/// The first device that could not be moved; then they are all where they were.
pub(super) async fn take_over(
    shared: &Shared,
    plan: &Plan,
    init: &ChildProcess,
) -> Result<(), Error> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    let job = HostJob::NetDevices {
        devices: plan.net_devices.clone(),
    };
    let pidfd = init
        .pidfd()
        .try_clone_to_owned()
        .map_err(|e| Error::host("duplicate the pidfd of init", e))?;
    let job = shared.launcher.begin(&job, Some(pidfd)).await?;
    job.next(DEADLINE).await?;
    // It only has to end, which nobody needs to wait for.
    turn::spawn("end of a job", job.end());
    Ok(())
}
