//! `hull run`, `hull compile` and `hull trace`: containers without containerd.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also in what the tests share a panic is how they fail"
)]

mod hostile;
mod leftovers;
mod programs;
mod settings;
mod streams;
mod terminal;
mod tools;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use hull_e2e::cli::exit_code;
use hull_e2e::{cgroup, slowed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A program that says when it runs and heeds no signal. A shell would end by some until it is gone.
const SLEEPER: [&str; 3] = [
    "sh",
    "-c",
    "trap '' INT TERM HUP; echo ready; exec sleep 600",
];

/// Waits for the line `ready`.
fn wait_ready(child: &mut Child) -> BufReader<ChildStdout> {
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    output
}

fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// SIGINT until hull has had enough.
fn kill_by_interrupts(child: &mut Child) {
    for _ in 0..3 {
        send(child, Signal::SIGINT);
        // Two that come at once are one.
        std::thread::sleep(slowed(Duration::from_millis(100)));
    }
    assert_eq!(exit_code(child), 137);
}

/// The file with the processes of a cgroup.
fn cgroup_procs(group: &str) -> PathBuf {
    cgroup::of_controller("pids")
        .mount_point
        .join(group.trim_start_matches('/'))
        .join("cgroup.procs")
}
