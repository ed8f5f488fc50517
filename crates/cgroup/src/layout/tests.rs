//! Hosts as they are found: unified, hybrid, v1, and inside other containers.

use super::*;
use hull_abi::{CgroupPaths, Scope, V1Path};

const UNIFIED: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:2 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
99 31 0:32 /docker/abc /run/other\\040one/memory rw,relatime - cgroup cgroup rw,memory
";
const HYBRID_SELF: &str =
    "9:name=systemd:/\n4:memory:/svc/one\n3:net_cls:/\n2:cpu,cpuacct:/\n0::/svc/one\n";

fn v1(controllers: &[&str], mount: &str, path: &str) -> V1Path {
    V1Path {
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
        path: path.to_owned(),
        mount: mount.to_owned(),
    }
}

#[test]
fn unified_host_has_one_directory() {
    let layout = Layout::parse(UNIFIED, "0::/user.slice/x\n", "cpu memory pids\n").unwrap();
    assert!(layout.is_unified());
    let paths = layout.resolve("/kubepods/pod1/c1").unwrap();
    let unified = Some("/sys/fs/cgroup/kubepods/pod1/c1".to_owned());
    assert_eq!(
        paths,
        CgroupPaths {
            scope: None,
            unified,
            v1: vec![]
        }
    );
}

#[test]
fn hybrid_host_has_a_directory_in_every_mounted_hierarchy() {
    let layout = Layout::parse(HYBRID, HYBRID_SELF, "hugetlb\n").unwrap();
    assert!(!layout.is_unified());
    let paths = layout.resolve("/hull/a").unwrap();
    assert_eq!(
        paths.unified.as_deref(),
        Some("/sys/fs/cgroup/unified/hull/a")
    );
    assert_eq!(
        paths.v1,
        [
            v1(
                &["name=systemd"],
                "/sys/fs/cgroup/systemd",
                "/sys/fs/cgroup/systemd/hull/a"
            ),
            v1(
                &["memory"],
                "/sys/fs/cgroup/memory",
                "/sys/fs/cgroup/memory/hull/a"
            ),
            v1(
                &["cpu", "cpuacct"],
                "/sys/fs/cgroup/cpu,cpuacct",
                "/sys/fs/cgroup/cpu,cpuacct/hull/a"
            ),
        ]
    );
}

#[test]
fn relative_path_is_a_sibling_of_our_own_cgroup() {
    let layout = Layout::parse(HYBRID, HYBRID_SELF, "").unwrap();
    let paths = layout.resolve("pod/./c//x/").unwrap();
    assert_eq!(
        paths.unified.as_deref(),
        Some("/sys/fs/cgroup/unified/svc/pod/c/x")
    );
    assert_eq!(paths.v1[0].path, "/sys/fs/cgroup/systemd/pod/c/x");
    assert_eq!(paths.v1[1].path, "/sys/fs/cgroup/memory/svc/pod/c/x");
}

#[test]
fn pure_v1_host_has_no_unified_directory() {
    let mounts: String = HYBRID
        .lines()
        .filter(|l| !l.contains("cgroup2"))
        .fold(String::new(), |text, line| text + line + "\n");
    let layout = Layout::parse(&mounts, HYBRID_SELF, "").unwrap();
    assert!(!layout.is_unified());
    assert_eq!(layout.resolve("/a").unwrap().unified, None);
}

#[test]
fn mount_that_shows_only_our_own_cgroup_is_used_inside_a_container() {
    let mountinfo = "\
50 31 0:32 /docker/other /x rw - cgroup cgroup rw,memory
51 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory
";
    let layout = Layout::parse(mountinfo, "4:memory:/docker/abc/in/deep\n", "").unwrap();
    assert_eq!(
        layout.resolve("/c").unwrap().v1[0].path,
        "/sys/fs/cgroup/memory/c"
    );
    assert_eq!(
        layout.resolve("c").unwrap().v1[0].path,
        "/sys/fs/cgroup/memory/in/c"
    );
    let at_root = Layout::parse(mountinfo, "4:memory:/docker/abc\n", "").unwrap();
    assert_eq!(
        at_root.resolve("c").unwrap().v1[0].path,
        "/sys/fs/cgroup/memory/c"
    );
}

#[test]
fn own_cgroup_outside_of_the_mount_counts_as_its_root() {
    let layout = Layout::parse(UNIFIED, "0::/../../above\n", "").unwrap();
    let paths = layout.resolve("c").unwrap();
    assert_eq!(paths.unified.as_deref(), Some("/sys/fs/cgroup/c"));
}

#[test]
fn unusable_paths_are_refused() {
    let layout = Layout::parse(UNIFIED, "0::/\n", "").unwrap();
    for path in [
        "", "/", ".", "//./", "/a/../b", "..", "../x", "a\0b", "/a\nb",
    ] {
        let error = layout.resolve(path).unwrap_err();
        assert!(matches!(error, Error::Path { .. }), "{path:?}: {error}");
    }
    assert!(layout.resolve(&format!("/{}", "x".repeat(256))).is_err());
    assert!(layout.resolve("/a..b/...").is_ok());
}

#[test]
fn systemd_without_v1_controllers_counts_as_unified() {
    let mountinfo = format!("{UNIFIED}40 31 0:37 / /sd rw - cgroup cgroup rw,name=systemd\n");
    let layout = Layout::parse(&mountinfo, "1:name=systemd:/\n0::/\n", "cpu").unwrap();
    assert!(layout.is_unified());
}

#[test]
fn unit_of_systemd_needs_unified_cgroups() {
    let scope = Scope {
        unit: "p-n.scope".to_owned(),
        slice: "a.slice".to_owned(),
    };
    let path = "/a.slice/p-n.scope";
    let unified = Layout::parse(UNIFIED, "0::/\n", "cpu").unwrap();
    let paths = unified.place(path, Some(&scope)).unwrap();
    assert_eq!(
        paths.unified.as_deref(),
        Some("/sys/fs/cgroup/a.slice/p-n.scope")
    );
    assert_eq!((paths.v1.len(), paths.scope.as_ref()), (0, Some(&scope)));
    assert_eq!(unified.place("/x", None), unified.resolve("/x"));
    let hybrid = Layout::parse(HYBRID, HYBRID_SELF, "hugetlb\n").unwrap();
    let error = hybrid.place(path, Some(&scope)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cgroups path \"/a.slice/p-n.scope\" is a unit of systemd, which needs unified cgroups, and \
         this host has those of version 1"
    );
}

#[test]
fn host_without_cgroups_is_an_error() {
    assert_eq!(Layout::parse("", "0::/\n", ""), Err(Error::NoHierarchy));
    assert!(matches!(
        Layout::parse(UNIFIED, "nonsense\n", ""),
        Err(Error::Content { .. })
    ));
}

#[test]
fn escapes_of_mount_points_are_undone() {
    assert_eq!(unescape("/a\\040b\\134c\\x"), "/a b\\c\\x");
}

#[test]
fn this_host_is_detected() {
    let layout = Layout::detect().unwrap();
    assert!(layout.unified.is_some() || !layout.v1.is_empty());
}

#[test]
fn mount_point_that_is_not_utf_8_hides_no_hierarchy() {
    let mut content = b"50 22 0:40 / /r\xff rw - tmpfs tmpfs rw\n".to_vec();
    content.extend_from_slice(UNIFIED.as_bytes());
    let layout = Layout::parse(&text(&content), "0::/\n", "cpu").unwrap();
    let paths = layout.resolve("/hull/a").unwrap();
    assert_eq!(paths.unified.as_deref(), Some("/sys/fs/cgroup/hull/a"));
}
