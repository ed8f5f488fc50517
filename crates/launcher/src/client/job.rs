//! Jobs on the host's side, with a deadline.

use super::{Launcher, SpawnArgs, broken};
use hull_abi::{FromInit, HostJob, SetupError, Spawn};
use std::time::Duration;

impl Launcher {
    /// Does a job in a child of the launcher and waits for its end. When the time is over the child
    /// is killed.
    ///
    /// # Errors
    /// The job's own failure, or that it died or took too long.
    pub async fn run(&self, job: &HostJob, deadline: Duration) -> Result<(), SetupError> {
        let body = hull_abi::encode(job).map_err(|e| broken(&e.to_string()))?;
        let args = SpawnArgs {
            spawn: Spawn::Job,
            body,
            fds: Vec::new(),
        };
        let launched = self.spawn(args).await?;
        let outcome = match tokio::time::timeout(deadline, launched.sync.receive()).await {
            Ok(Ok((FromInit::Done, _))) => Ok(()),
            Ok(Ok((FromInit::Failed(error), _))) => Err(error),
            Ok(_) => Err(broken("the job's process died")),
            Err(_) => {
                // ESRCH: it ended just now, which is as good.
                launched.process.signal(nix::libc::SIGKILL).ok();
                Err(broken(&format!(
                    "the job took longer than {} s",
                    deadline.as_secs()
                )))
            }
        };
        // A killed process in an uninterruptible wait may stay: the sweep reaps it later.
        drop(tokio::time::timeout(Duration::from_secs(1), launched.process.ended()).await);
        outcome
    }
}
