//! A container that may write to its own cgroups and uses that against the runtime: whatever it
//! makes of them, it is killed, counted and deleted, and its neighbour does not notice.

use std::path::Path;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use hull_e2e::{Container, Lab, Spec, block, eventually, time};

use crate::group::Group;
use crate::{KILL, script};

/// Long enough for what has nothing to wait for, on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Runs a script that may write to the container's own cgroups, until it says "ready".
fn with_own_groups<'lab>(lab: &'lab Lab, text: &str) -> Container<'lab> {
    let options = ["rw", "nosuid", "nodev", "noexec"];
    let spec: Spec = script(&format!("cd /sys/fs/cgroup; {text}"))
        .namespace("cgroup", None)
        .mount("cgroup", Path::new("cgroup"), "/sys/fs/cgroup", &options);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    c
}

#[track_caller]
fn ends_at_once(c: &Container<'_>) {
    let begun = Instant::now();
    block(c.task.kill_all(&c.id, KILL)).unwrap();
    assert_eq!(c.wait(), 137);
    c.delete().unwrap();
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(!Group::of(c).exists());
}

#[test]
fn frozen_by_itself() {
    let lab = Lab::new();
    let c = with_own_groups(
        &lab,
        "mkdir in; echo 1 >in/cgroup.procs; echo ready; echo 1 >in/cgroup.freeze; sleep 600",
    );
    let inner = Group::of(&c).child("in");
    eventually("it stands still", || {
        (inner.counter("cgroup.events", "frozen") == 1).then_some(())
    });
    assert_eq!(c.status(), Status::RUNNING);
    block(c.task.pause(&c.id)).unwrap();
    block(c.task.resume(&c.id)).unwrap();
    assert_eq!(inner.counter("cgroup.events", "frozen"), 1);
    let ran = c.exec("e", ["echo", "here"]);
    assert_eq!(ran.stdout, "here\n");
    ends_at_once(&c);
}

/// An exec can only go where init is, and nothing runs there.
#[test]
fn exec_into_a_group_that_stands_still() {
    let lab = Lab::new();
    let c = with_own_groups(
        &lab,
        "mkdir in; echo 1 >in/cgroup.procs; echo +pids >cgroup.subtree_control; echo ready; \
         echo 1 >in/cgroup.freeze; sleep 600",
    );
    let inner = Group::of(&c).child("in");
    eventually("it stands still", || {
        (inner.counter("cgroup.events", "frozen") == 1).then_some(())
    });
    let _stdio = c.add_exec("e", ["sleep", "600"]);
    let (task, id) = (c.task.clone(), c.id.clone());
    let starting = time::handle().spawn(async move { task.start(&id, "e").await });
    eventually("the exec is there", || {
        (inner.processes().len() >= 2).then_some(())
    });
    // Nobody else waits for it.
    let begun = Instant::now();
    let neighbour = lab.container(&script("exit 3"));
    neighbour.run();
    assert_eq!(neighbour.wait(), 3);
    assert_eq!(c.status(), Status::RUNNING);
    assert!(block(c.task.pids(&c.id)).unwrap().processes.len() >= 2);
    assert!(block(c.task.stats(&c.id)).is_ok());
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    assert!(!starting.is_finished());
    ends_at_once(&c);
    assert!(block(starting).unwrap().is_err());
}

/// Groups for threads have no list of processes, and nothing can be killed in them by itself.
#[test]
fn groups_for_threads() {
    let lab = Lab::new();
    let c = with_own_groups(
        &lab,
        "mkdir t; echo threaded >t/cgroup.type; sleep 601 & echo $! >t/cgroup.procs; \
         echo 1 >t/cgroup.procs; echo ready; sleep 600",
    );
    let group = Group::of(&c);
    assert_eq!(group.read("cgroup.type"), "domain threaded");
    assert!(group.child("t").read("cgroup.threads").lines().count() >= 2);
    let pids = block(c.task.pids(&c.id)).unwrap().processes.len();
    assert!(pids >= 2, "{pids}");
    assert!(block(c.task.stats(&c.id)).is_ok());
    let ran = c.exec("e", ["cat", "/proc/self/cgroup"]);
    assert_eq!(ran.stdout, "0::/\n", "{ran:?}");
    block(c.task.pause(&c.id)).unwrap();
    assert_eq!(group.counter("cgroup.events", "frozen"), 1);
    block(c.task.resume(&c.id)).unwrap();
    ends_at_once(&c);
}

#[test]
fn many_groups_deep_and_wide() {
    let lab = Lab::new();
    let c = with_own_groups(
        &lab,
        "for i in $(seq 150); do mkdir w$i; done; d=.; for i in $(seq 60); do d=$d/d; mkdir $d; \
         done; sleep 601 & echo $! >$d/cgroup.procs; echo ready; sleep 600",
    );
    assert!(Group::of(&c).child("w150").exists());
    let deepest = (0..60).fold(Group::of(&c), |group, _| group.child("d"));
    let there = deepest.processes()[0];
    let processes = block(c.task.pids(&c.id)).unwrap().processes;
    assert!(processes.iter().any(|process| process.pid == there));
    ends_at_once(&c);
}

/// Names are any bytes but a line break and a slash.
#[test]
fn groups_with_odd_names() {
    let lab = Lab::new();
    let c = with_own_groups(
        &lab,
        "mkdir -- \"$(printf '\\377\\376')\" ' ' '-rf' '...' 'a b\"c' \"$(printf %255s | tr ' ' x)\"; \
         sleep 601 & echo $! >'a b\"c/cgroup.procs'; echo ready; sleep 600",
    );
    assert!(Group::of(&c).child("-rf").exists());
    ends_at_once(&c);
}
