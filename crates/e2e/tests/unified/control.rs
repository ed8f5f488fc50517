//! Pausing, killing: with the files of the unified hierarchy and what they do.

use std::fs;

use containerd_shim_protos::api::Status;
use hull_e2e::{Container, Lab, Spec, Topic, block, eventually};

use crate::group::Group;
use crate::{KILL, script, sleeper};

/// Ticks of CPU time that a process has used (proc_pid_stat(5)).
fn cpu_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn is_frozen(group: &Group) -> bool {
    let frozen = group.counter("cgroup.events", "frozen") == 1;
    assert_eq!(group.read("cgroup.freeze"), u32::from(frozen).to_string());
    frozen
}

/// A loop that is always on a processor, native and as Wasm.
fn loops() -> [(Lab, Spec); 2] {
    [
        (Lab::new(), script("echo ready; while :; do :; done")),
        (Lab::wasm(), Spec::new(["/wasm/loop.wasm"])),
    ]
}

#[test]
fn paused_loop_stands_still_until_it_is_resumed() {
    for (lab, spec) in loops() {
        let mut c = lab.container(&spec);
        let pid = c.run();
        c.read_until("ready\n");
        let group = Group::of(&c);
        let begun = cpu_time(pid);
        eventually("it runs", || (cpu_time(pid) > begun).then_some(()));
        assert!(!is_frozen(&group));

        block(c.task.pause(&c.id)).unwrap();
        assert!(is_frozen(&group));
        let stopped = cpu_time(pid);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(cpu_time(pid), stopped);
        assert_eq!(c.status(), Status::PAUSED);

        block(c.task.resume(&c.id)).unwrap();
        assert!(!is_frozen(&group));
        eventually("it runs again", || (cpu_time(pid) > stopped).then_some(()));
        // Events travel on their own: the last one may come after the answer.
        eventually("both events came", || {
            (lab.events().topics(&c.id)[2..] == [Topic::Paused, Topic::Resumed]).then_some(())
        });
    }
}

#[test]
fn kill_ends_a_paused_container() {
    for (lab, spec) in loops() {
        let mut c = lab.container(&spec);
        c.run();
        c.read_until("ready\n");
        block(c.task.pause(&c.id)).unwrap();
        c.kill(KILL).unwrap();
        assert_eq!(c.wait(), 137);
        c.delete().unwrap();
        assert!(!Group::of(&c).exists());
    }
}

/// A signal that can be caught waits for the thaw.
#[test]
fn other_signal_waits_for_resume() {
    let lab = Lab::new();
    let mut c = lab.container(&script(
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.1; done",
    ));
    let pid = c.run();
    c.read_until("ready\n");
    block(c.task.pause(&c.id)).unwrap();
    c.kill(15).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(hull_e2e::procfs::exists(pid));
    assert_eq!(c.status(), Status::PAUSED);
    block(c.task.resume(&c.id)).unwrap();
    assert_eq!(c.wait(), 7);
}

/// Groups that a container has made below its own stand still too.
#[test]
fn pause_holds_what_is_further_down() {
    let lab = Lab::new();
    let mut c = lab.container(&sleeper());
    c.run();
    let mut stdio = c.add_exec("e", ["sh", "-c", "echo ready; while :; do :; done"]);
    let pid = c.try_start("e").unwrap();
    let out = stdio.out.as_mut().unwrap();
    out.read_until(b"ready\n", hull_e2e::limit()).unwrap();
    let inner = Group::of(&c).child("inner");
    fs::create_dir(inner.dir()).unwrap();
    inner.write("cgroup.procs", &pid.to_string());
    block(c.task.pause(&c.id)).unwrap();
    // A task that was moved may leave the frozen state and come back once more.
    eventually("the inner group is frozen", || {
        (inner.counter("cgroup.events", "frozen") == 1).then_some(())
    });
    let stopped = cpu_time(pid);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(cpu_time(pid), stopped);
    c.kill(KILL).unwrap();
    assert_eq!(c.wait(), 137);
    assert_eq!(c.wait_exec("e"), 137);
    c.stdio.out.take();
    c.delete().unwrap();
    assert!(!Group::of(&c).exists());
}

/// Forks all the time, each child leaves its session and forks further.
const RESTLESS: &str = "f() { while :; do (setsid sleep 600 &); done; }; \
    f 2>/dev/null & f 2>/dev/null & echo ready; wait";

fn restless(lab: &Lab) -> Container<'_> {
    let spec = script(RESTLESS)
        .without_namespace("pid")
        .resource("pids/limit", 60);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    let group = Group::of(&c);
    eventually("it has reached its limit", || {
        (group.counter("pids.events", "max") > 0).then_some(())
    });
    c
}

#[track_caller]
fn all_gone(group: &Group) {
    eventually("all are gone", || {
        (group.counter("cgroup.events", "populated") == 0).then_some(())
    });
    assert_eq!(group.processes(), Vec::<u32>::new());
}

#[test]
fn nothing_survives_the_end_of_init_without_a_pid_namespace() {
    let lab = Lab::new();
    let c = restless(&lab);
    let group = Group::of(&c);
    assert!(group.has("cgroup.kill"));
    assert_eq!(c.kill_and_wait(), 137);
    all_gone(&group);
    c.delete().unwrap();
    assert!(!group.exists());
}

#[test]
fn kill_all_reaches_what_forks_and_what_is_further_down() {
    let lab = Lab::new();
    let c = restless(&lab);
    let group = Group::of(&c);
    let inner = group.child("inner");
    fs::create_dir(inner.dir()).unwrap();
    let init = group.processes()[0];
    for pid in group.processes().iter().filter(|pid| **pid != init).take(5) {
        // It may have ended by now.
        drop(inner.try_write("cgroup.procs", &pid.to_string()));
    }
    block(c.task.kill_all(&c.id, KILL)).unwrap();
    assert_eq!(c.wait(), 137);
    all_gone(&group);
    c.delete().unwrap();
    assert!(!inner.exists());
}

/// A forked child that has left init behind keeps its group alive until the deletion.
#[test]
fn pids_are_those_of_the_group_and_below() {
    let lab = Lab::new();
    let mut c = lab.container(&script("sleep 601 & sleep 602 & echo ready; wait"));
    let pid = c.run();
    c.read_until("ready\n");
    let group = Group::of(&c);
    let inner = group.child("inner");
    fs::create_dir(inner.dir()).unwrap();
    let child = *group
        .processes()
        .iter()
        .find(|other| **other != pid)
        .unwrap();
    inner.write("cgroup.procs", &child.to_string());
    let mut seen: Vec<u32> = block(c.task.pids(&c.id))
        .unwrap()
        .processes
        .iter()
        .map(|process| process.pid)
        .collect();
    let mut expected = [group.processes(), inner.processes()].concat();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(seen.len(), 3);
}
