//! What a running program sees while its device rules change: the old rules or the new ones, never
//! anything in between. In cgroup v1 the rules are a list that is changed entry by entry, in v2 a
//! program in the kernel that is replaced.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a panic is how a test fails"
)]

use std::fs;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use hull_e2e::{Container, Lab, Spec, block, cgroup, limit, slowed};
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

/// Opens what is always allowed and what never is, as fast as it can, and writes a point for each
/// look, `G` for something allowed that was denied and `H` for something denied that was allowed.
const HAMMER: &str = "echo ready; while :; do \
    true </dev/null || echo G; \
    true >/dev/zero || echo G; \
    true 2>&- </disk && echo H; \
    echo .; done";

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

/// Goes round and round in the rules until there were enough updates and enough looks in between,
/// all of them of the right kind.
#[track_caller]
fn nothing_is_seen(c: &mut Container<'_>, rules: &[Value], updates: u32) {
    const LOOKS: usize = 300;
    // Where the machine is emulated, so many would take minutes.
    let updates = updates / u32::try_from(slowed(Duration::from_secs(1)).as_secs()).unwrap();
    let deadline = Instant::now() + 4 * limit();
    let (mut done, mut looks) = (0, 0);
    while done < updates || looks < LOOKS {
        for rules in rules {
            update(c, rules);
            done += 1;
        }
        let seen = c.stdio.out.as_mut().unwrap().read_available();
        let seen = String::from_utf8(seen).unwrap();
        assert!(
            !seen.contains(['G', 'H']),
            "after {done} updates and {looks} looks: {seen}"
        );
        looks += seen.matches('.').count();
        assert!(
            Instant::now() < deadline,
            "only {done} updates and {looks} looks"
        );
    }
    // That the disk is there, and that it was the rules that denied it.
    update(c, &json!([rule(true, "b", disk(), "r")]));
    c.read_until("H");
}

#[test]
fn a_thousand_updates_leave_neither_gap_nor_hole() {
    let lab = Lab::new();
    let mut c = hammer(&lab);
    let numbers = |minor| (10, minor);
    let rules = [
        json!([rule(true, "c", numbers(1), "r")]),
        json!([
            rule(true, "c", numbers(2), "rw"),
            rule(true, "c", numbers(3), "rwm")
        ]),
        json!([]),
        json!([
            rule(true, "c", numbers(1), "rw"),
            rule(false, "b", disk(), "rwm")
        ]),
    ];
    nothing_is_seen(&mut c, &rules, 1000);
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
    // The second is a client that sends everything again with each update.
    let rules = [but_the_disk.clone(), but_the_disk, but_more, json!([])];
    nothing_is_seen(&mut c, &rules, 400);
    assert_eq!(c.status(), Status::RUNNING);
}

/// What an update stops for a moment and then lets go must not be what somebody has paused.
#[test]
fn paused_container_stays_so_whatever_is_updated() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
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
    let events = dir
        .join(c.cgroup().trim_start_matches('/'))
        .join("cgroup.events");
    fs::read_to_string(events).unwrap().contains("frozen 1")
}

/// Pausing, resuming and updating at once: none of them undoes another.
#[test]
fn updates_pauses_and_resumes_at_once() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let everything = json!([{ "allow": true, "access": "rwm" }, rule(false, "b", disk(), "rwm")]);
    for round in 0..20 {
        let rules = if round % 2 == 0 {
            &everything
        } else {
            &json!([])
        };
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
