//! Deleting the container.

use super::{Container, Next, Outcome, ProcessInfo, Reply, answer};
use crate::error::{Error, Op};
use crate::events::Event;
use crate::launch::{self, RELEASE_DEADLINE};
use crate::lifecycle::{Status, permits};
use crate::process::Phase;
use std::sync::Arc;
use std::time::Duration;

/// How long output may take on its way to a slow reader.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

impl Container {
    pub(super) fn delete(&mut self, reply: Reply<ProcessInfo>) {
        if let Err(e) = permits(self.status, Op::Delete) {
            return answer(reply, Err(e));
        }
        if self.init.phase == Phase::Starting {
            let have = Status::Running.name();
            return answer(
                reply,
                Err(Error::WrongState {
                    have,
                    op: Op::Delete,
                }),
            );
        }
        if self.status == Status::Created {
            // It waits at the gate and has nothing to lose.
            drop(self.init.signal(nix::libc::SIGKILL));
            self.delete_after_exit.push(reply);
            return;
        }
        self.remove(reply);
    }

    /// Goes on with deletes that had to wait for the end of init.
    pub(super) fn delete_waiting(&mut self) {
        for reply in std::mem::take(&mut self.delete_after_exit) {
            self.remove(reply);
        }
    }

    fn remove(&mut self, reply: Reply<ProcessInfo>) {
        if self.removing {
            let text = format!("container {} is being deleted", self.place.id);
            return answer(reply, Err(Error::FailedPrecondition(text)));
        }
        self.removing = true;
        let shared = Arc::clone(&self.shared);
        let place = self.place.clone();
        let stdio: Vec<_> = self
            .execs
            .values()
            .map(|exec| &exec.process)
            .chain([&self.init])
            .filter_map(|process| process.stdio.clone())
            .collect();
        self.beside(async move {
            for stdio in stdio {
                stdio.finish(DRAIN_DEADLINE).await;
            }
            let job = launch::release_job(&place);
            let result = shared.launcher.run(&job, RELEASE_DEADLINE).await;
            Outcome::Removed {
                result: result.map_err(Error::from),
                reply,
            }
        });
    }

    pub(super) fn on_removed(
        &mut self,
        result: Result<(), Error>,
        reply: Reply<ProcessInfo>,
    ) -> Next {
        self.removing = false;
        if let Err(error) = result {
            // The container stays, so that Delete can be tried again.
            answer(reply, Err(error));
            return Next::Stay;
        }
        let info = self.state(None);
        if let Ok(ProcessInfo {
            pid,
            exit: Some(exit),
            ..
        }) = &info
        {
            self.publish(Event::Delete {
                id: self.id(),
                pid: *pid,
                status: exit.status,
                exited_at: exit.at,
            });
        }
        launch::forget(&self.place);
        self.shared.registry.remove(&self.place.id);
        self.shared.container_removed();
        if self.plan.hooks.poststop.is_empty() {
            answer(reply, info);
            return Next::Leave;
        }
        let (shared, plan, place) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.plan),
            self.place.clone(),
        );
        tokio::spawn(async move {
            launch::poststop(&shared, &plan, &place).await;
            answer(reply, info);
        });
        Next::Leave
    }
}
