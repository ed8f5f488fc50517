//! Signals, pause and resume, limits.

use super::{Container, Outcome, Reply, answer};
use crate::daemon::Shared;
use crate::error::{Error, Op};
use crate::events::Event;
use crate::launch::invalid;
use crate::lifecycle::{Status, permits};
use crate::process::Phase;
use crate::turn;
use hull_abi::{ExecId, HostJob, Resources};
use hull_launcher::client::JobError;
use std::sync::Arc;
use std::time::Duration;

/// How long freezing, thawing, updating or killing may take.
const DEADLINE: Duration = Duration::from_secs(30);

impl Container {
    pub(super) fn kill(&self, exec: Option<&ExecId>, signal: i32, all: bool, reply: Reply<()>) {
        match exec {
            None if all && signal == nix::libc::SIGKILL => self.kill_cgroup(reply),
            None if all => answer(reply, self.signal_all(signal)),
            None => self.kill_init(signal, reply),
            Some(id) => answer(reply, self.kill_exec(id, signal)),
        }
    }

    fn kill_init(&self, signal: i32, reply: Reply<()>) {
        let frozen = matches!(self.status, Status::Paused | Status::Pausing);
        match self.init.signal(signal) {
            // A process that is frozen by cgroup v1 dies only when it is thawed.
            Ok(()) if frozen && signal == nix::libc::SIGKILL => self.kill_cgroup(reply),
            other => answer(reply, other),
        }
    }

    fn kill_exec(&self, id: &ExecId, signal: i32) -> Result<(), Error> {
        let process = self.process(Some(id))?;
        match process.phase {
            Phase::Created | Phase::Starting => {
                Err(Error::FailedPrecondition("process not created".to_owned()))
            }
            Phase::Running | Phase::Stopped(_) => process.signal(signal),
        }
    }

    /// Allowed in every state: it is also how what a stopped container left behind is cleaned up.
    fn kill_cgroup(&self, reply: Reply<()>) {
        self.job(
            HostJob::Kill {
                cgroup: self.place.cgroup.clone(),
            },
            reply,
        );
    }

    fn signal_all(&self, signal: i32) -> Result<(), Error> {
        let cgroup = &self.place.cgroup;
        let opened: Vec<_> = hull_cgroup::pids(cgroup)?
            .into_iter()
            .filter_map(|pid| Some((pid, hull_sys::pidfd::open(pid).ok()?)))
            .collect();
        // A number may have gone to a stranger before it was opened; from here on it cannot.
        let members = hull_cgroup::pids(cgroup)?;
        for (pid, pidfd) in opened {
            if !members.contains(&pid) {
                continue;
            }
            match hull_sys::pidfd::send_signal(pidfd, signal) {
                // ESRCH: it ended in between.
                Ok(()) | Err(hull_sys::Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(Error::host(format!("send signal {signal} to {pid}"), errno));
                }
            }
        }
        Ok(())
    }

    /// Runs a job of which only the answer matters.
    fn job(&self, job: HostJob, reply: Reply<()>) {
        let shared = Arc::clone(&self.shared);
        turn::spawn(
            "control",
            async move { answer(reply, run(&shared, &job).await) },
        );
    }

    pub(super) fn pause(&mut self, reply: Reply<()>) {
        if let Err(e) = permits(self.status, Op::Pause) {
            return answer(reply, Err(e));
        }
        self.status = Status::Pausing;
        let shared = Arc::clone(&self.shared);
        let cgroup = self.place.cgroup.clone();
        let turn = Arc::clone(&self.cgroup_turn);
        self.beside(async move {
            let mut frozen = turn.lock().await;
            let freeze = HostJob::Freeze {
                cgroup: cgroup.clone(),
            };
            let result = run(&shared, &freeze).await;
            frozen.0 = result.is_ok();
            if result.is_err() {
                // A job that died has thawed nothing, and half a container stopped is worse than none.
                if let Err(e) = run(&shared, &HostJob::Thaw { cgroup }).await {
                    log::warn!("after a failed pause: {}", e.line());
                }
            }
            Outcome::Frozen { result, reply }
        });
    }

    pub(super) fn on_frozen(&mut self, result: Result<(), Error>, reply: Reply<()>) {
        if self.status == Status::Pausing {
            self.status = if result.is_ok() {
                Status::Paused
            } else {
                Status::Running
            };
            if result.is_ok() {
                self.publish(Event::Paused { id: self.id() });
            }
        }
        answer(reply, result);
    }

    pub(super) fn resume(&mut self, reply: Reply<()>) {
        if let Err(e) = permits(self.status, Op::Resume) {
            return answer(reply, Err(e));
        }
        let shared = Arc::clone(&self.shared);
        let thaw = HostJob::Thaw {
            cgroup: self.place.cgroup.clone(),
        };
        let turn = Arc::clone(&self.cgroup_turn);
        self.beside(async move {
            let mut frozen = turn.lock().await;
            let result = run(&shared, &thaw).await;
            if result.is_ok() {
                frozen.0 = false;
            }
            Outcome::Thawed { result, reply }
        });
    }

    pub(super) fn on_thawed(&mut self, result: Result<(), Error>, reply: Reply<()>) {
        if result.is_ok() && self.status == Status::Paused {
            self.status = Status::Running;
            self.publish(Event::Resumed { id: self.id() });
        }
        answer(reply, result);
    }

    pub(super) fn update(&mut self, resources: &[u8], reply: Reply<()>) {
        let lowered = permits(self.status, Op::Update)
            .and_then(|()| hull_plan::lower_resources(resources).map_err(invalid));
        match lowered {
            Err(e) => answer(reply, Err(e)),
            Ok((resources, warnings)) => {
                for warning in warnings {
                    log::warn!("container {}: {warning}", self.place.id);
                }
                self.apply(resources, reply);
            }
        }
    }

    /// Changes limits, after the change before.
    fn apply(&self, resources: Resources, reply: Reply<()>) {
        let (shared, turn) = (Arc::clone(&self.shared), Arc::clone(&self.cgroup_turn));
        let cgroup = self.place.cgroup.clone();
        turn::spawn("control", async move {
            // Not the state when it was asked for: a resume may have been waited for since.
            let frozen = turn.lock().await;
            let update = HostJob::Update {
                cgroup: cgroup.clone(),
                resources,
            };
            let ran = shared.launcher.run(&update, DEADLINE).await;
            if matches!(ran, Err(JobError::Broken(_))) && !frozen.0 {
                // A job that died while the processes stood still has left them so.
                if let Err(e) = run(&shared, &HostJob::Thaw { cgroup }).await {
                    log::warn!("after a failed update: {}", e.line());
                }
            }
            answer(reply, ran.map_err(Error::from));
        });
    }
}

async fn run(shared: &Shared, job: &HostJob) -> Result<(), Error> {
    Ok(shared.launcher.run(job, DEADLINE).await?)
}
