//! The cgroup hierarchies of this machine: where a controller lives, and what is in a group.

use std::fs;
use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// The controllers that live in it; `name=systemd` for the named one.
    pub controllers: Vec<String>,
    /// Whether it is the unified one.
    pub unified: bool,
}

/// All hierarchies, v1 and unified.
pub fn hierarchies() -> Vec<Hierarchy> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mountinfo.lines().filter_map(hierarchy).collect()
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mount_point = PathBuf::from(mount.split(' ').nth(4)?);
    let kind = file_system.split(' ').next()?;
    let options = file_system.rsplit(' ').next()?;
    let controllers = match kind {
        "cgroup2" => fs::read_to_string(mount_point.join("cgroup.controllers"))
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        "cgroup" => options
            .split(',')
            .filter(|option| !matches!(*option, "rw" | "ro"))
            .map(str::to_owned)
            .collect(),
        _ => return None,
    };
    Some(Hierarchy {
        mount_point,
        controllers,
        unified: kind == "cgroup2",
    })
}

/// The hierarchy in which a controller lives.
pub fn of_controller(controller: &str) -> Hierarchy {
    hierarchies()
        .into_iter()
        .find(|hierarchy| hierarchy.controllers.iter().any(|name| name == controller))
        .unwrap_or_else(|| panic!("no cgroup hierarchy has the {controller} controller"))
}

/// Whether a controller lives in the unified hierarchy: the file names differ.
pub fn is_unified(controller: &str) -> bool {
    of_controller(controller).unified
}

/// The value of a controller's file in a container's cgroup, trimmed.
pub fn read(controller: &str, group: &str, file: &str) -> String {
    let path = of_controller(controller)
        .mount_point
        .join(group.trim_start_matches('/'))
        .join(file);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .trim()
        .to_owned()
}

/// The group of a process in a controller's hierarchy, from its root.
pub fn of_process(pid: u32, controller: &str) -> String {
    let unified = is_unified(controller);
    let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    lines
        .lines()
        .find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            let here = if unified {
                names.is_empty()
            } else {
                names.split(',').any(|name| name == controller)
            };
            here.then(|| path.to_owned())
        })
        .unwrap_or_else(|| panic!("pid {pid} is in no {controller} cgroup: {lines}"))
}

/// Every cgroup directory whose path names `token`, in all hierarchies, parents first.
pub fn directories_naming(token: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        walk(&hierarchy.mount_point, &mut |dir| {
            if dir.to_string_lossy().contains(token) {
                found.push(dir.to_owned());
            }
        });
    }
    found
}

/// The cgroups of the jail that compiles for the container `/NAMESPACE/ID`.
pub fn jails(container: &str) -> Vec<PathBuf> {
    let name = container.trim_start_matches('/').replace('/', "@");
    directories_naming(&format!("/{name}@wasm"))
}

/// Removes every empty cgroup that names `token`; one that is busy stays.
pub fn remove_naming(token: &str) {
    for dir in directories_naming(token).iter().rev() {
        drop(fs::remove_dir(dir));
    }
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path());
            walk(&entry.path(), visit);
        }
    }
}
