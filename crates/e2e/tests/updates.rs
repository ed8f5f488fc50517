//! What a running program sees while its device rules change: the old rules or the new ones, never
//! anything in between. In cgroup v1 the rules are a list that is changed entry by entry, in v2 a
//! program in the kernel that is replaced.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a panic is how a test fails"
)]

use std::fs;

use containerd_shim_protos::api::Status;
use hull_e2e::{Container, Lab, Spec, block, cgroup, procfs};
use serde_json::{Value, json};

/// A block device of this machine which can be opened, and which no rule allows.
fn disk() -> (u64, u64) {
    let mut names: Vec<String> = fs::read_dir("/sys/block")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| fs::File::open(format!("/dev/{name}")).is_ok())
        .collect();
    names.sort();
    let name = names.first().expect("a block device");
    let numbers = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

fn rule(allow: bool, kind: &str, numbers: (u64, u64), access: &str) -> Value {
    let (major, minor) = numbers;
    json!({ "allow": allow, "type": kind, "major": major, "minor": minor, "access": access })
}

/// Opens what is always allowed and what never is, as fast as it can, until it is told to stop.
/// What goes wrong comes on stdout; what the shell says of /dev/null on stderr is a gap, too.
const HAMMER: &str = "n=0; echo ready; while [ ! -e /tmp/stop ]; do \
    true </dev/null || echo gap; \
    true >/dev/zero || echo gap; \
    true 2>&- </disk && echo hole; \
    n=$((n+1)); done; echo rounds $n; sleep 600";

fn hammer(lab: &Lab) -> Container<'_> {
    let (major, minor) = disk();
    let node = json!({ "path": "/disk", "type": "b", "major": major, "minor": minor });
    let spec = Spec::new(["sh", "-c", HAMMER]).set("/linux/devices/-", node);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    c
}

fn update(c: &Container<'_>, rules: &Value) {
    let resources = json!({ "devices": rules });
    block(c.task.update(&c.id, &resources)).unwrap_or_else(|error| panic!("{rules}: {error}"));
}

/// Ends the loop; neither a gap nor a hole was seen, and there were enough looks.
#[track_caller]
fn nothing_seen(c: &mut Container<'_>, looks: u64) {
    assert_eq!(c.exec("stop", ["touch", "/tmp/stop"]).status, 0);
    assert_eq!(c.read_until("rounds "), "rounds ");
    let rounds: u64 = c.read_until("\n").trim().parse().unwrap();
    assert!(rounds >= looks, "only {rounds} looks");
    let err = c.stdio.err.as_mut().unwrap().read_available();
    assert_eq!(String::from_utf8_lossy(&err), "");
    // That the disk is there, and that it was the rules that denied it.
    update(c, &json!([rule(true, "b", disk(), "r")]));
    let ran = c.exec("look", ["sh", "-c", "true </disk && echo open"]);
    assert_eq!(ran.stdout, "open\n", "{ran:?}");
}

#[test]
fn a_thousand_updates_leave_neither_gap_nor_hole() {
    let lab = Lab::new();
    let mut c = hammer(&lab);
    let numbers = |minor| (10, minor);
    let tables = [
        json!([rule(true, "c", numbers(1), "r")]),
        json!([rule(true, "c", numbers(2), "rw"), rule(true, "c", numbers(3), "rwm")]),
        json!([]),
        json!([rule(true, "c", numbers(1), "rw"), rule(false, "b", disk(), "rwm")]),
    ];
    for round in 0..250 {
        for rules in &tables {
            update(&c, rules);
        }
        // A busy machine may have let nobody look for a while.
        assert!(procfs::exists(c.shim_pid()), "round {round}");
    }
    nothing_seen(&mut c, 1000);
}

/// v1 cannot change its default together with the exceptions from it.
#[test]
fn change_from_closed_to_open_rules_and_back_leaves_neither_gap_nor_hole() {
    let lab = Lab::new();
    let mut c = hammer(&lab);
    let everything = json!({ "allow": true, "access": "rwm" });
    let but_the_disk = json!([everything, rule(false, "b", disk(), "rwm")]);
    let but_more = json!([
        everything,
        rule(false, "b", disk(), "rwm"),
        rule(false, "c", (10, 1), "rwm")
    ]);
    for _ in 0..250 {
        update(&c, &but_the_disk);
        // A client that sends everything again with each update.
        update(&c, &but_the_disk);
        update(&c, &but_more);
        update(&c, &json!([]));
    }
    assert_eq!(c.status(), Status::RUNNING);
    nothing_seen(&mut c, 200);
}

/// What an update stops for a moment and then lets go must not be what somebody has paused.
#[test]
fn paused_container_stays_so_whatever_is_updated() {
    let lab = Lab::new();
    let c = hammer(&lab);
    block(c.task.pause(&c.id)).unwrap();
    let all_but_one = json!([
        { "allow": true, "access": "rwm" },
        rule(false, "b", disk(), "rwm")
    ]);
    for rules in [all_but_one.clone(), json!([]), all_but_one] {
        update(&c, &rules);
        assert_eq!(c.status(), Status::PAUSED);
        assert!(is_frozen(&c));
    }
    block(c.task.resume(&c.id)).unwrap();
    assert!(!is_frozen(&c));
}

fn is_frozen(c: &Container<'_>) -> bool {
    let unified = cgroup::hierarchies().into_iter().find(|one| one.unified);
    let dir = unified.expect("a unified tree").mount_point;
    let events = dir.join(c.cgroup().trim_start_matches('/')).join("cgroup.events");
    fs::read_to_string(events).unwrap().contains("frozen 1")
}

/// Pausing, resuming and updating at once: none of them undoes another.
#[test]
fn updates_pauses_and_resumes_at_once() {
    let lab = Lab::new();
    let c = hammer(&lab);
    let everything = json!([{ "allow": true, "access": "rwm" }, rule(false, "b", disk(), "rwm")]);
    for round in 0..20 {
        let rules = if round % 2 == 0 { &everything } else { &json!([]) };
        std::thread::scope(|scope| {
            scope.spawn(|| update(&c, rules));
            scope.spawn(|| block(c.task.pause(&c.id)).unwrap());
        });
        assert_eq!(c.status(), Status::PAUSED);
        assert!(is_frozen(&c), "round {round}");
        block(c.task.resume(&c.id)).unwrap();
        assert!(!is_frozen(&c), "round {round}");
    }
}
