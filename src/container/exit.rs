//! The end of processes: exec exits first, init's last, and out-of-memory before that.

use super::{Awaited, Container, Ending, Exec, Outcome};
use crate::events::Event;
use crate::fault;
use crate::lifecycle::Status;
use crate::process::{Exit, Phase};
use crate::stdio::Stdio;
use crate::turn;
use hull_abi::{ExecId, HostJob, SetupError};
use hull_cgroup::{OomFiles, OomWatch};
use hull_launcher::client::{self, ChildProcess};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::Interest;
use tokio::task::AbortHandle;

/// How long what init left behind may take to be killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long everything may take that is told before the end of init. A process that hangs in the kernel, or
/// an exit that got lost, must not hide the end of the container for ever.
const OVERDUE: Duration = Duration::from_secs(5);
/// The status of a process of which nobody knows how it ended.
const UNKNOWN: u32 = 255;
/// 128 + SIGKILL: the kernel may have chosen the process when memory ran out.
const KILLED: u32 = 137;

/// The count of out-of-memory kills, and what waits for it to change.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    watch: OomWatch,
    notices: AbortHandle,
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.notices.abort();
    }
}

impl Container {
    /// Waits for a process to end and for its output to settle.
    pub(super) fn watch(&self, exec: Option<ExecId>, child: Arc<ChildProcess>, stdio: Arc<Stdio>) {
        let outcomes = self.outcomes.clone();
        self.beside(async move {
            let status = match child.ended().await {
                Ok(ended) => ended.status,
                Err(errno) => {
                    log::error!("process {}: its exit is lost: {errno}", child.pid());
                    UNKNOWN
                }
            };
            let exit = Exit {
                status,
                at: SystemTime::now(),
            };
            if exec.is_none() {
                // A container that is gone does not care any more.
                drop(outcomes.send(Outcome::InitReaped { exit }));
            }
            stdio.settle().await;
            Outcome::Ended { exec, exit }
        });
    }

    pub(super) fn on_exec_ended(&mut self, id: &ExecId, exit: Exit) {
        let container = self.id();
        if exit.status == KILLED {
            // The cause before the effect.
            self.on_out_of_memory();
        }
        let Some(exec) = self.execs.get_mut(id) else {
            return;
        };
        if matches!(exec.process.phase, Phase::Stopped(_)) {
            // It was given up, and its exit is told.
            return;
        }
        let pid = exec.process.pid_u32();
        exec.process.stop(exit);
        self.publish(Event::Exit {
            id: container,
            process: id.as_str().to_owned(),
            pid,
            status: exit.status,
            exited_at: exit.at,
        });
        self.finish_ending();
    }

    /// At once, whatever its output does: nothing may be started any more, and what it left must go.
    pub(super) fn on_init_reaped(&mut self, exit: Exit) {
        fault::point("init reaped");
        let private = self.plan.has_private_pid_namespace();
        self.ending = Ending::Waiting {
            exit,
            until: Awaited {
                settled: false,
                // The kernel has killed what was in its pid namespace.
                leftovers_killed: private,
                overdue: false,
            },
        };
        self.gate = None;
        if !private {
            // By themselves too: somebody may have moved them out of the cgroup.
            for exec in self.execs.values() {
                // It may have ended, or not be there yet.
                drop(exec.process.signal(nix::libc::SIGKILL));
            }
            let shared = Arc::clone(&self.shared);
            let job = HostJob::Kill {
                cgroup: self.place.cgroup.clone(),
            };
            self.beside(async move {
                if let Err(e) = shared.launcher.run(&job, KILL_DEADLINE).await {
                    log::warn!("after the end of init: {}", SetupError::from(e));
                }
                Outcome::LeftoversKilled
            });
        }
        self.beside(async {
            tokio::time::sleep(OVERDUE).await;
            Outcome::Overdue
        });
    }

    pub(super) fn on_init_settled(&mut self) {
        self.came(|until| until.settled = true);
    }

    pub(super) fn on_leftovers_killed(&mut self) {
        self.came(|until| until.leftovers_killed = true);
    }

    /// The time is over for what comes before the end of init; what is left of it is told when it comes.
    pub(super) fn on_overdue(&mut self) {
        if let Ending::Waiting { .. } = self.ending {
            log::warn!(
                "the exit of init is told, {} s after it: {}",
                OVERDUE.as_secs(),
                self.describe()
            );
        }
        self.came(|until| until.overdue = true);
    }

    /// The container is gone, and with it whoever would be told of the ends of these processes later: each
    /// that was started has an exit all the same.
    pub(super) fn give_up_execs(&mut self) {
        let running = |exec: &&Exec| exec.process.phase == Phase::Running;
        let lost: Vec<ExecId> = self
            .execs
            .iter()
            .filter(|(_, exec)| running(exec))
            .map(|(id, _)| id.clone())
            .collect();
        for id in lost {
            log::error!("container {}: the exit of exec {id} is lost", self.place.id);
            let exit = Exit {
                status: UNKNOWN,
                at: SystemTime::now(),
            };
            self.on_exec_ended(&id, exit);
        }
    }

    fn came(&mut self, note: impl FnOnce(&mut Awaited)) {
        if let Ending::Waiting { until, .. } = &mut self.ending {
            note(until);
        }
        self.finish_ending();
    }

    fn has_live_execs(&self) -> bool {
        self.execs
            .values()
            .any(|exec| matches!(exec.process.phase, Phase::Starting | Phase::Running))
    }

    /// Publishes the exit of init once nothing has to come before it. The outcome of a start is one of
    /// those things: an exit must not overtake the start it belongs to.
    pub(super) fn finish_ending(&mut self) {
        let Ending::Waiting { exit, until } = self.ending else {
            return;
        };
        let starting = self.init.phase == Phase::Starting;
        let ready = until.settled && until.leftovers_killed && !self.has_live_execs() && !starting;
        if ready || until.overdue {
            self.publish_init_exit(exit);
        }
    }

    fn publish_init_exit(&mut self, exit: Exit) {
        self.ending = Ending::Done;
        // The last look at the counter, so that the cause comes before the effect.
        self.on_out_of_memory();
        self.status = Status::Stopped;
        let pid = self.init.pid_u32();
        self.publish(Event::Exit {
            id: self.id(),
            process: self.id(),
            pid,
            status: exit.status,
            exited_at: exit.at,
        });
        fault::point("exit event");
        self.init.stop(exit);
        if !self.deletes.is_empty() {
            self.remove();
        }
    }

    /// Watches the cgroup's count of out-of-memory kills.
    pub(super) fn watch_memory(&mut self, files: OomFiles) {
        let watch = match OomWatch::new(files, &self.place.cgroup) {
            Ok(watch) => watch,
            Err(e) => {
                log::warn!("container {}: no out-of-memory events: {e}", self.place.id);
                return;
            }
        };
        self.ooms_seen = watch.drain().unwrap_or(0);
        let notified = watch
            .as_fd()
            .try_clone_to_owned()
            .and_then(|fd| Ok(client::watch(fd, Interest::READABLE)?));
        let notified = match notified {
            Ok(fd) => fd,
            Err(e) => {
                log::warn!("container {}: no out-of-memory events: {e}", self.place.id);
                return;
            }
        };
        let outcomes = self.outcomes.clone();
        let notices = turn::spawn("exit", async move {
            // Ends with the container, whose channel closes.
            loop {
                let ready = tokio::select! {
                    ready = notified.readable() => ready,
                    () = outcomes.closed() => return,
                };
                let Ok(mut ready) = ready else { return };
                // The container drains the watch; its next event sets the readiness again.
                ready.clear_ready();
                if outcomes.send(Outcome::OutOfMemory).is_err() {
                    return;
                }
            }
        });
        self.oom = Some(MemoryWatch {
            watch,
            notices: notices.abort_handle(),
        });
    }

    pub(super) fn on_out_of_memory(&mut self) {
        let Some(MemoryWatch { watch, .. }) = &self.oom else {
            return;
        };
        // Removing the cgroup also notifies; then there is nothing to count.
        let Ok(count) = watch.drain() else { return };
        if count > self.ooms_seen {
            self.ooms_seen = count;
            self.publish(Event::Oom { id: self.id() });
        }
    }
}
