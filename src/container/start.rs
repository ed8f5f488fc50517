//! Start of the init process.

use super::{Container, Ending, Outcome, Reply, answer};
use crate::error::{Error, Op};
use crate::events::Event;
use crate::fault;
use crate::launch;
use crate::lifecycle::{Status, permits};
use crate::process::Phase;
use crate::turn;
use hull_abi::Step;
use std::sync::Arc;

impl Container {
    pub(super) fn start(&mut self, reply: Reply<u32>) {
        if let Err(e) = permits(self.status, Op::Start) {
            return answer(reply, Err(e));
        }
        let Some(gate) = self.gate.take() else {
            // It failed to start, or ended at the gate: its exit is about to be told.
            let text = format!("container {} init process has ended", self.place.id);
            return answer(reply, Err(Error::FailedPrecondition(text)));
        };
        self.init.phase = Phase::Starting;
        self.status = Status::Starting;
        let (plan, pid) = (Arc::clone(&self.plan), self.init.pid);
        self.beside(async move {
            fault::point("release gate");
            let result = launch::release_gate(&plan, &gate, pid).await;
            Outcome::Started { result, reply }
        });
    }

    pub(super) fn on_started(&mut self, result: Result<(), Error>, reply: Reply<u32>) {
        if self.ending == Ending::Done {
            // Its exit was told without waiting for this any longer; it must stay the last word.
            let ended = result.and(Err(launch::killed(Step::Exec)));
            return answer(reply, ended);
        }
        match result {
            Ok(()) => {
                fault::point("program runs");
                self.init.phase = Phase::Running;
                self.status = Status::Running;
                self.publish(Event::Start {
                    id: self.id(),
                    pid: self.init.pid_u32(),
                });
                fault::point("start event");
                self.run_poststart(reply);
            }
            Err(error) => {
                // It has ended or will at once; its exit is told like any other.
                self.init.phase = Phase::Created;
                self.status = Status::Created;
                drop(self.init.signal(nix::libc::SIGKILL));
                answer(reply, Err(error));
            }
        }
        self.finish_ending();
    }

    /// A failing poststart hook ends the container, as with runc and by runtime-spec 1.3.
    fn run_poststart(&self, reply: Reply<u32>) {
        let pid = self.init.pid;
        if self.plan.hooks.poststart.is_empty() {
            return answer(reply, Ok(pid.unsigned_abs()));
        }
        let (shared, plan, place) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.plan),
            self.place.clone(),
        );
        let child = self.init.child().cloned();
        turn::spawn("start", async move {
            let result = launch::poststart(&shared, &plan, &place, pid).await;
            if let (Err(_), Some(child)) = (&result, child) {
                // ESRCH: it has ended by itself.
                child.signal(nix::libc::SIGKILL).ok();
            }
            answer(reply, result.map(|()| pid.unsigned_abs()));
        });
    }
}
