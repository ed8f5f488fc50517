//! Guests that take what they can get, without end or far too much at once, as
//! [arXiv 2509.11242](https://arxiv.org/abs/2509.11242) has them: each is held by its cgroup, its resource limits
//! or its runner, stops when it is told to, and neither the daemon nor a container beside it in the same pod
//! feels it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "test code: a panic is how a test fails, and the figures help when it does"
)]

mod calls;
mod files;
mod memory;
mod pod;
mod streams;

use std::time::{Duration, Instant};

use hull_e2e::{Container, Lab, Ran, Spec, Topic, slowed};

use pod::Pod;

const MIB: u64 = 1 << 20;
const TERM: u32 = 15;
const TRAPPED: u32 = 134;
const KILLED: u32 = 137;
/// Memory of each hostile container, in MiB.
const MEMORY: u64 = 64;
/// For how long a guest that does not end by itself does its worst.
const WORST: Duration = Duration::from_millis(400);
/// What a user calls at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The guest of many ways, with little memory and a place to write that goes with it.
fn hostile(args: &[&str]) -> Spec {
    guest(&[&["/wasm/hostile.wasm"], args].concat())
}

/// Any guest with the same limits.
fn guest(args: &[&str]) -> Spec {
    let scratch = serde_json::json!({
        "destination": "/scratch", "type": "tmpfs", "source": "tmpfs",
        "options": ["size=32m", "nr_inodes=20000"],
    });
    Spec::new(args.iter().copied())
        .resource("memory/limit", MEMORY * MIB)
        .set("/mounts/-", scratch)
}

/// What a guest did that came to an end by itself.
#[derive(Debug)]
struct Ended {
    ran: Ran,
    /// The most memory that it was charged, in MiB.
    peak: u64,
    /// Whether the kernel killed it for its memory.
    oom: bool,
}

/// Runs a guest that comes to an end, beside the neighbour.
fn ends(spec: &Spec) -> Ended {
    let lab = Lab::wasm();
    let mut pod = Pod::new(&lab);
    let mut c = pod.container(spec);
    let ran = pod.watch(|| c.run_to_end());
    lab.events().wait_for(Topic::Exit, &c.id, "");
    let ended = Ended {
        ran,
        peak: pod::peak(&c),
        oom: lab.events().topics(&c.id).contains(&Topic::Oom),
    };
    println!("{ended:?}");
    ended
}

/// Runs a guest that says that it is ready and then goes on for ever; stops it after a while. Gives the most
/// memory that it was charged, in MiB.
fn is_stopped(spec: &Spec) -> u64 {
    let lab = Lab::wasm();
    let mut pod = Pod::new(&lab);
    let mut c = pod.container(spec);
    pod.watch(|| {
        c.run();
        c.read_until("ready\n");
        std::thread::sleep(slowed(WORST));
        stop(&c);
    });
    pod::peak(&c)
}

/// SIGTERM ends it at once.
fn stop(c: &Container<'_>) {
    let asked = Instant::now();
    c.kill(TERM).unwrap();
    assert_eq!(c.wait(), 128 + TERM);
    let took = asked.elapsed();
    assert!(took < slowed(AT_ONCE), "it took {took:?}");
}

/// The number in front of a line, and what follows it.
#[track_caller]
fn numbered(line: &str) -> (u64, &str) {
    let (number, text) = line.trim_end().split_once(' ').unwrap();
    (number.parse().unwrap(), text)
}
