//! The shim's own cgroup. With unified cgroups a process counts where it is born, which is its container's; in
//! v1 it counts with who clones it.

use std::fs;

use hull_e2e::{Lab, Spec, cgroup, eventually, procfs};

#[test]
fn shim_that_may_have_no_more_processes_says_so_and_goes_on_when_it_may() {
    let lab = Lab::new();
    let in_pod = |args: &[&str]| {
        Spec::new(args.iter().copied()).annotation("io.kubernetes.cri.sandbox-id", "pod")
    };
    let keeper = lab.container(&in_pod(&["sleep", "3600"]));
    keeper.run();
    assert_eq!(keeper.exec("warm", ["true"]).status, 0);
    let next = lab.container(&in_pod(&["true"]));
    let group = cgroup::of_controller("pids")
        .mount_point
        .join(lab.tag())
        .join("shim");
    fs::create_dir(&group).unwrap();
    let daemon = keeper.shim_pid();
    let mut family = procfs::children(daemon);
    family.retain(|pid| procfs::command_line(*pid) != "sleep 3600");
    family.push(daemon);
    for pid in &family {
        fs::write(group.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    fs::write(group.join("pids.max"), family.len().to_string()).unwrap();
    let error = next.try_create().unwrap_err().message().to_owned();
    assert!(error.contains("no more processes"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(keeper.state().is_ok());
    fs::write(group.join("pids.max"), "max").unwrap();
    next.run();
    assert_eq!(next.wait(), 0);
    next.delete().unwrap();
    drop((next, keeper));
    eventually("the shim has left its cgroup", || {
        let left = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        left.is_empty().then_some(())
    });
    fs::remove_dir(&group).unwrap();
}
