//! What the kernel kills for want of memory is told, and told before the exit that it causes.

use hull_e2e::{Container, Lab, Spec, Topic, block, eventually, procfs};
use serde_json::json;

use crate::group::Group;
use crate::{MIB, script};

/// Takes far more memory than 16 MiB.
const GREEDY: &str = "head -c 100000000 /dev/zero | tail";

fn limited(spec: Spec, mib: u64) -> Spec {
    spec.resource("memory", json!({ "limit": mib * MIB, "swap": mib * MIB }))
}

fn kills(c: &Container<'_>) -> u64 {
    Group::of(c).counter("memory.events", "oom_kill")
}

/// The order in which the two came.
#[track_caller]
fn oom_before_exit(lab: &Lab, c: &Container<'_>) {
    let exit = lab.events().wait_for(Topic::Exit, &c.id, "");
    assert_eq!(exit.status, 137);
    let topics = lab.events().topics(&c.id);
    let at = |wanted| topics.iter().position(|topic| *topic == wanted);
    let (oom, exit) = (at(Topic::Oom), at(Topic::Exit));
    assert!(oom.is_some() && oom < exit, "{topics:?}");
}

#[test]
fn native_program() {
    let lab = Lab::new();
    // Of one process: the one that takes is the one that ends.
    let text = "x=0123456789abcdef; while :; do x=$x$x; done";
    let c = lab.container(&limited(script(text), 16));
    c.run();
    assert_eq!(c.wait(), 137);
    oom_before_exit(&lab, &c);
    assert_eq!(kills(&c), 1);
}

#[test]
fn wasm_guest() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    c.run();
    c.read_until("ready\n");
    // A guest is refused what it asks for beyond its limit; so the limit comes down to it.
    let none = json!({ "memory": { "limit": 4096, "swap": 4096 } });
    block(c.task.update(&c.id, &none)).unwrap();
    assert_eq!(c.wait(), 137);
    oom_before_exit(&lab, &c);
    assert!(kills(&c) >= 1);
}

/// A guest is refused memory before the kernel kills it, whichever way the limit was given.
#[test]
fn wasm_guest_heeds_the_limit_in_the_file() {
    let lab = Lab::wasm();
    let files = json!({ "memory.max": (32 * MIB).to_string(), "memory.swap.max": "0" });
    let spec = Spec::new(["/wasm/grow.wasm"]).resource("unified", files);
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    // In pages of 64 KiB.
    let pages: u64 = ran.stdout.trim().parse().unwrap();
    assert!((300..=512).contains(&pages), "{pages}");
    assert_eq!(kills(&c), 0);
}

#[test]
fn child_that_is_killed_is_told_while_init_lives() {
    let lab = Lab::new();
    let mut c = lab.container(&limited(
        script(&format!("({GREEDY}) >/dev/null; echo child $?; sleep 600")),
        16,
    ));
    c.run();
    lab.events().wait_for(Topic::Oom, &c.id, "");
    c.read_until("child");
    assert!(kills(&c) >= 1);
    assert!(!lab.events().topics(&c.id).contains(&Topic::Exit));
}

#[test]
fn exec_is_told_of_too() {
    let lab = Lab::new();
    let c = lab.container(&limited(crate::sleeper(), 16));
    c.run();
    let ran = c.exec(
        "e",
        ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"],
    );
    assert_eq!(ran.status, 137, "{ran:?}");
    lab.events().wait_for(Topic::Oom, &c.id, "");
    assert_eq!(kills(&c), 1);
}

/// Also one in a group that the container has made for itself.
#[test]
fn kill_further_down_is_told() {
    let lab = Lab::new();
    let c = lab.container(&crate::sleeper());
    c.run();
    let (group, inner) = (Group::of(&c), Group::of(&c).child("inner"));
    std::fs::create_dir(inner.dir()).unwrap();
    let leaf = group.child("leaf");
    std::fs::create_dir(leaf.dir()).unwrap();
    for pid in group.processes() {
        leaf.write("cgroup.procs", &pid.to_string());
    }
    group.write("cgroup.subtree_control", "+memory");
    inner.write("memory.max", "8388608");
    inner.write("memory.swap.max", "0");
    let text = "sleep 1; x=0123456789abcdef; while :; do x=$x$x; done";
    let _stdio = c.add_exec("e", ["sh", "-c", text]);
    let pid = c.try_start("e").unwrap();
    inner.write("cgroup.procs", &pid.to_string());
    assert_eq!(c.wait_exec("e"), 137);
    lab.events().wait_for(Topic::Oom, &c.id, "");
    assert_eq!(kills(&c), 1);
}

/// Every process of a group that is killed as one.
#[test]
fn group_kill_ends_all_at_once() {
    let lab = Lab::new();
    let text = format!("sleep 601 & ({GREEDY}) >/dev/null; sleep 600");
    let spec = limited(script(&text), 16).resource("unified", json!({ "memory.oom.group": "1" }));
    let c = lab.container(&spec);
    c.run();
    assert_eq!(c.wait(), 137);
    oom_before_exit(&lab, &c);
    let group = Group::of(&c);
    eventually("all are gone", || {
        (group.counter("cgroup.events", "populated") == 0).then_some(())
    });
    assert!(group.counter("memory.events", "oom_group_kill") >= 1);
}

/// A user has 128 inotify instances, which is fewer than there are containers on a host.
#[test]
fn watching_takes_nothing_that_is_scarce() {
    let lab = Lab::new();
    let c = lab.container(&limited(crate::sleeper(), 16));
    c.run();
    let open = procfs::open_files(c.shim_pid());
    assert!(
        !open.iter().any(|file| file.contains("inotify")),
        "{open:?}"
    );
}
