//! Where the cgroup of a container is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hull_e2e::{Lab, cgroup, is_one_clear_line};

use crate::group::Group;
use crate::sleeper;

/// The cgroup of a process in every hierarchy that is mounted.
fn places(pid: u32) -> Vec<String> {
    let mut places: Vec<String> = ["cpu", "cpuset", "memory", "devices", "freezer", "pids"]
        .iter()
        .map(|controller| cgroup::of_process(pid, controller))
        .collect();
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let unified = lines.lines().find_map(|line| line.strip_prefix("0::"));
    places.push(unified.unwrap().to_owned());
    places.dedup();
    places
}

#[test]
fn absolute_path_counts_from_the_root_of_every_hierarchy() {
    let lab = Lab::new();
    let path = format!("{}//./deep/er/", lab.cgroup());
    let c = lab.container(&sleeper().cgroup(&path));
    let pid = c.run();
    let clean = format!("{}/deep/er", lab.cgroup());
    assert_eq!(places(pid), [clean.as_str()]);
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!Group::at(&clean).exists());
    drop(c);
    cgroup::remove_naming(&format!("{}/deep", lab.cgroup()));
}

/// A relative one counts from the group that the daemon's own lies in, in each hierarchy.
#[test]
fn relative_path_counts_from_the_parent_of_the_daemons_own() {
    let lab = Lab::new();
    let path = format!("{}-relative", lab.tag());
    let c = lab.container(&sleeper().cgroup(&path));
    let pid = c.run();
    for controller in ["cpu", "memory", "pids"] {
        let own = cgroup::of_process(c.shim_pid(), controller);
        let above = own.rsplit_once('/').unwrap().0;
        assert_eq!(
            cgroup::of_process(pid, controller),
            format!("{above}/{path}")
        );
    }
}

/// Giving a cgroup away is not safe where v1 controllers are in use, not even that of the v2 tree.
#[test]
fn no_group_is_given_to_the_containers_user() {
    let lab = Lab::new();
    let options = ["rw", "nosuid", "nodev", "noexec"];
    let spec = sleeper()
        .user(1234, 1235)
        .mount("cgroup", Path::new("cgroup"), "/sys/fs/cgroup", &options)
        .namespace("cgroup", None);
    let c = lab.container(&spec);
    c.run();
    let group = Group::of(&c);
    for controller in ["unified", "memory", "name=systemd"] {
        let dir = group.dir(controller);
        for path in [dir.clone(), dir.join("cgroup.procs")] {
            let found = fs::metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), (0, 0), "{}", path.display());
        }
    }
}

#[test]
fn way_out_is_refused() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    for path in ["/a/../../b", "../b", "/..", "/", "/a/.."] {
        let spec = sleeper().cgroup(path);
        fs::write(c.bundle.path().join("config.json"), spec.json().to_string()).unwrap();
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), &["linux.cgroupsPath"]);
    }
}
