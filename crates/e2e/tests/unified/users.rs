//! User namespaces where the host's root has all rights and there is one hierarchy.

use super::script;
use hull_e2e::{Lab, Spec, cgroup, procfs};
use serde_json::json;
use std::fs;
use std::os::unix::fs::chown;

const ROOT: u32 = 100_000;

fn mapped(text: &str) -> Spec {
    script(text).user_namespace(ROOT, 65_536)
}

/// The root of a user namespace could not do it.
#[test]
fn limits_are_raised_above_the_shims_own() {
    let lab = Lab::new();
    let rlimits = json!([{ "type": "RLIMIT_NOFILE", "soft": 900_000, "hard": 1_000_000 }]);
    let spec = mapped("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj; echo ready; sleep 600")
        .set("/process/rlimits", rlimits)
        .set("/process/oomScoreAdj", -500);
    let mut c = lab.container(&spec);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", c.shim_pid())).unwrap();
    let own = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard: u64 = own
        .unwrap()
        .split_whitespace()
        .nth(4)
        .unwrap()
        .parse()
        .unwrap();
    assert!(hard < 1_000_000, "{hard}: nothing would be proved");
    c.run();
    let seen = c.read_until("ready");
    assert_eq!(seen, "900000\n1000000\n-500\nready");
    let exec = c.exec("e", ["sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj"]);
    assert_eq!(exec.stdout, "900000\n-500\n", "{exec:?}");
}

#[test]
fn cgroup_is_the_containers_and_is_its_root_inside() {
    let lab = Lab::new();
    let spec = mapped("cat /proc/self/cgroup; ls /sys/fs/cgroup/pids.max; echo ready; sleep 600")
        .namespace("cgroup", None)
        .mount(
            "cgroup",
            std::path::Path::new("cgroup"),
            "/sys/fs/cgroup",
            &["ro"],
        )
        .resource("pids/limit", 50);
    let mut c = lab.container(&spec);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    let pid = c.run();
    let seen = c.read_until("ready");
    assert_eq!(seen, "0::/\n/sys/fs/cgroup/pids.max\nready");
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(group.trim(), format!("0::{}", c.cgroup()));
    assert!(!cgroup::directories_naming(&c.cgroup()).is_empty());
    assert_eq!(
        procfs::field(pid, "Uid").unwrap().split('\t').next(),
        Some("100000")
    );
}

/// What a systemd in such a container needs.
#[test]
fn writable_cgroup_belongs_to_the_root_inside() {
    let lab = Lab::new();
    let text = "stat -c %u /sys/fs/cgroup /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/leaf; \
                echo $$ > /sys/fs/cgroup/leaf/cgroup.procs; cat /proc/self/cgroup; \
                echo 1 > /sys/fs/cgroup/pids.max || echo refused; echo ready; sleep 600";
    let source = std::path::Path::new("cgroup");
    let spec = mapped(text)
        .namespace("cgroup", None)
        .mount("cgroup", source, "/sys/fs/cgroup", &["rw"])
        .resource("pids/limit", 50);
    let mut c = lab.container(&spec);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    c.run();
    let seen = c.read_until("ready");
    assert_eq!(seen, "0\n0\n0::/leaf\nrefused\nready");
}

/// Its label is written through a procfs, which the root of a user namespace may mount only while it
/// sees one with nothing hidden: an exec never does.
#[test]
fn apparmor_profile_is_taken_by_init_and_exec() {
    let lab = Lab::new();
    let spec = mapped("cat /proc/self/attr/current; echo ready; sleep 600")
        .set("/process/apparmorProfile", "unconfined");
    let mut c = lab.container(&spec);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    c.run();
    assert_eq!(c.read_until("ready"), "unconfined\nready");
    let exec = c.exec("e", ["cat", "/proc/self/attr/current"]);
    assert_eq!(exec.stdout, "unconfined\n", "{exec:?}");
    let mut process = c.spec.process(["true"]);
    *process.pointer_mut("/apparmorProfile").unwrap() = json!("hull-no-such-profile");
    drop(c.add_exec_with("f", &process, hull_e2e::Streams::NONE));
    let error = c.try_start("f").unwrap_err();
    hull_e2e::is_one_clear_line(error.message(), &["apparmor", "hull-no-such-profile"]);
}
