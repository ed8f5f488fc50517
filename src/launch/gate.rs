//! Talking to a process on its way to its program: until it waits at the gate, and through it.

use super::agent::Agent;
use super::{HOOKS_DEADLINE, Place, hooks, net_devices, outside};
use crate::daemon::Shared;
use crate::error::Error;
use crate::wasm::{Asking, Guest};
use hull_abi::{Blame, FromInit, Hook, Moments, Plan, Process, SetupError, Step, ToInit};
use hull_launcher::client::{ChildProcess, SyncClosed, SyncSocket};
use hull_sys::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a new process may take from one message to the next.
pub(super) const SETUP_DEADLINE: Duration = Duration::from_secs(60);

/// An init process at the gate.
pub(super) struct Ready {
    /// The master side of its terminal, if it has one.
    pub(super) master: Option<OwnedFd>,
    /// How it got there.
    pub(super) moments: Moments,
}

/// Answers the new init process until it waits at the gate.
pub(super) async fn until_ready(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    sync: &SyncSocket,
    child: &ChildProcess,
) -> Result<Ready, Error> {
    let mut master = None;
    let (process, pid) = (&plan.process, child.pid());
    let mut asking = Asking::new(
        shared,
        Guest {
            plan,
            place,
            process,
            child,
        },
    );
    let agent = Agent::of(process, child, || plan.state.render("creating", Some(pid)));
    // Some hooks run in init itself, between two messages.
    let limit = limit(&plan.hooks.create_container);
    loop {
        let received = tokio::time::timeout(limit, sync.receive())
            .await
            .map_err(|_| {
                let seconds = limit.as_secs();
                Error::Deadline(format!("the init process is not ready after {seconds} s"))
            })?;
        match received {
            Ok((FromInit::Ready { moments }, _)) => return Ok(Ready { master, moments }),
            Ok((FromInit::Console, mut fds)) => master = fds.pop(),
            Ok((FromInit::Wasm(request), fds)) => {
                Box::pin(asking.answer(request, fds, sync)).await?;
            }
            Ok((FromInit::Notify { listener }, _)) => {
                meet(agent.as_ref(), listener, sync).await?;
            }
            Ok((FromInit::Limits, _)) => answer_limits(process, child, sync).await?,
            Ok((FromInit::Hooks, _)) => {
                // Hooks of the runtime find the namespace as it will be.
                net_devices::take_over(shared, plan, child).await?;
                let state = plan.state.render("creating", Some(pid));
                hooks::before_create(shared, plan, place, &state).await?;
                if sync.send(&ToInit::Proceed { pid }).await.is_err() {
                    return Err(killed(Step::RuntimeHooks));
                }
            }
            Ok((FromInit::Failed(error), _)) => return Err(error.into()),
            Ok((
                FromInit::Execing
                | FromInit::Done { .. }
                | FromInit::Claimed
                | FromInit::Holding { .. }
                | FromInit::Cloned { .. },
                _,
            )) => return Err(killed(Step::Gate)),
            Err(closed) => return Err(lost(Step::Gate, closed)),
        }
    }
}

/// Sets the limits of a process that waits for that.
async fn answer_limits(
    process: &Process,
    child: &ChildProcess,
    sync: &SyncSocket,
) -> Result<(), Error> {
    outside::set_limits(process, child)?;
    let sent = sync.send(&ToInit::Limited).await;
    sent.map_err(|_| killed(Step::Rlimits))
}

/// Nothing is heard of the process any more.
fn lost(step: Step, closed: SyncClosed) -> Error {
    if closed.no_room {
        return Error::host("take over what the process has opened", Errno::EMFILE);
    }
    killed(step)
}

pub(crate) fn killed(step: Step) -> Error {
    Error::Setup(SetupError {
        step,
        blame: Blame::Host,
        action: "wait for the process".to_owned(),
        cause:
            "it was killed while it was set up (by a signal, or for want of memory in its cgroup)"
                .to_owned(),
        errno: 0,
    })
}

/// Opens the gate and waits until the program runs.
///
/// # Errors
/// Why it does not; the process has ended or will at once.
pub(crate) async fn release_gate(plan: &Plan, gate: &SyncSocket, pid: i32) -> Result<(), Error> {
    if gate.send(&ToInit::Start { pid }).await.is_err() {
        return Err(killed(Step::Gate));
    }
    let limit = limit(&plan.hooks.start_container);
    until_exec(gate, limit, None, None).await.map(drop)
}

/// How long a process may be silent that runs these hooks before its next message.
fn limit(hooks: &[Hook]) -> Duration {
    if hooks.is_empty() {
        SETUP_DEADLINE
    } else {
        HOOKS_DEADLINE
    }
}

/// A process that has a listener though its filter asks nobody is not ours any more.
async fn meet(agent: Option<&Agent<'_>>, listener: i32, sync: &SyncSocket) -> Result<(), Error> {
    match agent {
        Some(agent) => Box::pin(agent.meet(listener, sync)).await,
        None => Err(killed(Step::Seccomp)),
    }
}

/// Waits for the execing byte and the end of the socket behind it. Whoever was not at the gate yet
/// may ask for what running Wasm takes, and for the agent of its filter.
pub(super) async fn until_exec(
    sync: &SyncSocket,
    limit: Duration,
    mut asking: Option<Asking<'_>>,
    agent: Option<Agent<'_>>,
) -> Result<Option<OwnedFd>, Error> {
    let mut master = None;
    let mut execing = false;
    loop {
        let received = tokio::time::timeout(limit, sync.receive())
            .await
            .map_err(|_| Error::Deadline("the program does not start".to_owned()))?;
        match received {
            Ok((FromInit::Execing, _)) => execing = true,
            Ok((FromInit::Console, mut fds)) => master = fds.pop(),
            Ok((FromInit::Failed(error), _)) => return Err(error.into()),
            Ok((FromInit::Notify { listener }, _)) => {
                meet(agent.as_ref(), listener, sync).await?;
            }
            Ok((FromInit::Wasm(request), fds)) => {
                if let Some(asking) = &mut asking {
                    Box::pin(asking.answer(request, fds, sync)).await?;
                }
            }
            Ok((FromInit::Limits, _)) => {
                if let Some(asking) = &asking {
                    let Guest { process, child, .. } = asking.guest();
                    answer_limits(process, child, sync).await?;
                }
            }
            Ok((
                FromInit::Ready { .. }
                | FromInit::Hooks
                | FromInit::Done { .. }
                | FromInit::Claimed
                | FromInit::Holding { .. }
                | FromInit::Cloned { .. },
                _,
            )) => {}
            Err(SyncClosed { no_room: false }) if execing => return Ok(master),
            Err(closed) => return Err(lost(Step::Exec, closed)),
        }
    }
}
