//! A process of hull dies, or a step fails, at every point of making a container: the caller gets one
//! line that says where, and nothing is left. The shim here is built with fault points.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::chown;

use hull_e2e::{HookKind, Lab, Spec, block, cgroup, eventually, is_one_clear_line, procfs};

/// Steps on the way to the gate, in their order.
const CREATE: [&str; 19] = [
    "rootfs mount",
    "cgroup",
    "plan",
    "join cgroup",
    "namespaces",
    "session",
    "rootfs",
    "mounts",
    "devices",
    "runtime hooks",
    "createContainer hooks",
    "pivot_root",
    "console",
    "sysctl",
    "masked paths",
    "process attributes",
    "credentials",
    "program",
    "gate",
];
/// Steps of the process in between, which an init with shifted clocks and a user namespace has, and
/// the first ones behind it.
const BETWEEN: [&str; 9] = [
    "plan",
    "join cgroup",
    "namespaces",
    "time offsets",
    "clone",
    "id maps",
    "session",
    "mounts",
    "gate",
];
/// Steps behind it.
const START: [&str; 2] = ["startContainer hooks", "exec"];

fn spec() -> Spec {
    ["Prestart", "CreateContainer", "StartContainer"]
        .iter()
        .fold(Spec::new(["sleep", "600"]), |spec, kind| {
            let kind = match *kind {
                "Prestart" => HookKind::Prestart,
                "CreateContainer" => HookKind::CreateContainer,
                _ => HookKind::StartContainer,
            };
            spec.hook(kind, "/bin/true", &["true"])
        })
}

fn spec_with_process_between() -> Spec {
    let bind = std::path::Path::new("/etc");
    Spec::new(["sleep", "600"])
        .user_namespace(100_000, 65_536)
        .namespace("time", None)
        .mount("bind", bind, "/run/etc", &["bind"])
}

#[track_caller]
fn create_fails(spec: &Spec, step: &str, what: &str) {
    let lab = Lab::with_fault(&format!("{step}:{what}"));
    let c = lab.container(spec);
    chown(c.upper(), Some(100_000), Some(100_000)).unwrap();
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        let text = error.message();
        assert!(!text.trim().contains('\n'), "more than one line: {text:?}");
        if what == "fail" {
            assert!(text.contains(step), "{step}: {text:?}");
        } else {
            assert!(
                text.contains("killed") || text.contains("died"),
                "{step}: {text:?}"
            );
        }
        assert_eq!(lab.events().of(&c.id), [], "{step}");
        let rootfs = c.bundle.rootfs().display().to_string();
        assert!(procfs::mounts_naming(&rootfs).is_empty(), "{step}");
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{step}: {groups:?}");
    }
}

#[test]
fn every_step_of_create_can_fail() {
    CREATE
        .iter()
        .for_each(|step| create_fails(&spec(), step, "fail"));
}

#[test]
fn a_process_can_be_killed_at_every_step_of_create() {
    CREATE
        .iter()
        .for_each(|step| create_fails(&spec(), step, "kill"));
}

#[test]
fn a_process_in_between_can_fail_or_be_killed_at_every_step() {
    for step in BETWEEN {
        for what in ["fail", "kill"] {
            create_fails(&spec_with_process_between(), step, what);
        }
    }
}

#[test]
fn a_logger_can_fail_or_be_killed_before_it_runs() {
    for (what, expected) in [("fail", "logger: fault point"), ("kill", "it was killed")] {
        let lab = Lab::with_fault(&format!("logger:{what}"));
        let c = lab.container(&spec());
        let mut request = c.create_request();
        request.stdout = "binary:///bin/cat".to_owned();
        request.stderr.clone_from(&request.stdout);
        for _ in 0..2 {
            let error = block(c.task.create(&request)).unwrap_err();
            is_one_clear_line(error.message(), &[expected]);
            assert_eq!(lab.events().of(&c.id), []);
        }
    }
}

#[test]
fn start_reports_a_step_that_failed_and_the_container_can_be_deleted() {
    for step in START {
        for what in ["fail", "kill"] {
            let lab = Lab::with_fault(&format!("{step}:{what}"));
            let c = lab.container(&spec());
            c.create();
            let error = c.try_start("").unwrap_err();
            assert!(!error.message().contains('\n'), "{error:?}");
            c.wait();
            c.delete().unwrap();
        }
    }
}

#[test]
fn delete_action_finishes_what_a_killed_delete_left() {
    for step in ["cgroup removal", "rootfs umount"] {
        let lab = Lab::with_fault(&format!("{step}:kill"));
        let c = lab.container(&Spec::new(["sleep", "600"]));
        c.run();
        c.kill_and_wait();
        c.delete().unwrap_err();
        lab.kill_daemon(c.shim_pid());
        c.wait_for_daemon();
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{step}: {groups:?}");
        let rootfs = c.bundle.rootfs().display().to_string();
        assert!(procfs::mounts_naming(&rootfs).is_empty(), "{step}");
    }
}

/// An exec that dies on its way leaves the container as it was.
#[test]
fn exec_can_fail_or_be_killed_at_every_step_before_its_program() {
    exec_fails(&Spec::new(["sleep", "600"]));
}

#[test]
fn exec_into_a_user_namespace_can_fail_or_be_killed_at_every_step() {
    exec_fails(&spec_with_process_between());
}

#[track_caller]
fn exec_fails(spec: &Spec) {
    for step in [
        "plan",
        "join cgroup",
        "namespaces",
        "clone",
        "session",
        "exec",
    ] {
        for what in ["fail", "kill"] {
            let lab = Lab::with_fault(&format!("exec {step}:{what}"));
            let c = lab.container(spec);
            chown(c.upper(), Some(100_000), Some(100_000)).unwrap();
            let pid = c.run();
            let stdio = c.add_exec("e", ["true"]);
            let error = c.try_start("e").unwrap_err();
            assert!(!error.message().contains('\n'), "{error:?}");
            drop(stdio);
            block(c.task.delete(&c.id, "e")).unwrap();
            // The process in between ends by itself, and nobody waits for that.
            eventually(&format!("exec {step}:{what}: init is alone"), || {
                let pids = block(c.task.pids(&c.id)).unwrap().processes;
                let pids: Vec<u32> = pids.iter().map(|process| process.pid).collect();
                (pids == [pid]).then_some(())
            });
        }
    }
}
