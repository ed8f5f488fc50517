//! What only a host with nothing but the unified cgroup hierarchy can show. Each test reads the
//! kernel's own files and looks at real effects; on any other host all of them fail at once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

mod birth;
mod capabilities;
mod control;
mod delegation;
mod devices;
mod group;
mod hostile;
mod limits;
mod limits_change;
mod limits_refused;
mod namespace;
mod oom;
mod parents;
mod placement;
mod statistics;
mod systemd_absent;
mod users;

use hull_e2e::{Container, Lab, Spec, cgroup};

const MIB: u64 = 1 << 20;
/// SIGKILL.
const KILL: u32 = 9;

/// A container that does nothing.
fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// A container that runs a shell script.
fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// One that does nothing, native and as Wasm, each with its world. Both say "ready".
fn both_kinds() -> [(Lab, Spec); 2] {
    [
        (Lab::new(), script("echo ready; exec sleep 600")),
        (Lab::wasm(), Spec::new(["/wasm/sleep.wasm"])),
    ]
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

/// The other tests rest on this.
#[test]
fn this_host_has_one_hierarchy_with_all_controllers() {
    let hierarchies = cgroup::hierarchies();
    assert_eq!(hierarchies.len(), 1, "{hierarchies:?}");
    let only = &hierarchies[0];
    assert!(only.unified, "{only:?}");
    assert_eq!(only.mount_point.to_str(), Some(group::ROOT));
    for controller in ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"] {
        assert!(
            only.controllers.iter().any(|name| name == controller),
            "{only:?}"
        );
    }
}
