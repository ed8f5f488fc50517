//! RPC × state × answer: each cell is a test.
//!
//! The texts are those of containerd's runc shim, which clients have learned to read. Where a cell
//! deliberately differs from what that shim (1.6) answers, a comment says so.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::time::Duration;

use containerd_shim_protos::api::Status;
use hull_e2e::{Code, Container, Lab, RpcError, Spec, Stdio, Streams, block, eventually, slowed};

const KILL: u32 = 9;
/// How long a Wait must stay silent to count as waiting.
const SILENCE: Duration = Duration::from_millis(150);

/// What a cell expects.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Success,
    /// No answer until something happens.
    Waits,
    /// This code and a text that contains this.
    Refused(Code, &'static str),
}

use Expected::{Refused, Success, Waits};

const MISSING: Expected = Refused(Code::NOT_FOUND, "container not created");
const NO_EXEC: Expected = Refused(Code::NOT_FOUND, "process does not exist");
const FINISHED: Expected = Refused(Code::NOT_FOUND, "process already finished");

const fn wrong(text: &'static str) -> Expected {
    Refused(Code::UNKNOWN, text)
}

/// No CRIU: said where the state would allow a checkpoint.
const NO_CRIU: Expected = Refused(Code::UNIMPLEMENTED, "checkpoint");

/// Defines one test per cell: `table!(CHECK: ROW: STATE = EXPECTED, …; …)`.
macro_rules! table {
    ($check:path, $calls:path: $($rpc:ident: $($state:ident = $expected:expr),+;)+) => {
        $(mod $rpc {
            use super::*;
            $(#[test]
            fn $state() {
                use $calls as calls;
                $check(State::parse(stringify!($state)), calls::$rpc, $expected);
            })+
        })+
    };
}

mod init {
    use super::*;

    table! { check_init, super::super::call:
        state: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = MISSING;
        start: none = MISSING, created = Success,
            running = wrong("cannot start a running process"),
            paused = wrong("cannot start a paused process"),
            stopped = wrong("cannot start a stopped process"), deleted = MISSING;
        delete: none = MISSING, created = Success,
            running = wrong("cannot delete a running process"),
            paused = wrong("cannot delete a paused process"),
            stopped = Success, deleted = MISSING;
        exec: none = MISSING, created = Success, running = Success,
            paused = wrong("cannot exec in a paused state"),
            stopped = wrong("cannot exec in a stopped state"), deleted = MISSING;
        pids: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = MISSING;
        // Created: the runc shim says "cannot pause task in created state", and so for resume.
        pause: none = MISSING, created = wrong("cannot pause a created container"),
            running = Success, paused = wrong("cannot pause a paused container"),
            stopped = wrong("cannot pause a stopped container"), deleted = MISSING;
        resume: none = MISSING, created = wrong("cannot resume a created container"),
            running = wrong("cannot resume a running"), paused = Success,
            stopped = wrong("cannot resume a stopped container"), deleted = MISSING;
        kill: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = FINISHED, deleted = MISSING;
        // Stopped: what is left in the cgroup, with a pid namespace shared by a pod.
        kill_all: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = MISSING;
        resize_pty: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = MISSING;
        close_io: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = MISSING;
        // Where the state would allow it, the runc shim calls CRIU. It says "a task in created state".
        checkpoint: none = MISSING, created = wrong("cannot checkpoint a created container"),
            running = NO_CRIU, paused = NO_CRIU,
            stopped = wrong("cannot checkpoint a stopped container"), deleted = MISSING;
        update: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = wrong("cannot update a stopped container"), deleted = MISSING;
        wait: none = MISSING, created = Waits, running = Waits, paused = Waits,
            stopped = Success, deleted = MISSING;
        stats: none = MISSING, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = MISSING;
        connect: none = Success, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = Success;
        shutdown: none = Success, created = Success, running = Success, paused = Success,
            stopped = Success, deleted = Success;
    }
}

mod exec {
    use super::*;

    table! { check_exec, super::super::call_exec:
        state: none = NO_EXEC, created = Success, running = Success, stopped = Success;
        start: none = NO_EXEC, created = Success,
            running = wrong("cannot start a running process"),
            stopped = wrong("cannot start a stopped process");
        delete: none = NO_EXEC, created = Success,
            running = wrong("cannot delete a running process"), stopped = Success;
        exec: none = Success, created = Refused(Code::ALREADY_EXISTS, "id e"),
            running = Refused(Code::ALREADY_EXISTS, "id e"),
            stopped = Refused(Code::ALREADY_EXISTS, "id e");
        kill: none = NO_EXEC,
            created = Refused(Code::FAILED_PRECONDITION, "process not created"),
            running = Success, stopped = FINISHED;
        resize_pty: none = NO_EXEC, created = Success, running = Success,
            stopped = wrong("cannot resize a stopped container");
        close_io: none = NO_EXEC, created = Success, running = Success, stopped = Success;
        wait: none = NO_EXEC, created = Waits, running = Waits, stopped = Success;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    None,
    Created,
    Running,
    Paused,
    Stopped,
    Deleted,
}

impl State {
    fn parse(name: &str) -> Self {
        match name {
            "none" => Self::None,
            "created" => Self::Created,
            "running" => Self::Running,
            "paused" => Self::Paused,
            "stopped" => Self::Stopped,
            "deleted" => Self::Deleted,
            other => panic!("no state {other}"),
        }
    }
}

type Answer = Result<(), RpcError>;

fn check_init(state: State, call: fn(&Container<'_>) -> Answer, expected: Expected) {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    bring_init_to(&c, state);
    compare(call(&c), expected);
}

fn check_exec(state: State, call: fn(&Container<'_>) -> Answer, expected: Expected) {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    // The reading ends must live as long as the exec.
    let _stdio = bring_exec_to(&c, state);
    compare(call(&c), expected);
}

fn bring_init_to(c: &Container<'_>, state: State) {
    match state {
        State::None => {}
        State::Created => drop(c.create()),
        State::Running => drop(c.run()),
        State::Paused => {
            c.run();
            block(c.task.pause(&c.id)).unwrap();
        }
        State::Stopped => {
            c.run();
            c.kill_and_wait();
        }
        State::Deleted => {
            c.run();
            c.kill_and_wait();
            c.delete().unwrap();
        }
    }
}

fn bring_exec_to(c: &Container<'_>, state: State) -> Option<Stdio> {
    if state == State::None {
        return None;
    }
    let stdio = c.add_exec("e", ["sleep", "600"]);
    if state != State::Created {
        c.try_start("e").unwrap();
    }
    if state == State::Stopped {
        block(c.task.kill(&c.id, "e", KILL)).unwrap();
        c.wait_exec("e");
        eventually("the exec is stopped", || {
            let state = block(c.task.state(&c.id, "e")).unwrap();
            (state.status() == Status::STOPPED).then_some(())
        });
    }
    Some(stdio)
}

#[track_caller]
fn compare(answer: Answer, expected: Expected) {
    match (expected, &answer) {
        (Success, Ok(())) | (Waits, Err(RpcError::Deadline(_))) => {}
        (
            Refused(code, text),
            Err(RpcError::Status {
                code: found,
                message,
            }),
        ) if *found == code && message.contains(text) => {}
        _ => panic!("expected {expected:?}, got {answer:?}"),
    }
}

/// The calls of the first table, about the init.
mod call {
    use super::*;

    pub(super) fn state(c: &Container<'_>) -> Answer {
        c.state().map(drop)
    }
    pub(super) fn start(c: &Container<'_>) -> Answer {
        c.try_start("").map(drop)
    }
    pub(super) fn delete(c: &Container<'_>) -> Answer {
        c.delete().map(drop)
    }
    pub(super) fn exec(c: &Container<'_>) -> Answer {
        c.try_add_exec("e", &c.spec.process(["true"]), Streams::NONE)
            .1
    }
    pub(super) fn pids(c: &Container<'_>) -> Answer {
        block(c.task.pids(&c.id)).map(drop)
    }
    pub(super) fn pause(c: &Container<'_>) -> Answer {
        block(c.task.pause(&c.id))
    }
    pub(super) fn resume(c: &Container<'_>) -> Answer {
        block(c.task.resume(&c.id))
    }
    pub(super) fn kill(c: &Container<'_>) -> Answer {
        c.kill(KILL)
    }
    pub(super) fn kill_all(c: &Container<'_>) -> Answer {
        block(c.task.kill_all(&c.id, KILL))
    }
    pub(super) fn resize_pty(c: &Container<'_>) -> Answer {
        block(c.task.resize_pty(&c.id, "", 80, 25))
    }
    pub(super) fn close_io(c: &Container<'_>) -> Answer {
        block(c.task.close_io(&c.id, ""))
    }
    pub(super) fn checkpoint(c: &Container<'_>) -> Answer {
        let path = c.bundle.path().join("checkpoint");
        block(c.task.checkpoint(&c.id, path.to_str().unwrap()))
    }
    pub(super) fn update(c: &Container<'_>) -> Answer {
        let resources = serde_json::json!({ "cpu": { "shares": 512 } });
        block(c.task.update(&c.id, &resources))
    }
    pub(super) fn wait(c: &Container<'_>) -> Answer {
        wait_a_moment(c, "")
    }
    pub(super) fn stats(c: &Container<'_>) -> Answer {
        block(c.task.stats(&c.id)).map(drop)
    }
    pub(super) fn connect(c: &Container<'_>) -> Answer {
        block(c.task.connect_task(&c.id)).map(drop)
    }
    pub(super) fn shutdown(c: &Container<'_>) -> Answer {
        block(c.task.shutdown(&c.id))
    }
}

/// The calls of the second table, about the exec `e`.
mod call_exec {
    use super::*;

    pub(super) fn state(c: &Container<'_>) -> Answer {
        block(c.task.state(&c.id, "e")).map(drop)
    }
    pub(super) fn start(c: &Container<'_>) -> Answer {
        c.try_start("e").map(drop)
    }
    pub(super) fn delete(c: &Container<'_>) -> Answer {
        block(c.task.delete(&c.id, "e")).map(drop)
    }
    pub(super) fn exec(c: &Container<'_>) -> Answer {
        call::exec(c)
    }
    pub(super) fn kill(c: &Container<'_>) -> Answer {
        block(c.task.kill(&c.id, "e", KILL))
    }
    pub(super) fn resize_pty(c: &Container<'_>) -> Answer {
        block(c.task.resize_pty(&c.id, "e", 80, 25))
    }
    pub(super) fn close_io(c: &Container<'_>) -> Answer {
        block(c.task.close_io(&c.id, "e"))
    }
    pub(super) fn wait(c: &Container<'_>) -> Answer {
        wait_a_moment(c, "e")
    }
}

fn wait_a_moment(c: &Container<'_>, exec: &str) -> Answer {
    let silence = slowed(SILENCE);
    let answer = block(async { tokio::time::timeout(silence, c.task.wait(&c.id, exec)).await });
    answer
        .map_err(|_elapsed| RpcError::Deadline(silence))?
        .map(drop)
}
