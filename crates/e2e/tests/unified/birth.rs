//! A process of a container is born in its cgroup and was never in another.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hull_e2e::{HookKind, Lab, Spec, Streams, procfs};

use crate::group::{Group, of_process};
use crate::{both_kinds, sleeper};

/// The kernel's own record of every process that was moved from one cgroup to another
/// (<https://docs.kernel.org/trace/events.html>), apart from the machine's. Dropping it ends it.
struct Moves(PathBuf);

impl Moves {
    fn record(name: &str) -> Self {
        let tracing = Path::new("/sys/kernel/tracing");
        if !tracing.join("instances").exists() {
            let none = nix::mount::MsFlags::empty();
            nix::mount::mount(
                Some("tracefs"),
                tracing,
                Some("tracefs"),
                none,
                None::<&str>,
            )
            .unwrap();
        }
        let instance = tracing.join("instances").join(name);
        fs::create_dir(&instance).unwrap();
        for event in ["cgroup_attach_task", "cgroup_transfer_tasks"] {
            let switch = instance.join("events/cgroup").join(event).join("enable");
            fs::write(switch, "1").unwrap();
        }
        Self(instance)
    }

    /// The moves into a group or below it.
    fn to(&self, group: &Group) -> Vec<String> {
        let trace = fs::read_to_string(self.0.join("trace")).unwrap();
        let place = format!("dst_path={}", group.path());
        trace
            .lines()
            .filter(|line| line.contains(&place))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

/// A child of this process with a name of its own.
fn own_child() -> std::process::Child {
    Command::new("sleep")
        .arg("600")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

#[test]
fn no_process_of_a_container_was_ever_moved() {
    for (lab, spec) in both_kinds() {
        let moves = Moves::record(lab.tag());
        let parent = Group::at(&lab.cgroup());
        let mut c = lab.container(&spec);
        let pid = c.run();
        c.read_until("ready\n");
        assert_eq!(of_process(pid), c.cgroup());
        assert_eq!(Group::of(&c).processes(), [pid]);
        if lab.image() == hull_e2e::Image::Busybox {
            let ran = c.exec("e", ["cat", "/proc/self/cgroup"]);
            assert_eq!(ran.stdout, format!("0::{}\n", c.cgroup()));
        }
        assert_eq!(moves.to(&parent), Vec::<String>::new());

        // The record does show a move.
        let mut stranger = own_child();
        Group::of(&c).write("cgroup.procs", &stranger.id().to_string());
        assert_eq!(moves.to(&parent).len(), 1);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
    }
}

/// Hooks of the runtime find the process in its group while nothing of it has run yet.
#[test]
fn hooks_find_it_there() {
    let lab = Lab::new();
    let seen = lab.dir().join("seen");
    let text = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); cat /proc/$pid/cgroup >>{}",
        seen.display()
    );
    let hook = |spec: Spec, kind| spec.hook(kind, "/bin/sh", &["sh", "-c", &text]);
    let spec = hook(hook(sleeper(), HookKind::Prestart), HookKind::CreateRuntime);
    let c = lab.container(&spec);
    let pid = c.create();
    let line = format!("0::{}\n", c.cgroup());
    assert_eq!(fs::read_to_string(seen).unwrap(), line.repeat(2));
    assert_eq!(Group::of(&c).processes(), [pid]);
}

/// The daemon and its launcher stay where they were.
#[test]
fn daemon_and_launcher_stay_outside() {
    let lab = Lab::new();
    let c = lab.container_with(&sleeper(), Streams::NONE);
    let before = of_process(c.shim_pid());
    let pid = c.run();
    let family = procfs::children(c.shim_pid());
    assert!(family.contains(&pid), "{family:?}");
    for process in family.iter().filter(|other| **other != pid) {
        assert_eq!(of_process(*process), before);
    }
    assert_eq!(of_process(c.shim_pid()), before);
    assert_eq!(before, of_process(std::process::id()));
}
