//! Deleting the container.

use super::{Container, Next, Outcome, ProcessInfo, Reply, answer};
use crate::error::{Error, Op};
use crate::events::Event;
use crate::fault;
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
        if self.removed {
            return self.beside(async { Outcome::Removed { result: Ok(()) } });
        }
        let (shared, plan) = (Arc::clone(&self.shared), Arc::clone(&self.plan));
        let place = self.place.clone();
        let processes = self.execs.values().map(|exec| &exec.process);
        let streams: Vec<_> = processes
            .chain([&self.init])
            .filter_map(|process| process.stdio.clone())
            .collect();
        self.beside(async move {
            drain(streams).await;
            fault::point("release");
            let job = launch::release_job(&place);
            let result = shared.launcher.run(&job, RELEASE_DEADLINE).await;
            if result.is_ok() {
                fault::point("poststop");
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
        let is_first = !self.removed;
        if is_first {
            self.removed = true;
            self.tell_removed();
        }
        let mut is_told = false;
        for reply in replies {
            is_told |= reply.send(self.state(None)).is_ok();
        }
        let (registry, id) = (&self.shared.registry, &self.place.id);
        if !is_told {
            log::info!("container {id} is deleted, and whoever asked for it is gone");
            if is_first {
                registry.keep_untold(id);
            }
            self.shared.container_removed();
            return Next::Stay;
        }
        if is_first {
            registry.remove(id);
        } else {
            registry.remove_untold(id);
        }
        self.shared.container_removed();
        Next::Leave
    }

    /// Nothing is left on the host.
    fn tell_removed(&mut self) {
        self.give_up_execs();
        // Its cgroup is gone, and a container that nobody knows to be gone may stay for long.
        self.oom = None;
        if let Some(exit) = self.init.exit() {
            self.publish(Event::Delete {
                id: self.id(),
                pid: self.init.pid_u32(),
                status: exit.status,
                exited_at: exit.at,
            });
        }
        fault::point("delete event");
        launch::forget(&self.place);
        fault::point("forgotten");
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
