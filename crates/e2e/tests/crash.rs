//! What happens when the daemon, the launcher or containerd is killed.

use std::fs;
use std::path::Path;

use containerd_shim_protos::api::Status;
use hull_e2e::{
    Case, Containerd, Lab, Spec, Topic, block, cgroup, eventually, leaks, procfs, target, time,
};

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// The `delete` action must do all that the daemon cannot any more; the lab looks for the rest.
#[test]
fn delete_cleans_up_after_a_killed_daemon() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let pid = c.run();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    let deleted = lab.binary().delete(&c.id, c.bundle.path()).unwrap();
    assert_eq!(deleted.exit_status, 137);
    assert!(deleted.exited_at.seconds > 0, "{deleted:?}");
    eventually("the init is dead", || procfs::has_ended(pid).then_some(()));
    let groups = cgroup::directories_naming(&c.cgroup());
    assert!(groups.is_empty(), "{groups:?}");
    assert!(procfs::mounts_naming(&c.bundle.rootfs().display().to_string()).is_empty());
}

#[test]
fn delete_after_a_killed_daemon_can_be_repeated() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    for _ in 0..3 {
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
    }
}

#[test]
fn delete_cleans_up_a_created_container() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let pid = c.create();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    lab.binary().delete(&c.id, c.bundle.path()).unwrap();
    eventually("the init is dead", || procfs::has_ended(pid).then_some(()));
}

#[test]
fn delete_cleans_up_a_paused_container() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let pid = c.run();
    block(c.task.pause(&c.id)).unwrap();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    lab.binary().delete(&c.id, c.bundle.path()).unwrap();
    eventually("the init is dead", || procfs::has_ended(pid).then_some(()));
}

#[test]
fn delete_cleans_up_a_container_in_the_hosts_pid_namespace() {
    let lab = Lab::new();
    let spec = Spec::new(["sh", "-c", "sleep 604 & echo ready; wait"]).without_namespace("pid");
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready");
    let pids = block(c.task.pids(&c.id)).unwrap().processes;
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    lab.binary().delete(&c.id, c.bundle.path()).unwrap();
    for process in pids {
        eventually("a process is dead", || {
            procfs::has_ended(process.pid).then_some(())
        });
    }
}

/// As after every ordinary deletion of a container whose pod lives on.
#[test]
fn delete_of_one_container_leaves_its_group_alone() {
    let lab = Lab::new();
    let group = lab.id("pod");
    let spec = sleeper().annotation("io.kubernetes.cri.sandbox-id", &group);
    let (a, b) = (lab.container(&spec), lab.container(&spec));
    a.run();
    b.run();
    a.kill_and_wait();
    a.delete().unwrap();
    lab.binary().delete(&a.id, a.bundle.path()).unwrap();
    assert_eq!(b.status(), Status::RUNNING);
    assert!(lab.socket(&group).exists());
}

#[test]
fn delete_without_a_bundle_is_no_failure() {
    let lab = Lab::new();
    let bundle = lab.dir().join("bundles/never-there");
    fs::create_dir_all(&bundle).unwrap();
    lab.binary().delete("never-there", &bundle).unwrap();
    fs::remove_dir(&bundle).unwrap();
}

/// The daemon's children that run our own binary, but for an init that waits for its start: it is
/// the launcher's copy until then.
fn launchers(daemon: u32, waiting_init: u32) -> Vec<u32> {
    let mut children = procfs::children(daemon);
    children.retain(|pid| *pid != waiting_init && procfs::command_line(*pid).ends_with("launcher"));
    children
}

#[test]
fn killed_launcher_harms_no_container_and_is_replaced() {
    if !target::is_hull() {
        eprintln!("only hull has a launcher: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for round in 0..3 {
        for pid in launchers(c.shim_pid(), 0) {
            leaks::kill(pid);
            eventually("the launcher is dead", || {
                (!procfs::exists(pid)).then_some(())
            });
        }
        let ran = c.exec(&format!("e{round}"), ["echo", "works"]);
        assert_eq!(
            (ran.status, ran.stdout.as_str()),
            (0, "works\n"),
            "round {round}"
        );
        assert_eq!(c.status(), Status::RUNNING);
    }
    assert!(launchers(c.shim_pid(), 0).len() <= 1);
    assert_eq!(c.kill_and_wait(), 137);
    assert_eq!(lab.events().wait_for(Topic::Exit, &c.id, "").status, 137);
}

#[test]
fn exit_is_noticed_without_a_launcher() {
    if !target::is_hull() {
        eprintln!("only hull has a launcher: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["sh", "-c", "echo ready; sleep 0.3; exit 11"]));
    c.run();
    c.read_until("ready");
    launchers(c.shim_pid(), 0).into_iter().for_each(leaks::kill);
    assert_eq!(c.wait(), 11);
    c.delete().unwrap();
}

#[test]
fn container_starts_after_the_launcher_that_made_it_died() {
    if !target::is_hull() {
        eprintln!("only hull has a launcher: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["sh", "-c", "echo started; exit 12"]));
    let init = c.create();
    launchers(c.shim_pid(), init)
        .into_iter()
        .for_each(leaks::kill);
    c.start();
    c.read_until("started");
    assert_eq!(c.wait(), 12);
}

/// Events that nobody takes hold nothing up, and those that came before the end of containerd are
/// not sent twice.
#[test]
fn task_survives_a_restart_of_containerd() {
    let case = Case::with(Containerd::start_own());
    case.expect_lost_events();
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    let pid = case.pid(&id);
    case.containerd().kill();
    // Without containerd the shim answers.
    let task = case.connect(&id);
    assert_eq!(
        block(task.state(&id, "")).unwrap().status(),
        Status::RUNNING
    );
    case.containerd().resume();
    assert_eq!(case.pid(&id), pid);
    assert_eq!(case.exec(&id, &["echo", "again"]).ok(), "again\n");
    case.remove(&id);
}

#[test]
fn wait_and_state_know_of_an_exit_while_containerd_was_away() {
    let case = Case::with(Containerd::start_own());
    case.expect_lost_events();
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    let task = case.connect(&id);
    case.containerd().kill();
    block(task.kill(&id, "", 9)).unwrap();
    assert_eq!(
        time::within_limit("Wait", task.wait(&id, ""))
            .unwrap()
            .exit_status,
        137
    );
    case.containerd().resume();
    let list = case.ctr(&["task", "ls"]).ok();
    assert!(
        list.lines()
            .any(|line| line.starts_with(&id) && line.contains("STOPPED")),
        "{list}"
    );
    let deleted = case.ctr(&["task", "delete", &id]).expect(0);
    assert!(
        deleted.stderr.contains("exit code 137"),
        "{}",
        deleted.stderr
    );
    case.ctr(&["container", "delete", &id]).ok();
}

#[test]
fn output_goes_on_after_a_restart_of_containerd() {
    let case = Case::with(Containerd::start_own());
    case.expect_lost_events();
    let dir = case.containerd().dir().join("log");
    let log = format!("file://{}/out", dir.display());
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done";
    let id = case.run_detached(&["--log-uri", &log], &["sh", "-c", script]);
    let lines = || {
        fs::read_to_string(dir.join("out"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("some lines", || (lines() > 5).then_some(()));
    case.containerd().kill();
    let before = lines();
    eventually("lines while containerd is away", || {
        (lines() > before + 5).then_some(())
    });
    case.containerd().resume();
    let before = lines();
    eventually("lines after its return", || {
        (lines() > before + 5).then_some(())
    });
    case.remove(&id);
    let text = fs::read_to_string(dir.join("out")).unwrap();
    for (number, line) in (1..).zip(text.lines()) {
        assert_eq!(line, format!("line {number}"));
    }
}

/// containerd notices that the connection closed, calls `delete` and tells of the exit itself.
#[test]
fn containerd_cleans_up_after_a_killed_daemon() {
    let case = Case::new();
    case.expect_lost_events();
    let id = case.run_detached(&["--null-io"], &["sleep", "600"]);
    let pid = case.pid(&id);
    let task = case.connect(&id);
    let daemon = block(task.connect_task(&id)).unwrap().shim_pid;
    leaks::kill(daemon);
    case.containerd().events().wait_for(Topic::Exit, &id, "");
    eventually("the init is dead", || procfs::has_ended(pid).then_some(()));
    let bundle = case
        .containerd()
        .dir()
        .join("state/io.containerd.runtime.v2.task");
    let bundle = bundle.join(case.containerd().tag()).join(&id);
    eventually("the bundle is gone", || {
        (!Path::new(&bundle).exists()).then_some(())
    });
    case.ctr(&["container", "delete", &id]).ok();
}
