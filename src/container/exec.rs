//! Exec processes: registered, started, deleted.

use super::{Container, Exec, Outcome, ProcessInfo, Reply, answer};
use crate::error::{Error, Op};
use crate::events::{Event, Io};
use crate::fault;
use crate::launch::{self, ExecArgs};
use crate::lifecycle::{Status, permits};
use crate::process::{Exit, Phase, Process};
use crate::stdio::Stdio;
use crate::turn;
use hull_abi::{ExecId, ExecPlan};
use hull_launcher::client::ChildProcess;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long Delete of an exec process waits for output on its way to a slow reader.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// What waiters of a process that never ran are told.
const NEVER_RAN: u32 = 255;

impl Container {
    /// Decides on an exec process; one with a large spec is decided on beside the loop.
    pub(super) fn register_exec(&self, id: ExecId, streams: Io, spec: Vec<u8>, reply: Reply<()>) {
        let len = u64::try_from(spec.len()).unwrap_or(u64::MAX);
        let (plan, facts) = (Arc::clone(&self.plan), self.shared.facts);
        let terminal = streams.terminal;
        let lower = move || hull_plan::lower_exec(&spec, terminal, &plan, &facts);
        self.beside(async move {
            let plan = match launch::work_on_config(len, lower).await {
                Ok(plan) => plan.map(Arc::new).map_err(launch::invalid),
                Err(e) => Err(Error::host("lower the spec of an exec", e)),
            };
            Outcome::ExecLowered {
                id,
                streams,
                plan,
                reply,
            }
        });
    }

    pub(super) fn add_exec(
        &mut self,
        id: ExecId,
        streams: Io,
        plan: Result<Arc<ExecPlan>, Error>,
    ) -> Result<(), Error> {
        if self.execs.contains_key(&id) {
            return Err(Error::InUse(format!("id {id}")));
        }
        permits(self.status, Op::Exec)?;
        if self.is_sandbox() {
            let text = format!(
                "container {} is a sandbox and runs no programs",
                self.place.id
            );
            return Err(Error::FailedPrecondition(text));
        }
        let plan = plan?;
        let exec_id = id.as_str().to_owned();
        self.execs.insert(
            id,
            Exec {
                process: Process::registered(streams),
                plan,
                deletes: Vec::new(),
            },
        );
        self.publish(Event::ExecAdded {
            id: self.id(),
            exec_id,
        });
        fault::point("exec added");
        Ok(())
    }

    pub(super) fn start_exec(&mut self, id: ExecId, reply: Reply<u32>) {
        match self.prepare_exec(&id) {
            Err(e) => answer(reply, Err(e)),
            Ok(args) => {
                let shared = Arc::clone(&self.shared);
                self.beside(async move {
                    let result = launch::exec(&shared, args).await;
                    Outcome::ExecStarted { id, result, reply }
                });
            }
        }
    }

    fn prepare_exec(&mut self, id: &ExecId) -> Result<ExecArgs, Error> {
        permits(self.status_of(Some(id))?, Op::Start)?;
        if let Status::Pausing | Status::Paused = self.status {
            permits(self.status, Op::Start)?;
        }
        let place = self.place.clone();
        let init = self
            .init
            .child()
            .cloned()
            .filter(|_| self.ending == super::Ending::No);
        let Some(init) = init else {
            return Err(self.init_is_gone());
        };
        let exec = self
            .execs
            .get_mut(id)
            .ok_or_else(|| Error::NoProcess(id.as_str().to_owned()))?;
        exec.process.phase = Phase::Starting;
        let streams = exec.process.streams.clone();
        Ok(ExecArgs {
            id: id.clone(),
            plan: Arc::clone(&exec.plan),
            container: Arc::clone(&self.plan),
            place,
            init,
            streams,
        })
    }

    fn init_is_gone(&self) -> Error {
        let text = format!("container {} init process is not running", self.place.id);
        Error::FailedPrecondition(text)
    }

    pub(super) fn on_exec_started(
        &mut self,
        id: ExecId,
        mut result: Result<(Arc<ChildProcess>, Arc<Stdio>), Error>,
        reply: Reply<u32>,
    ) {
        if self.ending == super::Ending::Done
            && let Ok((child, stdio)) = result
        {
            // The exit of init was told without waiting for this any longer: nothing starts after it.
            end(child, stdio);
            result = Err(self.init_is_gone());
        }
        let Some(exec) = self.execs.get_mut(&id) else {
            if let Ok((child, stdio)) = result {
                // Nobody would ever hear of it again.
                end(child, stdio);
            }
            return answer(reply, Err(Error::NoProcess(id.as_str().to_owned())));
        };
        match result {
            Ok((child, stdio)) => {
                exec.process.attach(Arc::clone(&child), Arc::clone(&stdio));
                exec.process.phase = Phase::Running;
                fault::point("exec runs");
                let pid = exec.process.pid_u32();
                let exec_id = id.as_str().to_owned();
                self.publish(Event::ExecStarted {
                    id: self.id(),
                    exec_id,
                    pid,
                });
                if self.ending != super::Ending::No {
                    // Init ended meanwhile; nothing may outlive it.
                    child.signal(nix::libc::SIGKILL).ok();
                }
                self.watch(Some(id), child, stdio);
                answer(reply, Ok(pid));
            }
            Err(error) => {
                exec.process.phase = Phase::Created;
                exec.process.release_waiters(Exit {
                    status: NEVER_RAN,
                    at: SystemTime::now(),
                });
                answer(reply, Err(error));
                self.finish_ending();
            }
        }
    }

    pub(super) fn delete_exec(&mut self, id: ExecId, reply: Reply<ProcessInfo>) {
        let allowed = self
            .status_of(Some(&id))
            .and_then(|have| permits(have, Op::Delete));
        if let Err(e) = allowed {
            return answer(reply, Err(e));
        }
        let Some(exec) = self.execs.get_mut(&id) else {
            return answer(reply, Err(Error::NoProcess(id.as_str().to_owned())));
        };
        exec.deletes.push(reply);
        let Some(stdio) = exec.process.stdio.clone() else {
            // It never ran. At once, so that no Start can come in between.
            return self.on_exec_removed(&id);
        };
        if exec.deletes.len() == 1 {
            self.beside(async move {
                stdio.finish(DRAIN_DEADLINE).await;
                Outcome::ExecRemoved { id }
            });
        }
    }

    pub(super) fn on_exec_removed(&mut self, id: &ExecId) {
        let info = self.state(Some(id));
        let Some(mut exec) = self.execs.remove(id) else {
            return;
        };
        self.shared.rest.put_off();
        exec.process.release_waiters(Exit {
            status: 0,
            at: SystemTime::now(),
        });
        let Ok(info) = info else { return };
        for reply in exec.deletes {
            answer(reply, Ok(info.clone()));
        }
    }
}

/// Ends a process that nobody is to hear of, and what takes its output.
fn end(child: Arc<ChildProcess>, stdio: Arc<Stdio>) {
    turn::spawn("exec", async move {
        launch::end(&child).await;
        stdio.finish(Duration::ZERO).await;
    });
}
