//! The end of processes: exec exits first, init's last, and out-of-memory before that.

use super::{Container, Ending, Outcome};
use crate::events::Event;
use crate::lifecycle::Status;
use crate::process::{Exit, Phase};
use crate::stdio::Stdio;
use hull_abi::{ExecId, HostJob};
use hull_cgroup::OomWatch;
use hull_launcher::client::{self, ChildProcess};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::Interest;

/// How long what init left behind may take to be killed.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How long exec processes may take to end after init. One that hangs in the kernel must not hide
/// the end of the container for ever.
const EXECS_DEADLINE: Duration = Duration::from_secs(5);

impl Container {
    /// Waits for a process to end and for its output to settle.
    pub(super) fn watch(&self, exec: Option<ExecId>, child: Arc<ChildProcess>, stdio: Arc<Stdio>) {
        self.beside(async move {
            let status = match child.ended().await {
                Ok(ended) => ended.status,
                Err(errno) => {
                    log::error!("process {}: its exit is lost: {errno}", child.pid());
                    255
                }
            };
            let exit = Exit {
                status,
                at: SystemTime::now(),
            };
            stdio.settle().await;
            Outcome::Ended { exec, exit }
        });
    }

    pub(super) fn on_exec_ended(&mut self, id: &ExecId, exit: Exit) {
        let container = self.id();
        let Some(exec) = self.execs.get_mut(id) else {
            return;
        };
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

    pub(super) fn on_init_ended(&mut self, exit: Exit) {
        if self.init.phase == Phase::Starting {
            // The outcome of the start that it belongs to is still on its way here.
            self.held_exit = Some(exit);
            return;
        }
        self.gate = None;
        let private = self.plan.has_private_pid_namespace();
        self.ending = Ending::Waiting {
            exit,
            leftovers_killed: private,
        };
        if !private {
            // Nobody else kills what shares its pid namespace with others.
            let shared = Arc::clone(&self.shared);
            let job = HostJob::Kill {
                cgroup: self.place.cgroup.clone(),
            };
            self.beside(async move {
                if let Err(e) = shared.launcher.run(&job, KILL_DEADLINE).await {
                    log::warn!("after the end of init: {e}");
                }
                Outcome::LeftoversKilled
            });
        }
        if self.has_live_execs() {
            self.beside(async {
                tokio::time::sleep(EXECS_DEADLINE).await;
                Outcome::ExecsOverdue
            });
        }
        self.finish_ending();
    }

    pub(super) fn on_leftovers_killed(&mut self) {
        if let Ending::Waiting { exit, .. } = self.ending {
            self.ending = Ending::Waiting {
                exit,
                leftovers_killed: true,
            };
        }
        self.finish_ending();
    }

    pub(super) fn on_execs_overdue(&mut self) {
        if let Ending::Waiting { exit, .. } = self.ending {
            log::warn!(
                "container {}: exec processes outlive init by 5 s",
                self.place.id
            );
            self.publish_init_exit(exit);
        }
    }

    fn has_live_execs(&self) -> bool {
        self.execs
            .values()
            .any(|exec| matches!(exec.process.phase, Phase::Starting | Phase::Running))
    }

    /// Publishes the exit of init once nothing has to come before it.
    pub(super) fn finish_ending(&mut self) {
        if let Ending::Waiting {
            exit,
            leftovers_killed: true,
        } = self.ending
            && !self.has_live_execs()
        {
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
        self.init.stop(exit);
        self.delete_waiting();
    }

    /// Watches the cgroup's count of out-of-memory kills.
    pub(super) fn watch_memory(&mut self) {
        let watch = match OomWatch::open(&self.place.cgroup) {
            Ok(Some(watch)) => Arc::new(watch),
            Ok(None) => return,
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
        self.oom = Some(watch);
        let outcomes = self.outcomes.clone();
        tokio::spawn(async move {
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
    }

    pub(super) fn on_out_of_memory(&mut self) {
        let Some(watch) = &self.oom else { return };
        // Removing the cgroup also notifies; then there is nothing to count.
        let Ok(count) = watch.drain() else { return };
        if count > self.ooms_seen {
            self.ooms_seen = count;
            self.publish(Event::Oom { id: self.id() });
        }
    }
}
