//! Signals end a guest whatever it does, as PID 1 of a PID namespace too.

use crate::guest::{Guest, command, status, stderr, wait_until, wait_until_confined};
use std::process::Command;

const LOOP: &str = "(loop $l (br $l))";
/// Reads a byte of stdin.
const READ: &str =
    "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))";
/// Sleeps for a minute.
const SLEEP: &str = "(i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 60000000000))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 100) (i32.const 1) (i32.const 200)))";
/// Waits for stdin or a minute.
const POLL: &str = "(i32.store8 (i32.const 8) (i32.const 1))
    (i32.store (i32.const 64) (i32.const 1))
    (i64.store (i32.const 72) (i64.const 60000000000))
    (drop (call $poll_oneoff (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 400)))";

fn kill(signal: &str, pid: u32) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn whatever_a_guest_does_sigterm_ends_it() {
    for body in [LOOP, READ, SLEEP, POLL] {
        let mut child = command(body).spawn();
        wait_until_confined(child.id());
        kill("TERM", child.id());
        let stdin = child.stdin.take();
        assert_eq!(child.wait().unwrap().code(), Some(143), "{body}");
        drop(stdin);
    }
}

#[test]
fn every_signal_that_ends_a_process_ends_a_guest() {
    for (signal, code) in [
        ("HUP", 129),
        ("INT", 130),
        ("QUIT", 131),
        ("ABRT", 134),
        ("USR1", 138),
        ("USR2", 140),
        ("ALRM", 142),
        ("XCPU", 152),
        ("34", 162),
        ("37", 165),
        ("64", 192),
    ] {
        let mut child = command(LOOP).spawn();
        wait_until_confined(child.id());
        kill(signal, child.id());
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
    }
}

#[test]
fn sigkill_and_stopping_work_as_ever() {
    let mut child = command(LOOP).spawn();
    wait_until_confined(child.id());
    kill("STOP", child.id());
    wait_until("it is stopped", || {
        status(child.id(), "State").starts_with('T')
    });
    kill("CONT", child.id());
    wait_until("it goes on", || {
        status(child.id(), "State").starts_with('R')
    });
    kill("KILL", child.id());
    assert_eq!(child.wait().unwrap().code(), None);
}

/// The guest as PID 1.
fn first(body: &str) -> Guest {
    let mut guest = command(body);
    guest.prefix = ["unshare", "--pid", "--fork", "--kill-child"]
        .map(str::to_owned)
        .to_vec();
    guest
}

/// The only child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[test]
fn pid_1_ends_by_signals_from_outside_and_inside() {
    let mut unshare = first(LOOP).spawn();
    wait_until("there is a child", || child_of(unshare.id()).is_some());
    let pid = child_of(unshare.id()).unwrap();
    wait_until_confined(pid);
    assert!(
        status(pid, "NSpid").ends_with("\t1"),
        "{}",
        status(pid, "NSpid")
    );
    kill("TERM", pid);
    assert_eq!(unshare.wait().unwrap().code(), Some(143));
}

#[test]
fn traps_work_for_pid_1() {
    for (body, cause) in [
        (
            "(drop (i32.load (i32.const 0x10000)))",
            "out of bounds memory access",
        ),
        ("(call $main)", "call stack exhausted"),
        ("unreachable", "`unreachable`"),
        (
            "(drop (i32.div_u (i32.const 1) (i32.load (i32.const 0))))",
            "integer divide by zero",
        ),
    ] {
        let output = first(body).run();
        assert_eq!(output.status.code(), Some(134), "{output:?}");
        assert!(stderr(&output).contains(cause), "{output:?}");
    }
}
