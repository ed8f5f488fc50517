//! Device rules at work: the v1 controller, and the eBPF filter on the unified tree.

use crate::scope::Scope;
use hull_abi::{DeviceKind, DeviceRule, Resources};
use hull_cgroup::{Absence, Error, update};
use hull_sys::bpf::DeviceProgram;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

fn everything(allow: bool) -> DeviceRule {
    let kind = DeviceKind::All;
    DeviceRule {
        allow,
        kind,
        major: None,
        minor: None,
        read: true,
        write: true,
        mknod: true,
    }
}

/// A memory device: 3 is null, 5 zero, 7 full.
fn mem(minor: u32, read: bool, write: bool) -> DeviceRule {
    let (major, minor) = (Some(1), Some(minor));
    DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major,
        minor,
        read,
        write,
        mknod: false,
    }
}

fn rules(rules: &[DeviceRule]) -> Resources {
    Resources {
        devices: Some(rules.to_vec()),
        ..Resources::default()
    }
}

/// Whether a process of the cgroup can read the node; a refusal must be the filter's EPERM.
fn reads(scope: &Scope, node: &str) -> bool {
    let script = format!("sh -c 'exec head -c 1 {node}'");
    let output = scope.spawn(&script).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() || text.contains("Operation not permitted"),
        "{text}"
    );
    output.status.success()
}

/// Whether a process of the cgroup can write to the node.
fn writes(scope: &Scope, node: &str) -> bool {
    let script = format!("sh -c 'echo x > {node}'");
    let output = scope.spawn(&script).wait_with_output().unwrap();
    output.status.success()
}

fn filter_works(scope: &Scope) {
    scope.create(rules(&[everything(true)])).unwrap();
    // The positive control: without a filter everything can be opened.
    assert!(reads(scope, "/dev/zero") && reads(scope, "/dev/full") && writes(scope, "/dev/null"));

    let narrow = [everything(false), mem(3, true, true), mem(5, true, false)];
    update(&scope.paths, &rules(&narrow)).unwrap();
    assert!(reads(scope, "/dev/zero"));
    assert!(!writes(scope, "/dev/zero"));
    assert!(!reads(scope, "/dev/full"));
    assert!(writes(scope, "/dev/null"));

    let moved = [everything(false), mem(3, true, true), mem(7, true, false)];
    update(&scope.paths, &rules(&moved)).unwrap();
    assert!(!reads(scope, "/dev/zero"));
    assert!(reads(scope, "/dev/full"));

    update(&scope.paths, &Resources::default()).unwrap();
    assert!(!reads(scope, "/dev/zero"));
    update(&scope.paths, &rules(&[everything(true)])).unwrap();
    assert!(reads(scope, "/dev/zero") && writes(scope, "/dev/zero"));
}

#[test]
fn v1_controller_filters() {
    let scope = Scope::new("devices");
    filter_works(&scope);
}

#[test]
fn v1_list_is_what_was_asked() {
    let scope = Scope::new("devices-list");
    scope
        .create(rules(&[
            everything(false),
            mem(3, true, true),
            mem(5, true, false),
        ]))
        .unwrap();
    let list = scope.file("devices", "devices.list");
    let mut lines: Vec<&str> = list.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["c 1:3 rw", "c 1:5 r"]);
}

#[test]
fn ebpf_program_filters_on_the_unified_tree() {
    let scope = Scope::unified_only("ebpf");
    filter_works(&scope);
}

#[test]
fn ebpf_program_is_replaced_and_taken_off() {
    let scope = Scope::unified_only("ebpf-one");
    let attached = || {
        let dir = File::open(scope.paths.unified.as_ref().unwrap()).unwrap();
        let programs = DeviceProgram::attached(std::os::fd::AsFd::as_fd(&dir)).unwrap();
        programs
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    scope.create(rules(&[everything(false)])).unwrap();
    assert_eq!(attached(), ["hull_devices"]);
    for minor in 0..70 {
        // More often than a cgroup can hold programs.
        update(&scope.paths, &rules(&[mem(minor, true, true)])).unwrap();
        assert_eq!(attached(), ["hull_devices"]);
    }
    update(&scope.paths, &rules(&[everything(true)])).unwrap();
    assert_eq!(attached(), [""; 0]);
}

#[test]
fn rules_without_any_filter_are_an_error() {
    let mut scope = Scope::v1_only("devices-none");
    scope
        .paths
        .v1
        .retain(|v1| !v1.controllers.iter().any(|name| name == "devices"));
    let error = scope.create(rules(&[everything(false)])).unwrap_err();
    let expected = Error::NoController {
        limit: "devices",
        controller: "devices".into(),
        absence: Absence::Host,
    };
    assert_eq!(error, expected);
}

/// Opens what is always allowed and what never is many times; says what it saw wrong.
const HAMMER: &str = "sh -c 'echo ready; n=0; while [ $n -lt 20000 ]; do \
    true </dev/zero || echo gap; true 2>&- </dev/full && echo hole; n=$((n+1)); done; echo end'";

/// A program that runs all the while sees the old rules or the new ones.
fn no_gap_and_no_hole(scope: &Scope, updates: &[Resources]) {
    scope.create(updates.first().unwrap().clone()).unwrap();
    let mut child = scope.spawn(HAMMER);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let reader = std::thread::spawn(move || {
        let mut seen = String::new();
        output.read_to_string(&mut seen).unwrap();
        seen
    });
    let mut done = 0;
    while !reader.is_finished() {
        for resources in updates {
            update(&scope.paths, resources).unwrap();
            done += 1;
        }
    }
    child.wait().unwrap();
    assert_eq!(reader.join().unwrap(), "end\n", "in {done} updates");
    assert!(done >= 20, "only {done} updates");
}

/// Always: zero is allowed, full is not.
fn tables() -> [Resources; 3] {
    [
        rules(&[everything(false), mem(5, true, true)]),
        rules(&[everything(false), mem(3, true, true), mem(5, true, false)]),
        rules(&[
            everything(true),
            DeviceRule {
                allow: false,
                ..mem(7, true, true)
            },
        ]),
    ]
}

#[test]
fn running_program_sees_no_gap_in_the_v1_list() {
    no_gap_and_no_hole(&Scope::new("devices-gap"), &tables());
}

#[test]
fn running_program_sees_no_gap_in_the_v1_list_without_a_unified_tree() {
    no_gap_and_no_hole(&Scope::v1_only("devices-gap-v1"), &tables());
}

#[test]
fn running_program_sees_no_gap_between_ebpf_programs() {
    no_gap_and_no_hole(&Scope::unified_only("ebpf-gap"), &tables());
}
