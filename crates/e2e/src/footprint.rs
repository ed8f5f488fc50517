//! A picture of the machine where a container could leave something outside its own cgroup and bundle:
//! mounts, cgroups, names in some directories, network devices, System V IPC, the host's own settings.
//!
//! Unlike the check for [leaks](crate::leaks), which looks for a test's name, this needs a machine on
//! which nothing else changes: it is for what is run between two pictures, not for one test of many.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Directories whose names count, with all below them.
const TREES: [&str; 4] = ["/run", "/dev", "/etc", "/var/lib/hull"];
/// Directories that the first container or pod of a machine may make, and containerd and the runc shim beside
/// which hull is tested; nothing stays in them.
const OWN: [&str; 9] = [
    "/run/hull",
    "/run/hull/empty",
    "/run/hull/pod-root",
    "/run/containerd",
    "/run/containerd/s",
    "/run/containerd/fifo",
    "/run/containerd/runc",
    "/run/nri",
    "/var/lib/hull/artifacts",
];
/// Tables of the kernel that are empty or still on a quiet machine.
const TABLES: [&str; 3] = [
    "/proc/sysvipc/msg",
    "/proc/sysvipc/sem",
    "/proc/sysvipc/shm",
];
/// Settings that a container must not be able to reach.
const SETTINGS: [&str; 7] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/domainname",
    "/proc/sys/kernel/hostname",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/msgmax",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/net/ipv4/ip_forward",
];

/// What was there at one moment, one line for each thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Footprint(BTreeSet<String>);

impl Footprint {
    /// Takes the picture of this machine.
    pub fn take() -> Self {
        let mut lines = BTreeSet::new();
        let mountinfo = text(Path::new("/proc/self/mountinfo"));
        lines.extend(mounts(&mountinfo));
        for hierarchy in hierarchies(&mountinfo) {
            groups(&hierarchy, &mut lines);
        }
        for tree in TREES {
            names(Path::new(tree), &mut lines);
        }
        for device in entries(Path::new("/sys/class/net")) {
            lines.insert(format!("network device: {}", device.display()));
        }
        for file in TABLES.iter().chain(&SETTINGS) {
            let content = text(Path::new(file));
            let content = content.trim().lines().map(first_words);
            lines.extend(content.map(|line| format!("{file}: {line}")));
        }
        Self(lines)
    }

    /// What has come and what has gone, one line each, until `later`.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let come = later.0.difference(&self.0).map(|line| format!("+ {line}"));
        let gone = self.0.difference(&later.0).map(|line| format!("- {line}"));
        come.chain(gone).collect()
    }
}

/// Of a table of IPC objects the key, the id and the mode; who used it last may change.
fn first_words(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().take(3).collect();
    words.join(" ")
}

/// The mounts without their numbers, equal ones counted.
fn mounts(mountinfo: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for line in mountinfo.lines() {
        let mount = line.splitn(3, ' ').nth(2).unwrap_or_default();
        let numbered = (1..).map(|number| format!("mount: {mount} ({number})"));
        for line in numbered {
            if seen.insert(line) {
                break;
            }
        }
    }
    seen
}

/// The mount points of all cgroup hierarchies.
fn hierarchies(mountinfo: &str) -> Vec<PathBuf> {
    let cgroups = mountinfo
        .lines()
        .filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "));
    cgroups
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect()
}

/// The groups at the top of a hierarchy, which is where those of containers begin, and all that bear our
/// name. What is further down in the groups of others, who run us for example, comes and goes.
fn groups(hierarchy: &Path, lines: &mut BTreeSet<String>) {
    for group in entries(hierarchy) {
        if is_own_directory(&group) {
            lines.insert(format!("cgroup: {}", group.display()));
            our_groups(&group, lines);
        }
    }
}

fn our_groups(dir: &Path, lines: &mut BTreeSet<String>) {
    for group in entries(dir) {
        if !is_own_directory(&group) {
            continue;
        }
        let name = group.file_name().unwrap_or_default();
        if name.to_string_lossy().contains("hull") {
            lines.insert(format!("cgroup: {}", group.display()));
        }
        our_groups(&group, lines);
    }
}

/// Every name and of which type it is. Other file systems have trees of their own.
fn names(dir: &Path, lines: &mut BTreeSet<String>) {
    let device = |path: &Path| {
        use std::os::unix::fs::MetadataExt as _;
        fs::symlink_metadata(path).map(|found| found.dev()).ok()
    };
    let own = device(dir);
    for entry in entries(dir) {
        let Ok(found) = fs::symlink_metadata(&entry) else {
            // It went in this moment.
            continue;
        };
        if !OWN.iter().any(|own| entry == Path::new(own)) {
            lines.insert(format!("{:?}: {}", found.file_type(), entry.display()));
        }
        if found.is_dir() && device(&entry) == own {
            names(&entry, lines);
        }
    }
}

fn is_own_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(dir).into_iter().flatten().flatten();
    listed.map(|entry| entry.path()).collect()
}

/// A file that this kernel need not have.
fn text(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_absent| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(lines: &[&str]) -> Footprint {
        Footprint(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn changes_are_what_came_and_what_went() {
        let before = of(&["a", "b"]);
        assert_eq!(before.changes(&of(&["b", "c"])), ["+ c", "- a"]);
        assert_eq!(before.changes(&before), [""; 0]);
    }

    #[test]
    fn mounts_are_told_without_numbers_and_counted() {
        let line = "0:5 / /a rw - tmpfs tmpfs rw";
        let seen = mounts(&format!(
            "10 1 {line}\n11 1 {line}\n12 1 0:6 / /b rw - x x rw\n"
        ));
        let wanted = [
            format!("mount: {line} (1)"),
            format!("mount: {line} (2)"),
            "mount: 0:6 / /b rw - x x rw (1)".to_owned(),
        ];
        assert_eq!(seen, BTreeSet::from(wanted));
    }

    #[test]
    fn hierarchies_are_the_mounts_of_cgroups() {
        let text = "1 0 0:1 / /c rw - cgroup cgroup rw,cpu\n2 0 0:2 / /u rw - cgroup2 none rw\n\
            3 0 0:3 / /t rw - tmpfs cgroup rw\n";
        assert_eq!(hierarchies(text), [Path::new("/c"), Path::new("/u")]);
    }

    #[test]
    fn names_are_told_with_their_types_and_links_not_followed() {
        let dir = std::env::temp_dir().join(format!("hull-footprint-{}", std::process::id()));
        fs::create_dir_all(dir.join("below")).unwrap();
        fs::write(dir.join("below/file"), "").unwrap();
        std::os::unix::fs::symlink("/", dir.join("link")).unwrap();
        let mut lines = BTreeSet::new();
        names(&dir, &mut lines);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        for name in ["below", "below/file", "link"] {
            let path = dir.join(name).display().to_string();
            assert!(lines.iter().any(|line| line.ends_with(&path)), "{name}");
        }
    }

    #[test]
    fn groups_at_the_top_count_and_those_of_our_name() {
        let dir = std::env::temp_dir().join(format!("hull-groups-{}", std::process::id()));
        for group in ["top", "top/others", "top/others/hull-e2e-1"] {
            fs::create_dir_all(dir.join(group)).unwrap();
        }
        fs::write(dir.join("cgroup.procs"), "").unwrap();
        let mut lines = BTreeSet::new();
        groups(&dir, &mut lines);
        fs::remove_dir_all(&dir).unwrap();
        let wanted = ["top", "top/others/hull-e2e-1"];
        let wanted = wanted.map(|group| format!("cgroup: {}", dir.join(group).display()));
        assert_eq!(lines, BTreeSet::from(wanted));
    }

    #[test]
    fn picture_of_a_machine_has_its_mounts_and_names() {
        let taken = Footprint::take();
        let has = |part: &str| taken.0.iter().any(|line| line.contains(part));
        for part in [
            "mount: ",
            "cgroup: ",
            "/dev/null",
            "network device: ",
            "hostname: ",
        ] {
            assert!(has(part), "{part}");
        }
    }
}
