//! The device filter: an eBPF program on the cgroup. Whatever is denied here is allowed to another
//! container by one more rule, so that it is this filter that denies.

use hull_e2e::{Container, Lab, Ran, Spec, block, is_one_clear_line};
use serde_json::{Value, json};

use crate::group::Group;
use crate::limits::disk;
use crate::{one_by_one, sleeper};

const DENIED: &str = "Operation not permitted";

fn rule(allow: bool, kind: &str, numbers: (u64, u64), access: &str) -> Value {
    let (major, minor) = numbers;
    json!({ "allow": allow, "type": kind, "major": major, "minor": minor, "access": access })
}

fn numbers() -> (u64, u64) {
    let (_, major, minor) = disk();
    (major, minor)
}

/// Makes a node for a disk of the host, then reads it and opens it for writing.
fn try_disk(c: &Container<'_>, exec: &str) -> Ran {
    let (major, minor) = numbers();
    let text = format!(
        "rm -f /tmp/d; mknod /tmp/d b {major} {minor} && echo made; \
         dd if=/tmp/d of=/dev/null bs=512 count=1 2>&1 | grep -o '{DENIED}\\|1+0 records in'; \
         (: >>/tmp/d) 2>&1 | grep -o '{DENIED}' || echo writable"
    );
    c.exec(exec, ["sh", "-c", &text])
}

/// What [`try_disk`] prints.
fn outcome(read: bool, write: bool) -> String {
    let read = if read { "1+0 records in" } else { DENIED };
    let write = if write { "writable" } else { DENIED };
    format!("made\n{read}\n{write}\n")
}

/// Whether a container of each spec can read the disk and write to it.
#[track_caller]
fn seen(table: impl IntoIterator<Item = (Spec, [bool; 2])>) {
    one_by_one(table, |c, [read, write]| {
        c.start();
        let ran = try_disk(c, "e");
        assert_eq!(ran.stdout, outcome(read, write), "{ran:?}");
    });
}

fn with_rules(rules: &[Value]) -> Spec {
    rules.iter().fold(sleeper(), |spec, rule| {
        spec.resource("devices/-", rule.clone())
    })
}

#[test]
fn disk_is_denied_unless_a_rule_allows_it() {
    let allowed = |access| with_rules(&[rule(true, "b", numbers(), access)]);
    seen([
        (sleeper(), [false, false]),
        (allowed("rwm"), [true, true]),
        (allowed("r"), [true, false]),
        (allowed("m"), [false, false]),
        // The shell's >> opens for writing alone.
        (allowed("w"), [false, true]),
    ]);
}

#[test]
fn kind_number_and_order_count() {
    let (major, minor) = numbers();
    let one = |kind, numbers| with_rules(&[rule(true, kind, numbers, "rwm")]);
    let any_minor = json!({ "allow": true, "type": "b", "major": major, "access": "rwm" });
    let allowed = rule(true, "b", (major, minor), "rwm");
    let no_writing = rule(false, "b", (major, minor), "w");
    seen([
        (one("c", (major, minor)), [false, false]),
        (one("b", (major, minor + 1)), [false, false]),
        (one("b", (major + 1, minor)), [false, false]),
        (with_rules(&[any_minor]), [true, true]),
        // The last one that matches decides.
        (
            with_rules(&[allowed.clone(), no_writing.clone()]),
            [true, false],
        ),
        (with_rules(&[no_writing, allowed]), [true, true]),
    ]);
}

#[test]
fn everything_allowed_is_no_filter_and_no_rules_are_the_closed_one() {
    let all = json!([{ "allow": true, "access": "rwm" }]);
    seen([
        (sleeper().set("/linux/resources/devices", all), [true, true]),
        (sleeper().unset("/linux/resources/devices"), [false, false]),
        (sleeper().unset("/linux/resources"), [false, false]),
    ]);
}

#[test]
fn init_is_confined_from_its_first_instruction() {
    let (major, minor) = numbers();
    let text = format!("mknod /tmp/d b {major} {minor}; dd if=/tmp/d of=/dev/null count=1 2>&1");
    for (rules, allowed) in [
        (vec![], false),
        (vec![rule(true, "b", (major, minor), "r")], true),
    ] {
        let spec = with_rules(&rules).set("/process/args", json!(["sh", "-c", text]));
        let lab = Lab::new();
        let ran = lab.container(&spec).run_to_end();
        assert_eq!(ran.stdout.contains("1+0 records in"), allowed, "{ran:?}");
        assert_eq!(ran.stdout.contains(DENIED), !allowed, "{ran:?}");
    }
}

#[test]
fn what_every_program_expects_is_there() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let text = "for d in null zero full random urandom tty ptmx; do \
        if (: </dev/$d) 2>/tmp/why; then echo $d; else cat /tmp/why; fi; done; \
        head -c 8 /dev/urandom | wc -c; echo x >/dev/null && echo written";
    let ran = c.exec("e", ["sh", "-c", text]);
    // Without a terminal, /dev/tty is allowed and yet nobody's.
    assert!(!ran.stdout.contains(DENIED), "{ran:?}");
    for part in ["null\nzero\nfull\nrandom\nurandom\n", "ptmx\n8\nwritten\n"] {
        assert!(ran.stdout.contains(part), "{ran:?}");
    }
}

#[test]
fn update_replaces_the_rules_or_keeps_them() {
    let disk = numbers();
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let look = |exec: &str| try_disk(&c, exec).stdout;
    let update = |resources: Value| block(c.task.update(&c.id, &resources)).unwrap();
    assert_eq!(look("a"), outcome(false, false));
    update(json!({ "pids": { "limit": 100 } }));
    assert_eq!(look("b"), outcome(false, false));
    update(json!({ "devices": [rule(true, "b", disk, "r")] }));
    assert_eq!(look("c"), outcome(true, false));
    update(json!({ "memory": { "limit": 1 << 27 } }));
    assert_eq!(look("d"), outcome(true, false));
    update(json!({ "devices": [{ "allow": true, "access": "rwm" }] }));
    assert_eq!(look("e"), outcome(true, true));
    // From no filter to one.
    update(json!({ "devices": [rule(false, "a", disk, "rwm")] }));
    assert_eq!(look("f"), outcome(false, false));
}

/// A cgroup holds 64 programs: each update must take the place of the last.
#[test]
fn many_updates_leave_one_filter() {
    let disk = numbers();
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for round in 0..100 {
        let access = if round % 2 == 0 { "r" } else { "w" };
        let resources = json!({ "devices": [rule(true, "b", disk, access)] });
        block(c.task.update(&c.id, &resources)).unwrap();
    }
    assert_eq!(try_disk(&c, "e").stdout, outcome(false, true));
}

/// A group that the container makes for itself has no way out of the filter.
#[test]
fn group_of_its_own_does_not_help() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let pid = c.run();
    let inner = Group::of(&c).child("inner");
    std::fs::create_dir(inner.dir()).unwrap();
    inner.write("cgroup.procs", &pid.to_string());
    let (major, minor) = numbers();
    let text = format!(
        "mknod /tmp/d b {major} {minor}; dd if=/tmp/d of=/dev/null count=1 2>&1; cat /proc/self/cgroup"
    );
    let _stdio = c.add_exec("wait", ["sleep", "600"]);
    let exec = c.try_start("wait").unwrap();
    inner.write("cgroup.procs", &exec.to_string());
    let ran = c.exec("e", ["sh", "-c", &text]);
    assert!(ran.stdout.contains(DENIED), "{ran:?}");
}

#[test]
fn wasm_guest_is_confined_alike() {
    let (major, minor) = numbers();
    let node = json!({ "path": "/disk", "type": "b", "major": major, "minor": minor });
    let lab = Lab::wasm();
    let spec = Spec::new(["/wasm/files.wasm", "read", "/disk"]).set("/linux/devices/-", node);
    let ran = lab.container(&spec).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(ran.stderr.contains("open /disk"), "{ran:?}");
    let spec = spec.resource("devices/-", rule(true, "b", (major, minor), "r"));
    let mut c = lab.container(&spec);
    c.run();
    // It would copy the whole disk; the first block of an ext4 file system is empty.
    c.read_until("\0");
}

#[test]
fn rules_that_are_none_are_refused() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    for (bad, part) in [
        (
            json!({ "allow": true, "type": "x", "access": "r" }),
            "devices",
        ),
        (
            json!({ "allow": true, "type": "c", "access": "q" }),
            "\"q\"",
        ),
        (
            json!({ "allow": true, "type": "c", "major": -7, "access": "r" }),
            "-7",
        ),
    ] {
        c.reconfigure(&with_rules(&[bad]));
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), &[part]);
        assert!(!Group::of(&c).exists());
    }
}
