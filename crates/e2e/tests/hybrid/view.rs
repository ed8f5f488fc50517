//! What a container sees of cgroups through a mount of its own, and what it can do there.

use std::path::Path;

use hull_e2e::{Lab, Spec, cgroup};

use crate::script;

fn with_view(spec: Spec, mode: &str) -> Spec {
    let options = [mode, "nosuid", "nodev"];
    spec.mount("cgroup", Path::new("cgroup"), "/sys/fs/cgroup", &options)
}

#[test]
fn nested_groups_of_a_container_are_removed_too() {
    let lab = Lab::new();
    let text = "mkdir /sys/fs/cgroup/memory/inner 2>&1 && echo made && sleep 600";
    let mut c = lab.container(&with_view(script(text), "rw").namespace("cgroup", None));
    c.run();
    c.read_until("made");
    c.kill_and_wait();
    c.delete().unwrap();
    let left = cgroup::directories_naming(&c.cgroup());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn cgroup_mount_is_read_only_where_asked_and_shows_only_its_own_groups() {
    let lab = Lab::new();
    let text = "mkdir /sys/fs/cgroup/memory/inner; ls -d /sys/fs/cgroup/memory/*/; \
        cat /sys/fs/cgroup/memory/cgroup.procs";
    let ran = lab.container(&with_view(script(text), "ro")).run_to_end();
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    // No group but its own, and in that only the init, which has become cat.
    assert_eq!(ran.stdout, "1\n", "{ran:?}");
}
