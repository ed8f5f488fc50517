//! Exits that other shims have lost, doubled or told in the wrong order: one of each kind. That every
//! process has one exit, and init's is the last, is checked at the end of each test.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use hull_e2e::strace::Strace;
use hull_e2e::{
    Container, Lab, Spec, Streams, Topic, block, cgroup, eventually, leaks, procfs, slowed, target,
    time,
};

/// How long hull waits for what comes before the exit of init.
const OVERDUE: Duration = Duration::from_secs(5);

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// Topics of a life with one exec.
const LIFE: [Topic; 7] = [
    Topic::Create,
    Topic::Start,
    Topic::ExecAdded,
    Topic::ExecStarted,
    Topic::Exit,
    Topic::Exit,
    Topic::Delete,
];

fn live(c: &Container<'_>) {
    c.run();
    assert_eq!(c.exec("e", ["true"]).status, 0);
    assert_eq!(c.kill_and_wait(), 137);
    c.delete().unwrap();
}

/// What the clients of a shim with this container hear, without the deletion of execs.
fn heard(lab: &Lab, id: &str) -> Vec<Topic> {
    lab.events()
        .of(id)
        .into_iter()
        .filter(|event| event.topic != Topic::Delete || event.exec.is_empty())
        .map(|event| event.topic)
        .collect()
}

/// containerd is stopped for longer than any client's patience: no request waits for it, and no event
/// comes twice.
#[test]
fn receiver_that_does_not_answer_holds_nothing_up_and_hears_everything_once() {
    let lab = Lab::new();
    lab.event_sink().stall(true);
    let began = Instant::now();
    let c = lab.container(&sleeper());
    live(&c);
    let took = began.elapsed();
    assert!(took < slowed(Duration::from_secs(4)), "{took:?}");
    // The wait of other shims for an answer.
    thread::sleep(Duration::from_millis(5500).saturating_sub(began.elapsed()));
    assert_eq!(heard(&lab, &c.id), []);
    lab.event_sink().stall(false);
    lab.events().wait_for(Topic::Delete, &c.id, "");
    assert_eq!(heard(&lab, &c.id), LIFE);
    // One that was sent again would come now.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(heard(&lab, &c.id), LIFE);
}

#[test]
fn what_happens_while_nobody_listens_is_told_later_and_in_order() {
    let lab = Lab::new();
    lab.event_sink().go_away();
    let began = Instant::now();
    let c = lab.container(&sleeper());
    live(&c);
    let took = began.elapsed();
    assert!(took < slowed(Duration::from_secs(4)), "{took:?}");
    lab.event_sink().come_back();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    assert_eq!(heard(&lab, &c.id), LIFE);
}

/// As after a restart of containerd: it connects to the shim, and hears at once what it missed.
#[test]
fn receiver_that_connects_hears_at_once_what_it_missed() {
    if !target::is_hull() {
        eprintln!("other shims drop such events: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    lab.events().wait_for(Topic::Start, &c.id, "");
    lab.event_sink().go_away();
    c.kill_and_wait();
    // Long enough for the pauses between two tries to be long.
    thread::sleep(Duration::from_millis(2500));
    lab.event_sink().come_back();
    let client = hull_e2e::Task::connect(&c.address, lab.tag(), hull_e2e::Version::V2);
    let client = block(client).unwrap();
    block(client.connect_task(&c.id)).unwrap();
    let soon = slowed(Duration::from_millis(300));
    let exit = lab
        .events()
        .wait_within(soon, |event| event.is(Topic::Exit, &c.id, ""));
    assert!(exit.is_some());
}

#[test]
fn five_hundred_execs_and_the_kill_of_init_each_have_one_exit() {
    const EXECS: usize = 500;
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let process = c.spec.process(["sleep", "600"]);
    let ids: Vec<String> = (0..EXECS).map(|number| format!("e{number}")).collect();
    for exec in &ids {
        drop(c.add_exec_with(exec, &process, Streams::NONE));
    }
    let starts: Vec<_> = ids
        .iter()
        .map(|exec| {
            let (task, id, exec) = (c.task.clone(), c.id.clone(), exec.clone());
            time::handle().spawn(async move { task.start(&id, &exec).await.is_ok() })
        })
        .collect();
    // Some run, some are on their way, some have not begun.
    lab.events()
        .wait_for(Topic::ExecStarted, &c.id, &format!("e{}", EXECS / 5));
    c.kill(9).unwrap();
    assert_eq!(c.wait(), 137);
    let started = starts
        .into_iter()
        .map(|start| time::within_limit("Start", start).unwrap())
        .filter(|started| *started)
        .count();
    c.delete().unwrap();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    let exits = lab.events().topics(&c.id);
    let exits = exits.iter().filter(|topic| **topic == Topic::Exit).count();
    eprintln!("{started} of {EXECS} execs were started");
    assert_eq!(exits, started + 1);
    assert!(started >= EXECS / 5, "{started}");
}

/// Without a PID namespace of its own nothing but the shim ends what an exec has begun.
#[test]
fn no_exec_outlives_an_init_without_a_pid_namespace_of_its_own() {
    let lab = Lab::new();
    for _ in 0..5 {
        let c = lab.container(&sleeper().without_namespace("pid"));
        c.run();
        let process = c.spec.process(["sh", "-c", "sleep 602 & sleep 603"]);
        let execs: Vec<String> = (0..8).map(|number| format!("e{number}")).collect();
        for exec in &execs {
            drop(c.add_exec_with(exec, &process, Streams::NONE));
        }
        thread::scope(|scope| {
            for exec in &execs {
                let c = &c;
                // It may start or find the init gone; it must not hang.
                scope.spawn(move || c.try_start(exec).ok());
            }
            c.kill(9).unwrap();
        });
        assert_eq!(c.wait(), 137);
        for dir in cgroup::directories_naming(&c.cgroup()) {
            let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap();
            assert_eq!(list, "", "{}", dir.display());
        }
        c.delete().unwrap();
    }
}

/// Health checks that leave processes behind, whose parent the shim becomes.
#[test]
fn orphans_of_execs_are_reaped() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().without_namespace("pid"));
    c.run();
    for number in 0..20 {
        let text = "sleep 0.1 & sleep 0.05 & exit 3";
        let ran = c.exec(&format!("e{number}"), ["sh", "-c", text]);
        assert_eq!(ran.status, 3);
    }
    eventually("init and a launcher are the only children", || {
        let children = procfs::children(c.shim_pid());
        (children.len() <= 2).then_some(())
    });
    assert_eq!(c.status(), Status::RUNNING);
}

/// Nobody asked for its end: the kernel, or somebody on the host.
#[test]
fn created_init_that_dies_by_itself_is_stopped_and_told() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let pid = c.create();
    leaks::kill(pid);
    assert_eq!(c.wait(), 137);
    assert_eq!(c.status(), Status::STOPPED);
    c.try_start("").unwrap_err();
    c.delete().unwrap();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    assert_eq!(
        heard(&lab, &c.id),
        [Topic::Create, Topic::Exit, Topic::Delete]
    );
}

/// An exec of `sleep 601`, and what keeps it from being reaped when it is killed.
fn exec_that_hangs(lab: &Lab, c: &Container<'_>, exec: &str) -> (u32, Strace) {
    let process = c.spec.process(["sleep", "601"]);
    drop(c.add_exec_with(exec, &process, Streams::NONE));
    let pid = c.try_start(exec).unwrap();
    let strace = Strace::attach(&[pid], "exit_group", &lab.dir().join(exec));
    strace.stop();
    (pid, strace)
}

/// Kills init and waits for its exit, which must come late but come.
fn kill_and_wait_long(c: &Container<'_>) {
    let killed = Instant::now();
    assert_eq!(c.kill_and_wait(), 137);
    let took = killed.elapsed();
    let latest = OVERDUE + slowed(Duration::from_secs(5));
    assert!(took >= OVERDUE && took < latest, "{took:?}");
    assert_eq!(c.status(), Status::STOPPED);
}

/// Execs and statuses of the exits of a container.
fn exits(lab: &Lab, id: &str) -> Vec<(String, u32)> {
    lab.events().wait_for(Topic::Delete, id, "");
    let events = lab.events().of(id).into_iter();
    events
        .filter(|event| event.topic == Topic::Exit)
        .map(|event| (event.exec, event.status))
        .collect()
}

/// An exec that cannot be reaped, as one that hangs in the kernel. (With a private PID namespace the kernel
/// itself keeps init until then.)
#[test]
fn exec_that_hangs_does_not_hide_the_end_of_init() {
    if !target::is_hull() {
        eprintln!("the runc shim waits for ever: nothing is proved");
        return;
    }
    let lab = Lab::new();
    lab.expect_disorder();
    let c = lab.container(&sleeper().without_namespace("pid"));
    c.run();
    let (_, strace) = exec_that_hangs(&lab, &c, "e");
    kill_and_wait_long(&c);
    // It is still in the cgroup; nothing is forgotten, and Delete can be asked again.
    let error = c.delete().unwrap_err();
    assert!(error.message().contains("still there"), "{error}");
    drop(strace);
    assert_eq!(lab.events().wait_for(Topic::Exit, &c.id, "e").status, 137);
    c.delete().unwrap();
    let expected = [("", 137), ("e", 137)].map(|(exec, status)| (exec.to_owned(), status));
    assert_eq!(exits(&lab, &c.id), expected);
}

/// The same, of one that is not in the container's cgroup any more: its exit is told with the container's
/// end, once.
#[test]
fn exec_that_hangs_elsewhere_has_its_exit_with_the_end_of_the_container() {
    if !target::is_hull() {
        eprintln!("the runc shim waits for ever: nothing is proved");
        return;
    }
    let lab = Lab::new();
    lab.expect_disorder();
    let c = lab.container(&sleeper().without_namespace("pid"));
    c.run();
    let (pid, strace) = exec_that_hangs(&lab, &c, "e");
    for dir in cgroup::directories_naming(&c.cgroup()) {
        // The root, which takes processes whatever controllers are passed on below it.
        let lists = dir.ancestors().map(|above| above.join("cgroup.procs"));
        let root = lists.take_while(|list| list.exists()).last().unwrap();
        fs::write(root, pid.to_string()).unwrap();
    }
    kill_and_wait_long(&c);
    c.delete().unwrap();
    let expected = [("", 137), ("e", 255)].map(|(exec, status)| (exec.to_owned(), status));
    assert_eq!(exits(&lab, &c.id), expected);
    drop(strace);
    eventually("it is reaped", || (!procfs::exists(pid)).then_some(()));
    assert_eq!(exits(&lab, &c.id), expected);
}
