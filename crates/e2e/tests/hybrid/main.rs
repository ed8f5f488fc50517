//! What only a host with cgroup v1 controllers beside a unified tree can show: the values of v1's
//! files through the whole shim. On any other host all of these fail at once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a panic is how a test fails"
)]

mod devices;
mod group;
mod limits;
mod limits_change;
mod oom;
mod placement;
mod refused;
mod shim;
mod statistics;
mod view;

use hull_e2e::{Container, Lab, Spec, cgroup};

const MIB: u64 = 1 << 20;

/// A container that does nothing.
fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// A container that runs a shell script.
fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// Creates a container from one spec after the other, in one shim, and looks at each.
#[track_caller]
fn one_by_one<T>(table: impl IntoIterator<Item = (Spec, T)>, look: impl Fn(&Container<'_>, T)) {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    for (spec, expected) in table {
        c.reconfigure(&spec);
        c.create();
        look(&c, expected);
        c.kill_and_wait();
        c.delete().unwrap();
    }
}

/// A disk of this host: its numbers.
fn disk() -> (u64, u64) {
    let mut names: Vec<String> = std::fs::read_dir("/sys/block")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // These have no queue before something is put into them.
        .filter(|name| {
            !["loop", "ram", "zram"]
                .iter()
                .any(|kind| name.starts_with(kind))
        })
        .collect();
    names.sort();
    let name = names.first().expect("a block device");
    let numbers = std::fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    (major.parse().unwrap(), minor.parse().unwrap())
}

/// The other tests rest on this.
#[test]
fn this_host_has_v1_controllers_and_a_unified_tree() {
    assert!(cgroup::hierarchies().iter().any(|one| one.unified));
    let v1 = [
        "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
    ];
    for controller in v1 {
        assert!(!cgroup::is_unified(controller), "{controller}");
    }
}
