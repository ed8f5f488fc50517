//! Which events a shim sends, and in which order. The order alone is checked by every test; here
//! are the exact sequences.

use std::path::Path;
use std::time::Duration;

use hull_e2e::{Case, HookKind, Lab, Spec, Topic, block, target};

const KILL: u32 = 9;

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// The topics of a container once its delete has come.
fn whole_life(lab: &Lab, id: &str) -> Vec<Topic> {
    lab.events().wait_for(Topic::Delete, id, "");
    lab.events().topics(id)
}

#[test]
fn run_is_create_start_exit_delete() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sh", "-c", "exit 5"]));
    let pid = c.run();
    c.wait();
    c.delete().unwrap();
    let topics = whole_life(&lab, &c.id);
    assert_eq!(
        topics,
        [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete]
    );
    for event in lab.events().of(&c.id) {
        assert_eq!(event.pid, pid, "{event}");
        let ended = matches!(event.topic, Topic::Exit | Topic::Delete);
        assert_eq!(event.status, if ended { 5 } else { 0 }, "{event}");
    }
}

#[test]
fn create_comes_before_its_reply() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.create();
    lab.events().wait_for(Topic::Create, &c.id, "");
    assert_eq!(lab.events().topics(&c.id), [Topic::Create]);
}

#[test]
fn exec_is_added_started_exit() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    assert_eq!(c.exec("e", ["sh", "-c", "exit 9"]).status, 9);
    let exit = lab.events().wait_for(Topic::Exit, &c.id, "e");
    assert_eq!(exit.status, 9);
    let of_exec = lab
        .events()
        .of(&c.id)
        .into_iter()
        .filter(|event| event.exec == "e");
    let topics: Vec<Topic> = of_exec.map(|event| event.topic).collect();
    let without_delete: Vec<Topic> = topics
        .into_iter()
        .filter(|topic| *topic != Topic::Delete)
        .collect();
    assert_eq!(
        without_delete,
        [Topic::ExecAdded, Topic::ExecStarted, Topic::Exit]
    );
}

#[test]
fn init_exit_is_last_when_killed_under_ten_execs() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let stdio: Vec<_> = (0..10)
        .map(|number| {
            let exec = format!("e{number}");
            let stdio = c.add_exec(&exec, ["sleep", "600"]);
            c.try_start(&exec).unwrap();
            stdio
        })
        .collect();
    c.kill_and_wait();
    c.delete().unwrap();
    let topics = whole_life(&lab, &c.id);
    // Ten execs and the init; that the init's is the last is checked by the lab.
    assert_eq!(
        topics.iter().filter(|topic| **topic == Topic::Exit).count(),
        11
    );
    drop(stdio);
}

#[test]
fn kill_gives_one_exit_with_137() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    c.kill(KILL).unwrap();
    // A second one may find it dead already.
    c.kill(KILL).ok();
    assert_eq!(lab.events().wait_for(Topic::Exit, &c.id, "").status, 137);
    c.delete().unwrap();
    let topics = whole_life(&lab, &c.id);
    assert_eq!(
        topics,
        [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete]
    );
}

#[test]
fn kill_in_created_gives_an_exit_without_start() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.create();
    c.kill(KILL).unwrap();
    c.wait();
    c.delete().unwrap();
    assert_eq!(
        whole_life(&lab, &c.id),
        [Topic::Create, Topic::Exit, Topic::Delete]
    );
}

#[test]
fn delete_in_created_gives_an_exit_before_the_delete() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.create();
    c.delete().unwrap();
    assert_eq!(
        whole_life(&lab, &c.id),
        [Topic::Create, Topic::Exit, Topic::Delete]
    );
}

#[test]
fn pause_and_resume_are_told() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    block(c.task.pause(&c.id)).unwrap();
    lab.events().wait_for(Topic::Paused, &c.id, "");
    block(c.task.resume(&c.id)).unwrap();
    lab.events().wait_for(Topic::Resumed, &c.id, "");
    let topics = lab.events().topics(&c.id);
    assert_eq!(
        topics,
        [Topic::Create, Topic::Start, Topic::Paused, Topic::Resumed]
    );
}

#[test]
fn failed_create_gives_no_event() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["/no/such/program"]));
    c.try_create().unwrap_err();
    let event = lab
        .events()
        .wait_within(Duration::from_secs(2), |event| event.container == c.id);
    assert_eq!(event, None);
}

#[test]
fn create_that_fails_in_a_hook_gives_no_event() {
    let lab = Lab::new();
    let spec = sleeper().hook(HookKind::CreateRuntime, "/bin/false", &["false"]);
    let c = lab.container(&spec);
    c.try_create().unwrap_err();
    let event = lab
        .events()
        .wait_within(Duration::from_secs(2), |event| event.container == c.id);
    assert_eq!(event, None);
}

#[test]
fn failed_exec_start_gives_neither_start_nor_exit() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _stdio = c.add_exec("e", ["/no/such/program"]);
    c.try_start("e").unwrap_err();
    block(c.task.delete(&c.id, "e")).unwrap();
    c.kill_and_wait();
    c.delete().unwrap();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    let of_exec = lab
        .events()
        .of(&c.id)
        .into_iter()
        .filter(|event| event.exec == "e");
    let topics: Vec<Topic> = of_exec.map(|event| event.topic).collect();
    assert_eq!(topics, [Topic::ExecAdded]);
}

#[test]
fn containers_of_one_group_share_a_daemon_and_keep_their_order() {
    let lab = Lab::new();
    let group = lab.id("pod");
    let spec = sleeper().annotation("io.kubernetes.cri.sandbox-id", &group);
    let (a, b) = (lab.container(&spec), lab.container(&spec));
    assert_eq!((&a.address, a.shim_pid()), (&b.address, b.shim_pid()));
    assert_eq!(
        Path::new(a.address.trim_start_matches("unix://")),
        lab.socket(&group)
    );
    a.run();
    b.run();
    a.kill_and_wait();
    assert_eq!(b.status(), containerd_shim_protos::api::Status::RUNNING);
    a.delete().unwrap();
    b.kill_and_wait();
    b.delete().unwrap();
    for id in [&a.id, &b.id] {
        let topics = whole_life(&lab, id);
        assert_eq!(
            topics,
            [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete]
        );
    }
}

#[test]
fn events_reach_the_users_of_containerd() {
    let case = Case::new();
    let id = case.id("run");
    let command = case.run_command(&id, &["--rm"], &["sh", "-c", "exit 7"]);
    hull_e2e::ctr::run(command, &[]).expect(7);
    let events = case.containerd().events();
    events.wait_for(Topic::Delete, &id, "");
    let expected = [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete];
    assert_eq!(
        events.topics(&id),
        expected,
        "runtime {}",
        target::runtime()
    );
    assert_eq!(events.wait_for(Topic::Exit, &id, "").status, 7);
}
