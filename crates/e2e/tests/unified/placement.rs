//! Where the cgroup of a container is.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use hull_e2e::{Case, Lab, cgroup, eventually, target};

use crate::group::{Group, of_process};
use crate::sleeper;

/// Without a path in the spec: below the containerd namespace.
#[test]
fn container_without_a_path_is_below_its_namespace() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().cgroup(""));
    let pid = c.run();
    let group = format!("/{}/{}", lab.tag(), c.id);
    assert_eq!(of_process(pid), group);
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!Group::at(&group).exists());
}

#[test]
fn ctr_names_an_absolute_path() {
    let case = Case::new();
    let parent = target::unique_tag();
    let path = format!("/{parent}/one/two");
    let id = case.run_detached(&["--cgroup", &path], &["sleep", "600"]);
    assert_eq!(of_process(case.pid(&id)), path);
    assert!(
        Group::at(&path)
            .read("cgroup.controllers")
            .contains("memory")
    );
    case.remove(&id);
    assert!(!Group::at(&path).exists());
    cgroup::remove_naming(&parent);
}

/// A relative one counts from the group that the daemon's own lies in.
#[test]
fn ctr_names_a_relative_path() {
    let case = Case::new();
    let parent = target::unique_tag();
    let path = format!("{parent}/one");
    let id = case.run_detached(&["--cgroup", &path], &["sleep", "600"]);
    let own = of_process(std::process::id());
    let above = own.rsplit_once('/').unwrap().0;
    assert_eq!(of_process(case.pid(&id)), format!("{above}/{path}"));
    case.remove(&id);
    cgroup::remove_naming(&parent);
}

/// The same where the daemon is in a group of its own, as under a service manager.
#[test]
fn relative_path_is_beside_the_daemons_own_group() {
    let lab = Lab::new();
    let service = Group::make(&lab, "service");
    service.enable_all();
    let own = service.child("shim");
    fs::create_dir(own.dir()).unwrap();
    let entering = lab.dir().join("entering");
    let text = format!(
        "#!/bin/sh\necho $$ >{}/cgroup.procs\nexec {} \"$@\"\n",
        own.dir().display(),
        target::shim_binary().display()
    );
    fs::write(&entering, text).unwrap();
    fs::set_permissions(&entering, fs::Permissions::from_mode(0o755)).unwrap();
    let lab = lab.with_binary(&entering);
    let c = lab.container(&sleeper().cgroup("pods/one").resource("pids/limit", 9));
    let pid = c.run();
    assert_eq!(of_process(c.shim_pid()), own.path());
    let group = service.child("pods").child("one");
    assert_eq!(of_process(pid), group.path());
    group.expect(&[("pids.max", "9")]);
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!group.exists());
    drop(c);
    // The daemon's own group is empty once the daemon has ended.
    for made in [service.child("pods"), own, service] {
        eventually("it is empty", || fs::remove_dir(made.dir()).ok());
    }
}

#[test]
fn groups_on_the_way_are_made_and_stay() {
    let lab = Lab::new();
    let path = format!("{}/a/b/c", lab.cgroup());
    let c = lab.container(&sleeper().cgroup(&path).resource("memory/limit", 1 << 26));
    c.run();
    let group = Group::at(&path);
    group.expect(&[("memory.max", "67108864")]);
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!group.exists());
    let way = Group::at(&format!("{}/a/b", lab.cgroup()));
    assert!(way.exists());
    assert_eq!(way.processes(), Vec::<u32>::new());
    for made in [way, Group::at(&format!("{}/a", lab.cgroup()))] {
        fs::remove_dir(made.dir()).unwrap();
    }
}
