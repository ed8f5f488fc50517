//! Jobs on the host's side, with a deadline.

use super::{Launcher, SpawnArgs, broken};
use hull_abi::{FromInit, HostJob, SetupError, Spawn};
use std::time::Duration;

/// How a job did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// It failed and said so, after undoing what it had done.
    Failed(SetupError),
    /// It was killed or never heard of again: nobody knows how far it came. It runs no more, unless
    /// the kernel holds it in a wait that cannot be interrupted.
    Broken(SetupError),
}

impl From<JobError> for SetupError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Failed(error) | JobError::Broken(error) => error,
        }
    }
}

impl Launcher {
    /// Does a job in a child of the launcher and waits for its end. When the time is over the child
    /// is killed.
    ///
    /// # Errors
    /// The job's own failure, or that it died or took too long.
    pub async fn run(&self, job: &HostJob, deadline: Duration) -> Result<(), JobError> {
        let body = hull_abi::encode(job).map_err(|e| JobError::Failed(broken(&e.to_string())))?;
        let args = SpawnArgs {
            spawn: Spawn::Job,
            body,
            fds: Vec::new(),
        };
        let launched = self.spawn(args).await.map_err(JobError::Broken)?;
        let outcome = match tokio::time::timeout(deadline, launched.sync.receive()).await {
            Ok(Ok((FromInit::Done, _))) => Ok(()),
            Ok(Ok((FromInit::Failed(error), _))) => Err(JobError::Failed(error)),
            Ok(_) => Err(JobError::Broken(broken("the job's process died"))),
            Err(_) => {
                // ESRCH: it ended just now, which is as good.
                launched.process.signal(nix::libc::SIGKILL).ok();
                let cause = format!("the job took longer than {} s", deadline.as_secs());
                Err(JobError::Broken(broken(&cause)))
            }
        };
        // A killed process in an uninterruptible wait may stay: the sweep reaps it later.
        drop(tokio::time::timeout(Duration::from_secs(1), launched.process.ended()).await);
        outcome
    }
}
