//! Deleting the container.

use super::{Container, Next, Outcome, ProcessInfo, Reply, answer};
use crate::error::{Error, Op};
use crate::events::Event;
use crate::launch::{self, RELEASE_DEADLINE};
use crate::lifecycle::{Status, permits};
use crate::stdio::Stdio;
use hull_abi::SetupError;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long output of all processes together may take on its way to slow readers.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

impl Container {
    /// Answers when everything is gone. Who asks again meanwhile, because an earlier caller gave up,
    /// gets the same answer.
    pub(super) fn delete(&mut self, reply: Reply<ProcessInfo>) {
        if let Err(e) = permits(self.status, Op::Delete) {
            return answer(reply, Err(e));
        }
        self.deletes.push(reply);
        if self.status == Status::Created {
            // It waits at the gate and has nothing to lose. It may have ended by itself, too; either
            // way its exit comes and the removal goes on from there.
            drop(self.init.signal(nix::libc::SIGKILL));
        } else {
            self.remove();
        }
    }

    pub(super) fn remove(&mut self) {
        if self.removing {
            return;
        }
        self.removing = true;
        let (shared, plan) = (Arc::clone(&self.shared), Arc::clone(&self.plan));
        let place = self.place.clone();
        let processes = self.execs.values().map(|exec| &exec.process);
        let streams: Vec<_> = processes
            .chain([&self.init])
            .filter_map(|process| process.stdio.clone())
            .collect();
        self.beside(async move {
            drain(streams).await;
            let job = launch::release_job(&place);
            let result = shared.launcher.run(&job, RELEASE_DEADLINE).await;
            if result.is_ok() {
                // Before the container is forgotten: a daemon without containers may leave.
                launch::poststop(&shared, &plan, &place).await;
            }
            Outcome::Removed {
                result: result.map_err(SetupError::from),
            }
        });
    }

    pub(super) fn on_removed(&mut self, result: Result<(), SetupError>) -> Next {
        self.removing = false;
        let replies = std::mem::take(&mut self.deletes);
        if let Err(error) = result {
            // The container stays, so that Delete can be tried again.
            for reply in replies {
                answer(reply, Err(Error::Setup(error.clone())));
            }
            return Next::Stay;
        }
        if let Some(exit) = self.init.exit() {
            self.publish(Event::Delete {
                id: self.id(),
                pid: self.init.pid_u32(),
                status: exit.status,
                exited_at: exit.at,
            });
        }
        launch::forget(&self.place);
        for reply in replies {
            answer(reply, self.state(None));
        }
        self.shared.registry.remove(&self.place.id);
        self.shared.container_removed();
        Next::Leave
    }
}

/// Waits for the output of several processes at the same time.
async fn drain(streams: Vec<Arc<Stdio>>) {
    let mut all: JoinSet<()> = streams
        .into_iter()
        .map(|stdio| async move { stdio.finish(DRAIN_DEADLINE).await })
        .collect();
    while all.join_next().await.is_some() {}
}
