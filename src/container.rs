//! One container: an actor that is the only writer of its state and the only sender of its events.
//!
//! Its loop never waits for anything but its mailbox: what takes time (starting, freezing, removing)
//! runs beside it and comes back as an [`Outcome`]. So State, Pids, Wait, Kill and Stats are answered
//! at once whatever else goes on, a request that its caller gave up is carried through all the same,
//! and an exit can never overtake the start it belongs to.

mod control;
mod exec;
mod exit;
mod info;
mod remove;
mod request;
mod start;

pub(crate) use request::{ContainerHandle, ProcessInfo, Reply, Request};

use crate::daemon::Shared;
use crate::error::Error;
use crate::events::{Event, Io};
use crate::launch::{Created, Place};
use crate::lifecycle::Status;
use crate::process::{Exit, Phase, Process};
use crate::stdio::Stdio;
use crate::turn;
use hull_abi::{ExecId, ExecPlan, Payload, Plan, SetupError};
use hull_launcher::client::{ChildProcess, SyncSocket};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Mutex, mpsc, oneshot};

/// Requests that may wait for one container. Callers beyond that wait to be let in.
const MAILBOX: usize = 1024;

/// What happened beside the loop.
#[derive(Debug)]
enum Outcome {
    /// Init runs its program, or does not.
    Started {
        result: Result<(), Error>,
        reply: Reply<u32>,
    },
    /// It is decided what an exec process will be, or why it cannot be.
    ExecLowered {
        id: ExecId,
        streams: Io,
        plan: Result<Arc<ExecPlan>, Error>,
        reply: Reply<()>,
    },
    /// An exec process runs its program, or does not.
    ExecStarted {
        id: ExecId,
        result: Result<(Arc<ChildProcess>, Arc<Stdio>), Error>,
        reply: Reply<u32>,
    },
    /// Init was reaped. Its output may still move.
    InitReaped { exit: Exit },
    /// A process was reaped and its output has settled; `None` is init.
    Ended { exec: Option<ExecId>, exit: Exit },
    /// What init left behind was killed, or that was given up.
    LeftoversKilled,
    /// What should have come before the exit of init has had its time.
    Overdue,
    /// The cgroup was frozen or not; or thawed or not.
    Frozen {
        result: Result<(), Error>,
        reply: Reply<()>,
    },
    Thawed {
        result: Result<(), Error>,
        reply: Reply<()>,
    },
    /// Everything of the container on the host is gone and its poststop hooks have run, or not.
    Removed { result: Result<(), SetupError> },
    /// An exec process' streams are closed.
    ExecRemoved { id: ExecId },
    /// The kernel may have killed something for want of memory.
    OutOfMemory,
}

/// Whether a pause has left the cgroup frozen.
#[derive(Debug, Default)]
struct Frozen(bool);

/// How far the end of init has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Init lives.
    No,
    /// Init was reaped; what must come before its exit is waited for.
    Waiting { exit: Exit, until: Awaited },
    /// Its exit was published.
    Done,
}

/// What has happened of all that comes between the end of init and its exit event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Awaited {
    /// Its output has settled.
    settled: bool,
    /// What it left in the cgroup was killed.
    leftovers_killed: bool,
    /// All of this, execs and the outcome of a start have had their time.
    overdue: bool,
}

/// An exec process and how to make it.
#[derive(Debug)]
struct Exec {
    process: Process,
    plan: Arc<ExecPlan>,
    /// Who deletes it and waits for the end of its output.
    deletes: Vec<Reply<ProcessInfo>>,
}

/// The actor.
struct Container {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    place: Place,
    status: Status,
    init: Process,
    gate: Option<SyncSocket>,
    execs: HashMap<ExecId, Exec>,
    ending: Ending,
    /// Who deletes the container and waits for the end of init or for the removal.
    deletes: Vec<Reply<ProcessInfo>>,
    removing: bool,
    /// Nothing is left of it; somebody has to be told.
    removed: bool,
    oom: Option<exit::MemoryWatch>,
    ooms_seen: u64,
    /// Held by the job that freezes, thaws or updates the cgroup: one after the other, because an
    /// update may freeze it for a moment.
    cgroup_turn: Arc<Mutex<Frozen>>,
    outcomes: mpsc::UnboundedSender<Outcome>,
}

/// Starts the actor of a container that was just made, after its create event.
pub(crate) fn spawn(shared: Arc<Shared>, created: Created, streams: Io) -> ContainerHandle {
    let (requests, mailbox) = mpsc::channel(MAILBOX);
    // Unbounded in type only: each entry belongs to one process or one request, which are bounded.
    let (outcomes, results) = mpsc::unbounded_channel();
    let Created {
        plan,
        place,
        child,
        stdio,
        gate,
        memory,
    } = created;
    let handle = ContainerHandle::new(requests);
    let mut init = Process::registered(streams);
    init.attach(Arc::clone(&child), Arc::clone(&stdio));
    let mut container = Container {
        shared,
        plan: Arc::new(plan),
        place,
        status: Status::Created,
        init,
        gate: Some(gate),
        execs: HashMap::new(),
        ending: Ending::No,
        deletes: Vec::new(),
        removing: false,
        removed: false,
        oom: None,
        ooms_seen: 0,
        cgroup_turn: Arc::default(),
        outcomes,
    };
    container.watch(None, child, stdio);
    if let Some(files) = memory {
        container.watch_memory(files);
    }
    turn::spawn("container", container.run(mailbox, results));
    handle
}

impl Container {
    async fn run(
        mut self,
        mut mailbox: mpsc::Receiver<Request>,
        mut results: mpsc::UnboundedReceiver<Outcome>,
    ) {
        loop {
            tokio::select! {
                // What has happened before what is asked: a kill must see the exit before it.
                biased;
                Some(outcome) = results.recv() => {
                    if self.on_outcome(outcome) == Next::Leave {
                        return;
                    }
                }
                request = mailbox.recv() => match request {
                    Some(request) => self.on_request(request),
                    None => return,
                },
            }
        }
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::State { exec, reply } => answer(reply, self.state(exec.as_ref())),
            Request::Start { exec: None, reply } => self.start(reply),
            Request::Start {
                exec: Some(id),
                reply,
            } => self.start_exec(id, reply),
            Request::Delete { exec: None, reply } => self.delete(reply),
            Request::Delete {
                exec: Some(id),
                reply,
            } => self.delete_exec(id, reply),
            Request::Exec {
                id,
                streams,
                spec,
                reply,
            } => self.register_exec(id, streams, spec, reply),
            Request::Pids { reply } => answer(reply, self.pids()),
            Request::Pause { reply } => self.pause(reply),
            Request::Resume { reply } => self.resume(reply),
            Request::Kill {
                exec,
                signal,
                all,
                reply,
            } => {
                self.kill(exec.as_ref(), signal, all, reply);
            }
            Request::Resize {
                exec,
                columns,
                rows,
                reply,
            } => {
                answer(reply, self.resize(exec.as_ref(), columns, rows));
            }
            Request::CloseStdin { exec, reply } => answer(reply, self.close_stdin(exec.as_ref())),
            Request::Update { resources, reply } => self.update(&resources, reply),
            Request::Wait { exec, reply } => self.wait(exec.as_ref(), reply),
            Request::Stats { reply } => answer(reply, self.stats()),
            Request::CheckCheckpoint { reply } => answer(reply, self.checkpoint()),
            Request::Describe { reply } => answer(reply, Ok(self.describe())),
        }
    }

    fn on_outcome(&mut self, outcome: Outcome) -> Next {
        match outcome {
            Outcome::Started { result, reply } => self.on_started(result, reply),
            Outcome::ExecLowered {
                id,
                streams,
                plan,
                reply,
            } => answer(reply, self.add_exec(id, streams, plan)),
            Outcome::ExecStarted { id, result, reply } => self.on_exec_started(id, result, reply),
            Outcome::InitReaped { exit } => self.on_init_reaped(exit),
            Outcome::Ended { exec: None, .. } => self.on_init_settled(),
            Outcome::Ended {
                exec: Some(id),
                exit,
            } => self.on_exec_ended(&id, exit),
            Outcome::LeftoversKilled => self.on_leftovers_killed(),
            Outcome::Overdue => self.on_overdue(),
            Outcome::Frozen { result, reply } => self.on_frozen(result, reply),
            Outcome::Thawed { result, reply } => self.on_thawed(result, reply),
            Outcome::Removed { result } => return self.on_removed(result),
            Outcome::ExecRemoved { id } => self.on_exec_removed(&id),
            Outcome::OutOfMemory => self.on_out_of_memory(),
        }
        Next::Stay
    }

    /// Runs something beside the loop; its outcome comes back into it.
    fn beside(&self, work: impl Future<Output = Outcome> + Send + 'static) {
        let outcomes = self.outcomes.clone();
        turn::spawn("work of a container", async move {
            // A container that is gone does not care any more.
            drop(outcomes.send(work.await));
        });
    }

    fn publish(&self, event: Event) {
        // containerd publishes the events of sandboxes itself.
        if !self.is_sandbox() {
            self.shared.publisher.publish(event);
        }
    }

    fn is_sandbox(&self) -> bool {
        self.plan.process.payload == Payload::Hold
    }

    fn id(&self) -> String {
        self.place.id.as_str().to_owned()
    }

    /// The init process or an exec process.
    fn process(&self, exec: Option<&ExecId>) -> Result<&Process, Error> {
        match exec {
            None => Ok(&self.init),
            Some(id) => self
                .execs
                .get(id)
                .map(|exec| &exec.process)
                .ok_or_else(|| Error::NoProcess(id.as_str().to_owned())),
        }
    }

    fn process_mut(&mut self, exec: Option<&ExecId>) -> Result<&mut Process, Error> {
        match exec {
            None => Ok(&mut self.init),
            Some(id) => self
                .execs
                .get_mut(id)
                .map(|exec| &mut exec.process)
                .ok_or_else(|| Error::NoProcess(id.as_str().to_owned())),
        }
    }

    /// The state of one process as containerd's clients see it.
    fn status_of(&self, exec: Option<&ExecId>) -> Result<Status, Error> {
        let process = self.process(exec)?;
        if exec.is_none() {
            return Ok(self.status);
        }
        Ok(match (process.phase, self.status) {
            (Phase::Created, _) => Status::Created,
            (Phase::Starting, _) => Status::Starting,
            (Phase::Stopped(_), _) => Status::Stopped,
            (Phase::Running, status @ (Status::Pausing | Status::Paused)) => status,
            (
                Phase::Running,
                Status::Created | Status::Starting | Status::Running | Status::Stopped,
            ) => Status::Running,
        })
    }
}

/// Whether the actor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    Leave,
}

/// Answers a request; a caller that has gone away needs no answer.
fn answer<T>(reply: oneshot::Sender<Result<T, Error>>, result: Result<T, Error>) {
    drop(reply.send(result));
}
