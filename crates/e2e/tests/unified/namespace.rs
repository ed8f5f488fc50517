//! What a container sees of cgroups: its own, as if there were no others.

use std::path::Path;

use containerd_shim_protos::api::Status;
use hull_e2e::{Container, Lab, Spec, block, limit};
use serde_json::json;

use crate::group::{Group, of_process};
use crate::{KILL, MIB, script};

fn with_mount(spec: Spec, kind: &str, mode: &str) -> Spec {
    let options = [mode, "nosuid", "nodev", "noexec"];
    spec.mount(kind, Path::new("cgroup"), "/sys/fs/cgroup", &options)
}

const LOOK: &str = "cat /proc/self/cgroup; ls -d /sys/fs/cgroup/*/; \
    stat -f -c %t /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.procs | head -1; \
    grep ' /sys/fs/cgroup ' /proc/self/mountinfo | cut -d' ' -f4; \
    mkdir /sys/fs/cgroup/inner && echo made";
/// The magic number of cgroup2 (statfs(2)).
const MAGIC: &str = "63677270";

#[test]
fn read_only_view_is_its_own_subtree() {
    for kind in ["cgroup", "cgroup2"] {
        let lab = Lab::new();
        let spec = with_mount(script(LOOK), kind, "ro").namespace("cgroup", None);
        let ran = lab.container(&spec).run_to_end();
        assert_eq!(ran.stdout, format!("0::/\n{MAGIC}\n1\n/\n"), "{ran:?}");
        assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    }
}

#[test]
fn view_can_be_written_where_the_spec_says_so() {
    let lab = Lab::new();
    let spec = with_mount(script(LOOK), "cgroup", "rw").namespace("cgroup", None);
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(
        ran.stdout,
        format!("0::/\n{MAGIC}\n1\n/\nmade\n"),
        "{ran:?}"
    );
    assert!(Group::of(&c).child("inner").exists());
    c.delete().unwrap();
    assert!(!Group::of(&c).exists());
}

/// The path is then the host's, but nothing else of the host is to be seen.
#[test]
fn without_the_namespace_the_view_is_no_larger() {
    let lab = Lab::new();
    let mut c = lab.container(&with_mount(script(LOOK), "cgroup", "ro"));
    let ran = c.run_to_end();
    let path = c.cgroup();
    assert_eq!(
        ran.stdout,
        format!("0::{path}\n{MAGIC}\n1\n{path}\n"),
        "{ran:?}"
    );
}

#[test]
fn exec_sees_the_same() {
    let lab = Lab::new();
    let text = "readlink /proc/self/ns/cgroup; echo ready; sleep 600";
    let spec = with_mount(script(text), "cgroup", "ro").namespace("cgroup", None);
    let mut c = lab.container(&spec);
    c.run();
    let of_init = c.read_until("ready\n").replace("ready\n", "");
    let text = "readlink /proc/self/ns/cgroup; cat /proc/self/cgroup; \
        grep ' /sys/fs/cgroup ' /proc/self/mountinfo | cut -d' ' -f4";
    let ran = c.exec("e", ["sh", "-c", text]);
    assert_eq!(ran.stdout, format!("{of_init}0::/\n/\n"), "{ran:?}");
    let host = std::fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_ne!(host.to_str(), Some(of_init.trim()));
}

/// What systemd does in a container: it moves everything into groups of its own and hands the
/// controllers down to them.
fn like_systemd(lab: &Lab) -> Container<'_> {
    let text = "set -e; cd /sys/fs/cgroup; mkdir init.scope; echo 1 >init.scope/cgroup.procs; \
        echo '+memory +pids' >cgroup.subtree_control; mkdir work.slice; \
        sh -c 'echo $$ >work.slice/cgroup.procs; exec sleep 600' & \
        while ! grep -q . /sys/fs/cgroup/work.slice/cgroup.procs 2>/dev/null; do sleep 0.1; done; \
        echo ready; exec sleep 600";
    let spec = with_mount(script(text), "cgroup", "rw").namespace("cgroup", None);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    c
}

#[test]
fn exec_comes_into_a_container_that_has_moved_itself() {
    let lab = Lab::new();
    let c = like_systemd(&lab);
    let group = Group::of(&c);
    assert_eq!(group.processes(), Vec::<u32>::new());
    assert_eq!(group.read("cgroup.subtree_control"), "memory pids");
    let ran = c.exec("e", ["cat", "/proc/self/cgroup"]);
    assert_eq!(
        (ran.status, ran.stdout.as_str()),
        (0, "0::/init.scope\n"),
        "{ran:?}"
    );
    let _stdio = c.add_exec("f", ["sleep", "600"]);
    let pid = c.try_start("f").unwrap();
    assert_eq!(of_process(pid), group.child("init.scope").path());
}

#[test]
fn container_that_has_moved_itself_is_counted_limited_and_paused() {
    let lab = Lab::new();
    let c = like_systemd(&lab);
    let group = Group::of(&c);
    let pids = block(c.task.pids(&c.id)).unwrap().processes.len();
    assert_eq!(pids.to_string(), group.read("pids.current"));
    assert!(pids >= 2, "{pids}");
    let update = json!({ "memory": { "limit": 64 * MIB }, "pids": { "limit": 40 } });
    block(c.task.update(&c.id, &update)).unwrap();
    group.expect(&[("memory.max", "67108864"), ("pids.max", "40")]);
    assert!(block(c.task.stats(&c.id)).is_ok());
    block(c.task.pause(&c.id)).unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    for part in ["init.scope", "work.slice"] {
        assert_eq!(group.child(part).counter("cgroup.events", "frozen"), 1);
    }
    block(c.task.resume(&c.id)).unwrap();
}

#[test]
fn container_that_has_moved_itself_is_killed_and_deleted_whole() {
    let lab = Lab::new();
    let c = like_systemd(&lab);
    let group = Group::of(&c);
    let deep = group.child("work.slice").child("a").child("b");
    std::fs::create_dir_all(deep.dir()).unwrap();
    block(c.task.kill_all(&c.id, KILL)).unwrap();
    assert_eq!(c.wait(), 137);
    c.delete().unwrap();
    assert!(!group.exists());
}

/// The limits of its own group are not its to change (`nsdelegate`), nor is there a way around.
#[test]
fn own_limits_cannot_be_lifted_from_further_down() {
    let lab = Lab::new();
    let text = "cd /sys/fs/cgroup; echo max >pids.max; mkdir inner; \
        echo $$ >inner/cgroup.procs; echo +pids >cgroup.subtree_control; \
        echo max >inner/pids.max; echo moved; \
        for i in 1 2 3 4 5 6 7 8; do sleep 600 & done; echo all";
    let spec = with_mount(script(text), "cgroup", "rw")
        .namespace("cgroup", None)
        .resource("pids/limit", 4);
    let mut c = lab.container(&spec);
    c.run();
    let err = c.stdio.err.as_mut().unwrap();
    let seen = err.read_until(b"fork", limit()).unwrap();
    let seen = String::from_utf8(seen).unwrap();
    assert!(
        seen.contains("write error: Operation not permitted"),
        "{seen}"
    );
    c.read_until("moved\n");
    let group = Group::of(&c);
    group.expect(&[("pids.max", "4"), ("cgroup.subtree_control", "pids")]);
    group.child("inner").expect(&[("pids.max", "max")]);
    assert!(group.read("pids.current").parse::<u32>().unwrap() <= 4);
}
