//! Groups above a container's own: controllers are handed down where that can be done, and what
//! cannot be had is said in one line.

use std::fs;
use std::process::{Child, Command, Stdio};

use hull_e2e::{Container, Lab, Spec, Topic, block, is_one_clear_line};

use crate::group::{Group, of_process};
use crate::{MIB, sleeper};

/// A process in a group, which dies with this.
struct Inhabitant(Child);

impl Inhabitant {
    fn of(group: &Group) -> Self {
        let child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        group.write("cgroup.procs", &child.id().to_string());
        Self(child)
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What a group says of itself that a failed Create must not change. Threads have no `cgroup.procs`.
fn picture(group: &Group) -> [String; 4] {
    [
        "cgroup.type",
        "cgroup.subtree_control",
        "cgroup.threads",
        "memory.max",
    ]
    .map(|file| {
        if group.has(file) {
            group.read(file)
        } else {
            String::new()
        }
    })
}

fn child_of(parent: &Group, spec: Spec) -> Spec {
    spec.cgroup(&parent.child("c").path())
}

#[track_caller]
fn refused(c: &Container<'_>, parts: &[&str]) {
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), parts);
    assert!(!Group::of(c).exists(), "{error}");
}

/// Takes away what a test has made below its lab's group.
fn remove(groups: &[&Group]) {
    for group in groups {
        fs::remove_dir(group.dir()).unwrap();
    }
}

#[test]
fn controllers_are_enabled_on_the_way_down() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    parent.write("memory.max", "536870912");
    let middle = parent.child("middle");
    fs::create_dir(middle.dir()).unwrap();
    let before = [parent.read("memory.max"), parent.read("cgroup.type")];
    assert_eq!(parent.read("cgroup.subtree_control"), "");
    let spec = sleeper()
        .resource("memory/limit", 64 * MIB)
        .resource("cpu/shares", 512)
        .resource("pids/limit", 7);
    let c = lab.container(&child_of(&middle, spec));
    c.run();
    Group::of(&c).expect(&[
        ("memory.max", "67108864"),
        ("cpu.weight", "59"),
        ("pids.max", "7"),
    ]);
    for group in [&parent, &middle] {
        let enabled = group.read("cgroup.subtree_control");
        for name in ["cpu", "memory", "pids"] {
            assert!(enabled.split(' ').any(|other| other == name), "{enabled}");
        }
    }
    assert_eq!(
        [parent.read("memory.max"), parent.read("cgroup.type")],
        before
    );
    c.kill_and_wait();
    c.delete().unwrap();
    remove(&[&middle, &parent]);
}

/// Controllers that the host hands down stay so, and groups beside the way are left alone.
#[test]
fn what_the_host_hands_down_is_left() {
    let lab = Lab::new();
    let beside = Group::make(&lab, "beside");
    let root = Group::at("/");
    let (before, apart) = (root.read("cgroup.subtree_control"), picture(&beside));
    let mut c = lab.container(&sleeper().resource("memory/limit", 64 * MIB));
    c.create();
    assert_eq!(picture(&beside), apart);
    c.start();
    c.kill_and_wait();
    c.delete().unwrap();
    c.stdio.out.take();
    assert_eq!(root.read("cgroup.subtree_control"), before);
    assert_eq!(picture(&beside), apart);
    remove(&[&beside]);
}

#[test]
fn parent_with_processes_refuses_by_name_and_stays_as_it_is() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let neighbour = Inhabitant::of(&parent);
    let before = picture(&parent);
    let table = [
        (
            "memory/limit",
            64 * MIB,
            "memory.limit",
            "memory controller",
        ),
        ("pids/limit", 7, "pids.limit", "pids controller"),
        ("cpu/shares", 512, "cpu.shares", "cpu controller"),
    ];
    for (path, value, limit, controller) in table {
        let c = lab.container(&child_of(&parent, sleeper().resource(path, value)));
        let place = parent.dir().display().to_string();
        refused(&c, &[limit, controller, &place, "processes"]);
        assert_eq!(picture(&parent), before);
    }
    drop(neighbour);
    remove(&[&parent]);
}

/// The same with the process further up: the group that lacks the controller is not the one at
/// fault.
#[test]
fn grandparent_with_processes_is_the_one_that_is_named() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let neighbour = Inhabitant::of(&parent);
    let middle = parent.child("middle");
    fs::create_dir(middle.dir()).unwrap();
    let c = lab.container(&child_of(
        &middle,
        sleeper().resource("memory/limit", 64 * MIB),
    ));
    let place = format!("{}:", parent.dir().display());
    refused(&c, &["memory.limit", "memory controller", &place]);
    assert!(middle.exists());
    drop(neighbour);
    remove(&[&middle, &parent]);
}

#[test]
fn directories_made_for_a_refused_container_are_gone() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let neighbour = Inhabitant::of(&parent);
    let deep = parent.child("x").child("y");
    let c = lab.container(&child_of(
        &deep,
        sleeper().resource("memory/limit", 64 * MIB),
    ));
    refused(&c, &["memory.limit"]);
    assert!(!parent.child("x").exists());
    drop(neighbour);
    remove(&[&parent]);
}

#[test]
fn without_limits_no_controller_is_needed() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let neighbour = Inhabitant::of(&parent);
    let before = picture(&parent);
    let spec = sleeper().resource("memory", serde_json::json!({ "limit": -1 }));
    let c = lab.container(&child_of(&parent, spec));
    let pid = c.run();
    let group = Group::of(&c);
    assert_eq!(of_process(pid), group.path());
    assert_eq!(group.read("cgroup.controllers"), "");
    assert_eq!(picture(&parent), before);
    let ran = c.exec("e", ["echo", "here"]);
    assert_eq!(ran.stdout, "here\n");
    block(c.task.pause(&c.id)).unwrap();
    block(c.task.resume(&c.id)).unwrap();
    assert_eq!(block(c.task.pids(&c.id)).unwrap().processes.len(), 1);
    assert!(block(c.task.stats(&c.id)).is_ok());
    let limit = serde_json::json!({ "memory": { "limit": 64 * MIB } });
    let error = block(c.task.update(&c.id, &limit)).unwrap_err();
    let place = format!("{}:", parent.dir().display());
    is_one_clear_line(
        error.message(),
        &["memory.limit", "memory controller", &place],
    );
    assert_eq!(c.kill_and_wait(), 137);
    c.delete().unwrap();
    assert!(!group.exists());
    lab.events().wait_for(Topic::Delete, &c.id, "");
    drop(neighbour);
    remove(&[&parent]);
}

#[test]
fn threaded_parent_is_refused() {
    let lab = Lab::new();
    let domain = Group::make(&lab, "domain");
    let parent = domain.child("parent");
    fs::create_dir(parent.dir()).unwrap();
    parent.write("cgroup.type", "threaded");
    let before = [picture(&domain), picture(&parent)];
    for spec in [sleeper(), sleeper().resource("memory/limit", 64 * MIB)] {
        let c = lab.container(&child_of(&parent, spec));
        let place = format!("{} is threaded", parent.dir().display());
        refused(&c, &[&place]);
        assert_eq!([picture(&domain), picture(&parent)], before);
    }
    remove(&[&parent, &domain]);
}

/// A group with threaded children, as a process with groups for its threads has it.
#[test]
fn parent_of_threads_is_refused() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let threads = parent.child("threads");
    fs::create_dir(threads.dir()).unwrap();
    threads.write("cgroup.type", "threaded");
    assert_eq!(parent.read("cgroup.type"), "domain threaded");
    let c = lab.container(&child_of(&parent, sleeper()));
    refused(&c, &[&format!("{} is threaded", parent.dir().display())]);
    remove(&[&threads, &parent]);
}

/// A group that somebody made for the container is used, also if it is threaded: then not.
#[test]
fn prepared_group_is_used_unless_it_cannot_be() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let target = parent.child("c");
    fs::create_dir(target.dir()).unwrap();
    target.write("cgroup.type", "threaded");
    let c = lab.container(&child_of(&parent, sleeper()));
    let error = c.try_create().unwrap_err();
    is_one_clear_line(
        error.message(),
        &["threaded", &target.dir().display().to_string()],
    );
    remove(&[&target]);
    fs::create_dir(target.dir()).unwrap();
    let pid = c.run();
    assert_eq!(of_process(pid), target.path());
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!target.exists());
    remove(&[&parent]);
}

#[test]
fn group_with_processes_or_frozen_is_refused() {
    let lab = Lab::new();
    let parent = Group::make(&lab, "parent");
    let target = parent.child("c");
    fs::create_dir(target.dir()).unwrap();
    let neighbour = Inhabitant::of(&target);
    let c = lab.container(&child_of(&parent, sleeper()));
    let place = target.dir().display().to_string();
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), &["not empty", &place]);
    assert_eq!(target.processes(), [neighbour.0.id()]);
    drop(neighbour);
    target.write("cgroup.freeze", "1");
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), &["frozen", &place]);
    remove(&[&target]);
    // Nor below a frozen one.
    parent.write("cgroup.freeze", "1");
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), &["frozen", &place]);
    assert!(!target.exists());
    remove(&[&parent]);
}

/// Half of them fail after their group was made, and take away what they made, also of the way down
/// that the others need.
#[test]
fn neighbours_make_the_same_way_down_at_once() {
    let lab = Lab::new();
    let way = Group::make(&lab, "way");
    for round in 0..4 {
        let parent = way.child(&format!("round{round}")).child("pods");
        let containers: Vec<Container<'_>> = (0..6)
            .map(|number| {
                let spec = sleeper().cgroup(&parent.child(&format!("c{number}")).path());
                lab.container(&if number % 2 == 0 {
                    spec.resource("memory/limit", 64 * MIB)
                } else {
                    spec.resource("cpu/cpus", "1000")
                })
            })
            .collect();
        let created: Vec<bool> = std::thread::scope(|scope| {
            let creating: Vec<_> = containers
                .iter()
                .map(|c| scope.spawn(|| c.try_create().is_ok()))
                .collect();
            creating
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect()
        });
        assert_eq!(created, [true, false, true, false, true, false]);
        for c in &containers {
            let group = Group::of(c);
            if c.state().is_ok() {
                group.expect(&[("memory.max", "67108864")]);
            } else {
                assert!(!group.exists());
            }
        }
        drop(containers);
        let above = way.child(&format!("round{round}"));
        remove(&[&above.child("pods"), &above]);
    }
    remove(&[&way]);
}
