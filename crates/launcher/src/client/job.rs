//! Jobs on the host's side, with a deadline.

use super::{ChildProcess, Launched, Launcher, SpawnArgs, SyncClosed, broken};
use crate::failure::because;
use hull_abi::{Blame, FdRole, FromInit, HostJob, Moments, SetupError, Spawn, Step, ToInit};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long the process of a job that is over may take to end.
const REAP_DEADLINE: Duration = Duration::from_secs(1);

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

/// What a job has done, while it may go on holding something for us.
#[derive(Debug)]
pub struct Held {
    /// When its steps began.
    pub moments: Moments,
    /// What did not work and can be done without; one line each, for the log.
    pub warnings: Vec<String>,
    /// What it was to bring.
    pub fds: Vec<OwnedFd>,
    /// The job, if it holds something: it waits for [`Job::leave`] or for being dropped.
    pub job: Option<Job>,
}

/// A job that has been started. Whoever drops it without its end leaves that to the sweep.
#[derive(Debug)]
pub struct Job {
    launched: Launched,
}

impl Launcher {
    /// Does a job in a child of the launcher and waits until it is done. When the time is over the
    /// child is killed.
    ///
    /// # Errors
    /// The job's own failure, or that it died or took too long.
    pub async fn run(&self, job: &HostJob, deadline: Duration) -> Result<(), JobError> {
        self.run_noting(job, deadline).await.map(drop)
    }

    /// As [`Launcher::run`]; gives the moments at which the job began its steps.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub async fn run_noting(&self, job: &HostJob, deadline: Duration) -> Result<Moments, JobError> {
        let job = self.begin(job, None).await?;
        let (word, _) = job.next(deadline).await?;
        // It only has to end, which the caller need not wait for.
        tokio::spawn(job.end());
        let FromInit::Done { moments, .. } = word else {
            return Err(JobError::Broken(broken("the job spoke out of order")));
        };
        Ok(moments)
    }

    /// As [`Launcher::run_noting`], for a job that brings descriptors and may go on holding something for
    /// us. `lease` is open as long as its process is there, whoever else has died.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub async fn run_holding(
        &self,
        job: &HostJob,
        lease: OwnedFd,
        deadline: Duration,
    ) -> Result<Held, JobError> {
        let job = self.begin(job, Some(lease)).await?;
        let (word, fds) = job.next(deadline).await?;
        let (moments, warnings, job) = if let FromInit::Holding { moments, warnings } = word {
            (moments, warnings, Some(job))
        } else if let FromInit::Done { moments, warnings } = word {
            // It only has to end, which the caller need not wait for.
            tokio::spawn(job.end());
            (moments, warnings, None)
        } else {
            return Err(JobError::Broken(broken("the job spoke out of order")));
        };
        Ok(Held {
            moments,
            warnings,
            fds,
            job,
        })
    }

    /// As [`Launcher::run`], for a job that brings descriptors.
    ///
    /// # Errors
    /// As [`Launcher::run`].
    pub async fn fetch(&self, job: &HostJob, deadline: Duration) -> Result<Vec<OwnedFd>, JobError> {
        let job = self.begin(job, None).await?;
        let (_, fds) = job.next(deadline).await?;
        job.end().await;
        Ok(fds)
    }

    /// Starts a job, which may be about a file, without waiting for anything.
    ///
    /// # Errors
    /// When there is no process for it.
    pub async fn begin(&self, job: &HostJob, file: Option<OwnedFd>) -> Result<Job, JobError> {
        let body = hull_abi::encode(job).map_err(|e| JobError::Failed(broken(&e.to_string())))?;
        let args = SpawnArgs {
            spawn: Spawn::Job,
            body,
            fds: file.map(|file| (FdRole::File, file)).into_iter().collect(),
        };
        let launched = self.spawn(args).await.map_err(JobError::Broken)?;
        Ok(Job { launched })
    }
}

impl Job {
    /// Waits for the job's next word: that it is done, or that it waits for us; and for the
    /// descriptors that come with it. When the time is over the child is killed.
    ///
    /// # Errors
    /// The job's own failure, or that it died or took too long. It has ended then.
    pub async fn next(&self, deadline: Duration) -> Result<(FromInit, Vec<OwnedFd>), JobError> {
        let Launched { process, sync } = &self.launched;
        let error = match tokio::time::timeout(deadline, sync.receive()).await {
            Ok(Ok((
                word @ (FromInit::Done { .. } | FromInit::Claimed | FromInit::Holding { .. }),
                fds,
            ))) => return Ok((word, fds)),
            Ok(Ok((FromInit::Failed(error), _))) => JobError::Failed(error),
            Ok(Err(SyncClosed { no_room: true })) => JobError::Broken(no_room()),
            Ok(_) => JobError::Broken(broken("the job's process died")),
            Err(_) => {
                // ESRCH: it ended just now, which is as good.
                process.signal(nix::libc::SIGKILL).ok();
                let cause = format!("the job took longer than {} s", deadline.as_secs());
                JobError::Broken(broken(&cause))
            }
        };
        reap(process).await;
        Err(error)
    }

    /// Answers a job that waits for us.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn answer(&self, word: &ToInit, fds: &[BorrowedFd<'_>]) -> Result<(), JobError> {
        let sent = self.launched.sync.send_fds(word, fds).await;
        sent.map_err(|_| JobError::Broken(broken("the job's process died")))
    }

    /// Ends a job that holds something, and waits until it has let go of it.
    ///
    /// # Errors
    /// The job's own failure, or that it died or took too long.
    pub async fn leave(self, deadline: Duration) -> Result<(), JobError> {
        self.answer(&ToInit::Leave, &[]).await?;
        self.next(deadline).await?;
        tokio::spawn(self.end());
        Ok(())
    }

    /// Lets go of a job, which ends at once if it still waits for us.
    pub async fn end(self) {
        let Launched { process, sync } = self.launched;
        drop(sync);
        reap(&process).await;
    }
}

/// The daemon may not have what the job has brought.
fn no_room() -> SetupError {
    let action = "take over what a job has opened".to_owned();
    let cause = hull_sys::Errno::EMFILE.desc().to_lowercase();
    because(Step::Clone, Blame::Host, action, &cause)
}

/// A killed process in an uninterruptible wait may stay: the sweep reaps it later.
async fn reap(process: &ChildProcess) {
    drop(tokio::time::timeout(REAP_DEADLINE, process.ended()).await);
}
