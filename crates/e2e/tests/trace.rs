//! The trace of a Create: complete, in order, and only for who asks.

#![expect(clippy::unwrap_used, reason = "test code")]

use hull_abi::{TRACE_ANNOTATION, TRACE_FILE, Trace, Who};
use hull_e2e::{Lab, Spec};

fn traced(spec: &Spec, lab: &Lab) -> Trace {
    let c = lab.container(spec);
    c.create();
    let json = std::fs::read(c.bundle.path().join(TRACE_FILE)).unwrap();
    c.kill_and_wait();
    serde_json::from_slice(&json).unwrap()
}

#[test]
fn every_process_of_a_create_says_when_it_began_its_steps() {
    let lab = Lab::new();
    let spec = Spec::new(["true"]).annotation(TRACE_ANNOTATION, "yes");
    let marks = traced(&spec, &lab).marks;
    assert!(marks.is_sorted_by_key(|mark| mark.at_ns), "{marks:?}");
    let begun = |who: Who| -> Vec<&str> {
        let of = marks.iter().filter(|mark| mark.who == who);
        of.map(|mark| &*mark.what).collect()
    };
    assert_eq!(begun(Who::Job), ["plan", "rootfs mount", "cgroup"]);
    let init = begun(Who::Init);
    for step in [
        "namespaces",
        "mounts",
        "devices",
        "pivot_root",
        "credentials",
    ] {
        assert!(init.contains(&step), "{step} in {init:?}");
    }
    let (first, last) = (marks.first().unwrap(), marks.last().unwrap());
    assert_eq!(
        (first.who, &*first.what),
        (Who::Daemon, "lower config.json")
    );
    assert_eq!((last.who, &*last.what), (Who::Daemon, "created"));
    // Less than a minute between the first and the last: one clock for all of them.
    assert!(last.at_ns - first.at_ns < 60_000_000_000, "{marks:?}");
}

#[test]
fn nobody_asks_and_there_is_no_file() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    c.create();
    assert!(!c.bundle.path().join(TRACE_FILE).exists());
    c.kill_and_wait();
}

/// Asking for the time can be a system call, and a filter may kill who makes it.
#[test]
fn filter_that_kills_whoever_reads_the_clock_does_no_harm() {
    let lab = Lab::new();
    for no_new_privileges in [true, false] {
        let filter = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["clock_gettime"], "action": "SCMP_ACT_KILL_PROCESS" }],
        });
        let spec = Spec::new(["true"])
            .annotation(TRACE_ANNOTATION, "yes")
            .set("/process/noNewPrivileges", no_new_privileges)
            .set("/linux/seccomp", filter);
        assert!(!traced(&spec, &lab).marks.is_empty());
    }
}
