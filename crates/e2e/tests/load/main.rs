//! Many containers and many calls: everything ends as it should, nothing grows, and the daemon answers
//! all the time. `make test-soak` does the same with larger numbers and holds the figures against bounds.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "test code: a panic is how a test fails, and stderr is where it tells its figures"
)]

mod limits;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use hull_e2e::pulse::{self, Pulse, Stalls, in_parallel, times};
use hull_e2e::{Container, Lab, POD, Spec, Streams, eventually, procfs};

/// Containers at a time.
const AT_ONCE: u32 = 32;
/// How long a task may hold the daemon's event loop in one go.
const STALL: Duration = Duration::from_millis(5);

fn in_pod(args: &[&str]) -> Spec {
    Spec::new(args.iter().copied()).annotation(POD, "pod")
}

/// A daemon with one container that stays.
fn keeper(lab: &Lab) -> Container<'_> {
    let keeper = lab.container(&in_pod(&["sleep", "3600"]));
    keeper.run();
    keeper
}

/// A world whose daemons tell which of their tasks held the event loop longest.
fn watched() -> Lab {
    Lab::new().with_env("HULL_WATCH_TURNS", "yes")
}

/// Tells what a daemon did; in a soak, holds the longest turn of its event loop against the bound. A question
/// may wait longer than that: in a crowd it comes after the work for all others.
fn judge(what: &str, keeper: &Container<'_>, stalls: Stalls) {
    let log = keeper.bundle.log();
    let mut told = log.lines().filter_map(|line| {
        let (held, task) = line.split_once("longest turn: ")?.1.split_once(" µs, ")?;
        let task = task.split('"').next().unwrap();
        Some((Duration::from_micros(held.parse().unwrap()), task))
    });
    // Each is longer than those before.
    let (held, task) = told.next_back().unwrap();
    eprintln!("{what}: {stalls:?}; longest turn {held:?}: {task}");
    assert!(stalls.asked > 0);
    assert!(
        !pulse::is_soak() || held <= STALL,
        "{what}: {task} held the event loop for {held:?}"
    );
}

/// In a soak, holds against the bound as well what a question waits for the event loop, where no crowd is before it.
fn answers_soon(what: &str, stalls: Stalls) {
    assert!(
        !pulse::is_soak() || stalls.rarely <= STALL,
        "{what}: one question of a thousand waited {:?} and more for the event loop",
        stalls.rarely
    );
}

/// Threads, descriptors and children of a daemon.
fn belongings(daemon: u32) -> (Option<String>, usize, usize) {
    let threads = procfs::field(daemon, "Threads");
    let children = procfs::children(daemon).len();
    (threads, procfs::descriptors(daemon).len(), children)
}

/// The daemon has no more than it had, once it has put everything away.
fn has_no_more(daemon: u32, before: &(Option<String>, usize, usize)) {
    eventually(
        "no more threads, descriptors and children than before",
        || {
            let now = belongings(daemon);
            (now.0 == before.0 && now.1 <= before.1 && now.2 <= before.2).then_some(())
        },
    );
}

/// Create, start, exec, kill and delete, each for all before the next.
fn live_together(lab: &Lab, count: u32, spec: &(dyn Fn() -> Spec + Sync)) {
    let all = Mutex::new(Vec::new());
    in_parallel(AT_ONCE, count, |_| {
        let c = lab.container_with(&spec(), Streams::OUTPUT);
        c.run();
        all.lock().unwrap().push(c);
    });
    let all = all.into_inner().unwrap();
    let each = |work: &(dyn Fn(&Container<'_>) + Sync)| {
        in_parallel(AT_ONCE, count, |at| {
            work(all.get(usize::try_from(at).unwrap()).unwrap());
        });
    };
    each(&|c| {
        let ran = c.exec("e", ["sh", "-c", "echo $((6 * 7)); exit 7"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (7, "42\n"));
    });
    each(&|c| c.kill(9).unwrap());
    each(&|c| {
        assert_eq!(c.wait(), 137);
        c.delete().unwrap();
    });
    let all = Mutex::new(all);
    in_parallel(AT_ONCE, count, |_| {
        let last = all.lock().unwrap().pop();
        drop(last);
    });
}

#[test]
fn crowd_in_one_daemon_lives_and_goes() {
    let lab = watched();
    let keeper = keeper(&lab);
    assert_eq!(keeper.exec("warm", ["true"]).status, 0);
    let before = belongings(keeper.shim_pid());
    let pulse = Pulse::of(&keeper.address, lab.tag(), keeper.shim_pid());
    live_together(&lab, times(64, 500), &|| in_pod(&["sleep", "3600"]));
    judge("a crowd in one daemon", &keeper, pulse.stop());
    has_no_more(keeper.shim_pid(), &before);
}

#[test]
fn crowd_of_lone_containers_lives_and_goes() {
    let lab = Lab::new();
    live_together(&lab, times(32, 200), &|| Spec::new(["sleep", "3600"]));
}

/// The arguments of a process may have two megabytes; the others of its pod are not to wait for that.
#[test]
fn many_arguments_do_not_hold_the_loop_for_long() {
    let lab = watched();
    let keeper = keeper(&lab);
    assert_eq!(keeper.exec("warm", ["true"]).status, 0);
    let before = belongings(keeper.shim_pid());
    let pulse = Pulse::of(&keeper.address, lab.tag(), keeper.shim_pid());
    for _ in 0..times(2, 20) {
        let many = std::iter::repeat_n("0123456789", 60_000);
        let args: Vec<&str> = ["true"].into_iter().chain(many).collect();
        let c = lab.container(&in_pod(&args));
        c.run();
        assert_eq!(c.wait(), 0);
        c.delete().unwrap();
        let mut process = keeper.spec.process(["true"]);
        process["args"] = args.into();
        assert_eq!(keeper.exec_process("many", &process).status, 0);
    }
    judge("many arguments", &keeper, pulse.stop());
    has_no_more(keeper.shim_pid(), &before);
}

#[test]
fn lives_in_one_daemon_one_after_the_other_leave_it_as_it_was() {
    let lab = watched();
    let keeper = keeper(&lab);
    let life = || {
        let c = lab.container_with(&in_pod(&["sh", "-c", "exit 3"]), Streams::OUTPUT);
        c.run();
        assert_eq!(c.wait(), 3);
        c.delete().unwrap();
    };
    (0..times(50, 500)).for_each(|_| life());
    let before = belongings(keeper.shim_pid());
    let size = resident(keeper.shim_pid());
    let count = times(100, 5000);
    let (pulse, began) = (
        Pulse::of(&keeper.address, lab.tag(), keeper.shim_pid()),
        Instant::now(),
    );
    for number in 1..=count {
        life();
        if number % 500 == 0 {
            let now = resident(keeper.shim_pid());
            eprintln!("{number} lives in {:?}: {now} KiB", began.elapsed());
        }
    }
    let stalls = pulse.stop();
    judge("lives one after the other", &keeper, stalls);
    answers_soon("lives one after the other", stalls);
    has_no_more(keeper.shim_pid(), &before);
    // It has a level, up and down by half a MiB with what malloc has just given back; a leak of 200 bytes a life
    // would be more than this in a soak.
    let grown = resident(keeper.shim_pid()).saturating_sub(size);
    assert!(grown <= 1024, "{size} KiB has grown by {grown}");
}

#[test]
fn execs_in_parallel_leave_the_daemon_as_it_was() {
    let lab = watched();
    let keeper = keeper(&lab);
    let exec = |number: u32| {
        let ran = keeper.exec(&format!("e{number}"), ["echo", "here"]);
        assert_eq!((ran.status, ran.stdout.as_str()), (0, "here\n"));
    };
    (0..20).for_each(exec);
    let before = belongings(keeper.shim_pid());
    let pulse = Pulse::of(&keeper.address, lab.tag(), keeper.shim_pid());
    in_parallel(AT_ONCE, times(300, 5000), |number| exec(100 + number));
    let stalls = pulse.stop();
    judge("execs in parallel", &keeper, stalls);
    answers_soon("execs in parallel", stalls);
    has_no_more(keeper.shim_pid(), &before);
}

/// Resident memory in KiB, without the pages of files: those of the code come and go.
fn resident(pid: u32) -> u64 {
    let text = procfs::field(pid, "RssAnon").unwrap();
    text.trim_end_matches(" kB").parse().unwrap()
}
