//! Where the cgroup controllers are, and what a missing one means.

use super::item::{Item, is_root};
use hull_abi::CgroupPaths;
use hull_cgroup::Layout;
use hull_sys::bpf::{DeviceProgram, Instruction};
use nix::unistd::{AccessFlags, access};
use std::fs::{read_dir, read_to_string};
use std::path::Path;

/// A directory that is never made; resolving it tells where each hierarchy is mounted.
const PROBE: &str = "hull-check";

/// Controllers of limits: the name on v2, the name on v1, and what is refused without it.
const CONTROLLERS: [(&str, &str, &str); 6] = [
    ("memory", "memory", "memory limits"),
    ("cpu", "cpu", "CPU limits"),
    ("pids", "pids", "limits on the number of tasks"),
    ("cpuset", "cpuset", "CPU sets"),
    ("io", "blkio", "block I/O limits"),
    ("hugetlb", "hugetlb", "limits on huge pages"),
];

/// The mode, the controllers, the device filter.
pub(super) fn items() -> Vec<Item> {
    let layout = match Layout::detect() {
        Ok(layout) => layout,
        Err(error) => {
            let advice = "mount one: mount -t cgroup2 none /sys/fs/cgroup";
            return vec![Item::fail("mode", error.to_string()).advise(advice)];
        }
    };
    let paths = match layout.resolve(&format!("/{PROBE}")) {
        Ok(paths) => paths,
        Err(error) => return vec![Item::unknown("mode", error.to_string())],
    };
    let hierarchies = Hierarchies::of(&paths);
    let mut items = vec![
        mode(&layout, &hierarchies),
        controllers(&hierarchies),
        devices(&hierarchies),
        kill(&hierarchies),
    ];
    items.extend(writable(&hierarchies));
    items
}

/// What is mounted where.
#[derive(Debug, Default)]
struct Hierarchies {
    /// Mount point of the v2 tree, and the controllers in it.
    unified: Option<(String, Vec<String>)>,
    /// Mount points and controllers.
    v1: Vec<(String, Vec<String>)>,
}

impl Hierarchies {
    fn of(paths: &CgroupPaths) -> Self {
        let unified = paths.unified.as_deref().map(|path| {
            let mount = path.strip_suffix(PROBE).unwrap_or(path);
            let mount = match mount.trim_end_matches('/') {
                "" => "/",
                mount => mount,
            };
            let held = read_to_string(format!("{mount}/cgroup.controllers")).unwrap_or_default();
            let held = held.split_whitespace().map(str::to_owned).collect();
            (mount.to_owned(), held)
        });
        let v1 = paths.v1.iter();
        let v1 = v1.map(|v1| (v1.mount.clone(), v1.controllers.clone()));
        Self {
            unified,
            v1: v1.collect(),
        }
    }

    fn in_v1(&self, controller: &str) -> Option<&str> {
        let holds = |held: &[String]| held.iter().any(|name| name == controller);
        let found = self.v1.iter().find(|(_, held)| holds(held))?;
        Some(&found.0)
    }

    fn in_v2(&self, controller: &str) -> bool {
        let unified = self.unified.as_ref();
        unified.is_some_and(|(_, held)| held.iter().any(|name| name == controller))
    }

    fn mounts(&self) -> impl Iterator<Item = &str> {
        let unified = self.unified.iter();
        let v1 = self.v1.iter().map(|(mount, _)| mount.as_str());
        unified.map(|(mount, _)| mount.as_str()).chain(v1)
    }
}

fn mode(layout: &Layout, hierarchies: &Hierarchies) -> Item {
    const NAME: &str = "mode";
    match &hierarchies.unified {
        Some((mount, _)) if layout.is_unified() => {
            Item::ok(NAME, format!("unified (cgroup v2) at {mount}"))
        }
        Some((mount, _)) => Item::ok(
            NAME,
            format!("hybrid: cgroup v1 for the controllers, v2 at {mount} for the processes"),
        ),
        None => Item::warn(
            NAME,
            "cgroup v1 only: containers start slower, and killing one is not atomic",
        )
        .advise("mount the v2 tree beside it: mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

fn controllers(hierarchies: &Hierarchies) -> Item {
    const NAME: &str = "controllers";
    let (mut v1, mut v2, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    for (name, v1_name, limits) in CONTROLLERS {
        if hierarchies.in_v1(v1_name).is_some() {
            v1.push(v1_name);
        } else if hierarchies.in_v2(name) {
            v2.push(name);
        } else {
            missing.push(format!("{limits} are refused (no {name} controller)"));
        }
    }
    let places: Vec<String> = [("v2", v2), ("v1", v1)]
        .into_iter()
        .filter(|(_, held)| !held.is_empty())
        .map(|(version, held)| format!("{} on {version}", held.join(", ")))
        .collect();
    let places = places.join("; ");
    if missing.is_empty() {
        return Item::ok(NAME, places);
    }
    let places = if places.is_empty() {
        "none".to_owned()
    } else {
        places
    };
    Item::warn(NAME, format!("{places}; {}", missing.join(", ")))
        .advise("enable them: kernel configuration, or cgroup_enable= on the kernel's command line")
}

/// Without a filter no container is made.
fn devices(hierarchies: &Hierarchies) -> Item {
    const NAME: &str = "device filter";
    if let Some(mount) = hierarchies.in_v1("devices") {
        return Item::ok(NAME, format!("devices controller on v1 at {mount}"));
    }
    if hierarchies.unified.is_none() {
        return Item::fail(
            NAME,
            "there is neither a devices controller nor the v2 tree",
        )
        .advise("mount one of them");
    }
    if !is_root() {
        return Item::unknown(NAME, "eBPF on v2; only root can try it");
    }
    // r0 = 1; exit: everything is allowed. It is attached to nothing.
    let instruction = |code, immediate| Instruction {
        code,
        registers: 0,
        offset: 0,
        immediate,
    };
    match DeviceProgram::load(&[instruction(0xb7, 1), instruction(0x95, 0)], "hull_check") {
        Ok(_program) => Item::ok(NAME, "eBPF programs on v2"),
        Err(errno) => Item::fail(
            NAME,
            format!("the kernel takes no eBPF program: {}", errno.desc()),
        )
        .advise("it needs CONFIG_CGROUP_BPF, and CAP_BPF or CAP_SYS_ADMIN"),
    }
}

/// `cgroup.kill` came with Linux 5.14; it is in every v2 cgroup but the root.
fn kill(hierarchies: &Hierarchies) -> Item {
    const NAME: &str = "cgroup.kill";
    let slower = "containers are killed process by process, which is slower";
    let Some((mount, _)) = &hierarchies.unified else {
        return Item::warn(NAME, format!("no v2 tree: {slower}"));
    };
    let entries = read_dir(mount).into_iter().flatten().flatten();
    let child = entries
        .map(|entry| entry.path())
        .find(|path| path.join("cgroup.procs").exists());
    match child {
        None => Item::unknown(NAME, format!("there is no cgroup below {mount} to look at")),
        Some(child) if child.join("cgroup.kill").exists() => Item::ok(NAME, "there"),
        Some(_) => Item::warn(NAME, format!("the kernel lacks it (Linux 5.14): {slower}")),
    }
}

/// One item for each hierarchy that cannot be written.
fn writable(hierarchies: &Hierarchies) -> Vec<Item> {
    if !is_root() {
        return Vec::new();
    }
    let refused = hierarchies.mounts().filter_map(|mount| {
        let errno = access(Path::new(mount), AccessFlags::W_OK).err()?;
        let text = format!("{mount} cannot be written: {}", errno.desc());
        Some(Item::fail("cgroup mounts", text).advise("mount it read-write"))
    });
    refused.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::item::Status;

    fn names(list: &str) -> Vec<String> {
        list.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn each_controller_is_where_it_lives_or_its_limits_are_refused() {
        let mut hierarchies = Hierarchies {
            unified: Some(("/cg".to_owned(), names("cpu io memory pids hugetlb cpuset"))),
            v1: Vec::new(),
        };
        let item = controllers(&hierarchies);
        assert_eq!(item.status, Status::Ok);
        assert_eq!(item.text, "memory, cpu, pids, cpuset, io, hugetlb on v2");
        hierarchies.unified = Some(("/cg".to_owned(), names("hugetlb")));
        hierarchies.v1 = vec![
            ("/cpu".to_owned(), names("cpu cpuacct")),
            ("/blkio".to_owned(), names("blkio")),
            ("/memory".to_owned(), names("memory")),
        ];
        let item = controllers(&hierarchies);
        assert_eq!(item.status, Status::Warn);
        assert_eq!(
            item.text,
            "hugetlb on v2; memory, cpu, blkio on v1; limits on the number of tasks are refused \
             (no pids controller), CPU sets are refused (no cpuset controller)"
        );
    }

    #[test]
    fn no_device_filter_is_a_failure() {
        let mut hierarchies = Hierarchies::default();
        assert_eq!(devices(&hierarchies).status, Status::Fail);
        hierarchies.v1 = vec![("/devices".to_owned(), names("devices"))];
        assert_eq!(devices(&hierarchies).status, Status::Ok);
    }
}
