//! Exec processes: registered, started, deleted.

use super::{Container, Exec, Outcome, ProcessInfo, Reply, answer};
use crate::error::{Error, Op};
use crate::events::{Event, Io};
use crate::launch::{self, ExecArgs};
use crate::lifecycle::{Status, permits};
use crate::process::{Exit, Phase, Process};
use crate::stdio::Stdio;
use hull_abi::ExecId;
use hull_launcher::client::ChildProcess;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long Delete of an exec process waits for output on its way to a slow reader.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// What waiters of a process that never ran are told.
const NEVER_RAN: u32 = 255;

impl Container {
    pub(super) fn register_exec(
        &mut self,
        id: ExecId,
        streams: Io,
        spec: &[u8],
    ) -> Result<(), Error> {
        if self.execs.contains_key(&id) {
            return Err(Error::InUse(format!("id {id}")));
        }
        permits(self.status, Op::Exec)?;
        let plan = hull_plan::lower_exec(spec, streams.terminal, &self.plan, &self.shared.facts)
            .map_err(launch::invalid)?;
        let exec_id = id.as_str().to_owned();
        self.execs.insert(
            id,
            Exec {
                process: Process::registered(streams),
                plan,
            },
        );
        self.publish(Event::ExecAdded {
            id: self.id(),
            exec_id,
        });
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
        let have = self.status_of(Some(id))?;
        permits(have, Op::Start)?;
        let (place, status) = (self.place.clone(), self.status);
        let init = self
            .init
            .child()
            .cloned()
            .filter(|_| self.ending == super::Ending::No);
        let Some(init) = init else {
            let text = format!("container {} init process is not running", self.place.id);
            return Err(Error::FailedPrecondition(text));
        };
        match status {
            Status::Pausing | Status::Paused => {
                return Err(Error::WrongState {
                    have: status.name(),
                    op: Op::Start,
                });
            }
            Status::Created | Status::Running | Status::Stopped => {}
        }
        let exec = self
            .execs
            .get_mut(id)
            .ok_or_else(|| Error::NoProcess(id.as_str().to_owned()))?;
        if exec.process.phase != Phase::Created {
            let have = Status::Running.name();
            return Err(Error::WrongState {
                have,
                op: Op::Start,
            });
        }
        exec.process.phase = Phase::Starting;
        let streams = exec.process.streams.clone();
        Ok(ExecArgs {
            plan: exec.plan.clone(),
            place,
            init,
            streams,
        })
    }

    pub(super) fn on_exec_started(
        &mut self,
        id: ExecId,
        result: Result<(Arc<ChildProcess>, Arc<Stdio>), Error>,
        reply: Reply<u32>,
    ) {
        let Some(exec) = self.execs.get_mut(&id) else {
            return;
        };
        match result {
            Ok((child, stdio)) => {
                exec.process.attach(Arc::clone(&child), Arc::clone(&stdio));
                exec.process.phase = Phase::Running;
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
        let Some(exec) = self.execs.get(&id) else {
            return;
        };
        if exec.process.phase == Phase::Starting {
            let have = Status::Running.name();
            return answer(
                reply,
                Err(Error::WrongState {
                    have,
                    op: Op::Delete,
                }),
            );
        }
        let stdio = exec.process.stdio.clone();
        self.beside(async move {
            if let Some(stdio) = stdio {
                stdio.finish(DRAIN_DEADLINE).await;
            }
            Outcome::ExecRemoved { id, reply }
        });
    }

    pub(super) fn on_exec_removed(&mut self, id: &ExecId, reply: Reply<ProcessInfo>) {
        let info = self.state(Some(id));
        if let Some(mut exec) = self.execs.remove(id) {
            let never = Exit {
                status: 0,
                at: SystemTime::now(),
            };
            exec.process.release_waiters(never);
        }
        answer(reply, info);
    }
}
