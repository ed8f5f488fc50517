//! A container with a view of its own cgroup that it may write to: the user that it runs as can
//! divide the cgroup, and nothing more.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use hull_e2e::{Lab, Spec};

use crate::group::Group;
use crate::{one_by_one, script, sleeper};

const USER: u32 = 1234;

fn as_user(spec: Spec) -> Spec {
    spec.user(USER, 1235)
}

fn with_view(spec: Spec, mode: &str, destination: &str) -> Spec {
    let options = [mode, "nosuid", "nodev", "noexec"];
    spec.mount("cgroup", Path::new("cgroup"), destination, &options)
}

/// The one case in which the group is given away.
fn delegated(text: &str) -> Spec {
    with_view(as_user(script(text)), "rw", "/sys/fs/cgroup").namespace("cgroup", None)
}

/// The files of a group that belong to somebody else than root, and the directory as ".".
fn given_away(group: &Group) -> Vec<(String, u32, u32)> {
    let mut files: Vec<(String, u32, u32)> = fs::read_dir(group.dir())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let found = entry.metadata().unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, found.uid(), found.gid())
        })
        .collect();
    let dir = fs::metadata(group.dir()).unwrap();
    files.push((".".to_owned(), dir.uid(), dir.gid()));
    files.retain(|(_, uid, gid)| (*uid, *gid) != (0, 0));
    files.sort();
    files
}

/// What the kernel says may be given away, as far as a group has it.
fn kernels_list(group: &Group, owner: u32) -> Vec<(String, u32, u32)> {
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    let mut files: Vec<(String, u32, u32)> = list
        .lines()
        .filter(|name| group.has(name))
        .chain(["."])
        .map(|name| (name.to_owned(), owner, 0))
        .collect();
    files.sort();
    files
}

#[test]
fn user_divides_the_group_and_cannot_lift_its_limits() {
    let lab = Lab::new();
    let text = "cd /sys/fs/cgroup; id -u; mkdir inner && echo 0 >inner/cgroup.procs && \
        echo '+pids +memory' >cgroup.subtree_control && cat /proc/self/cgroup && \
        echo 7 >inner/pids.max && cat inner/pids.max; \
        (echo max >pids.max) 2>&1; (echo max >memory.max) 2>&1; \
        mkdir leaf && rmdir leaf && echo removed; echo ready; sleep 600";
    let spec = delegated(text)
        .resource("pids/limit", 20)
        .resource("memory/limit", 64 << 20);
    let mut c = lab.container(&spec);
    c.create();
    let group = Group::of(&c);
    let expected = kernels_list(&group, USER);
    assert!(expected.len() > 3, "{expected:?}");
    assert_eq!(given_away(&group), expected);
    c.start();
    let seen = c.read_until("ready\n");
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines[..3],
        [USER.to_string().as_str(), "0::/inner", "7"],
        "{seen}"
    );
    let refused = lines
        .iter()
        .filter(|line| line.contains("Permission denied"));
    assert_eq!(refused.count(), 2, "{seen}");
    assert_eq!(lines[lines.len() - 2..], ["removed", "ready"], "{seen}");
    group.expect(&[
        ("pids.max", "20"),
        ("memory.max", "67108864"),
        ("cgroup.subtree_control", "memory pids"),
    ]);
    // An exec follows init, and all of it ends.
    let ran = c.exec("e", ["cat", "/proc/self/cgroup"]);
    assert_eq!(ran.stdout, "0::/inner\n", "{ran:?}");
    c.kill_and_wait();
    c.delete().unwrap();
    assert!(!group.exists());
}

/// The owner is who the host says it is: also root of the container, which is nobody on the host.
#[test]
fn user_of_a_user_namespace_divides_the_group() {
    const FIRST: u32 = 300_000;
    let text = "cd /sys/fs/cgroup; id -u; mkdir inner && echo 0 >inner/cgroup.procs && \
        echo +pids >cgroup.subtree_control && cat inner/pids.max; (echo max >pids.max) 2>&1; \
        echo ready; sleep 600";
    for user in [0, USER] {
        let lab = Lab::new();
        let spec = delegated(text)
            .user(user, user)
            .user_namespace(FIRST, 65_536)
            .resource("pids/limit", 20);
        let mut c = lab.container(&spec);
        chown(c.upper(), Some(FIRST), Some(FIRST)).unwrap();
        c.create();
        let group = Group::of(&c);
        assert_eq!(given_away(&group), kernels_list(&group, FIRST + user));
        c.start();
        let seen = c.read_until("ready\n");
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..2], [user.to_string().as_str(), "max"], "{seen}");
        assert!(lines[2].contains("Permission denied"), "{seen}");
        group.expect(&[("pids.max", "20"), ("cgroup.subtree_control", "pids")]);
    }
}

/// Nothing of a neighbour's or of the groups above is its to change.
#[test]
fn user_gets_its_own_group_alone() {
    let lab = Lab::new();
    let neighbour = lab.container(&sleeper());
    neighbour.run();
    let c = lab.container(&delegated("sleep 600"));
    c.run();
    assert_eq!(given_away(&Group::of(&neighbour)), []);
    assert_eq!(given_away(&Group::at(&lab.cgroup())), []);
}

#[test]
fn group_stays_with_root_unless_all_of_it_is_asked_for() {
    let own = |spec: Spec| spec.namespace("cgroup", None);
    let user = || as_user(sleeper());
    let view = "/sys/fs/cgroup";
    let hidden = with_view(with_view(user(), "rw", view), "ro", view);
    let table = [
        // Read-only, elsewhere, hidden by a later one, or none.
        own(with_view(user(), "ro", view)),
        own(with_view(user(), "rw", "/mnt/cgroup")),
        own(hidden),
        own(user()),
        // In the host's cgroup namespace.
        with_view(user(), "rw", view),
        // root has it already.
        own(with_view(sleeper(), "rw", view)),
    ];
    one_by_one(table.map(|spec| (spec, ())), |c, ()| {
        assert_eq!(given_away(&Group::of(c)), [], "{:?}", c.spec);
    });
}
