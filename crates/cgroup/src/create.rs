//! Making a container's cgroup in every hierarchy, with its limits.

use crate::Error;
use crate::absence::{refuse_threaded, unified_mount};
use crate::delegate::delegate;
use crate::files::CgroupDir;
use crate::layout::below;
use crate::processes::pids_below;
use crate::remove::split;
use crate::routes::{Routes, controllers};
use crate::update::apply;
use hull_abi::{CgroupPaths, CgroupSetup};
use hull_sys::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkdir;

/// How often a path is walked again because someone removed a directory on it meanwhile (the undo
/// of a failed neighbour does that).
const WALKS: usize = 5;

/// Makes the cgroup, writes its limits and gives it to its owner if it is to have one. Directories
/// on the way are made too, controllers are enabled on them and CPUs handed down. The target must be
/// absent or empty.
///
/// # Errors
/// [`Error::NotEmpty`] or [`Error::Frozen`] for a target in use, [`Error::Threaded`] for one that no
/// container can use, otherwise what could not be made or written. Every directory made by this call is gone then; directories that were there keep
/// their limits from before, save those that had been written.
pub fn create(setup: &CgroupSetup) -> Result<(), Error> {
    let mut made = Vec::new();
    let result = make_all(&setup.paths, &mut made)
        .and_then(|()| Routes::open(&setup.paths))
        .and_then(|routes| {
            refuse_threaded(&routes)?;
            refuse_frozen(&routes)?;
            apply(&routes, &setup.resources, None)?;
            match setup.owner {
                Some(owner) => delegate(&routes, owner),
                None => Ok(()),
            }
        });
    if result.is_err() {
        for path in made.iter().rev() {
            // Deepest first. One that a neighbour has moved into meanwhile stays, rightly, and the
            // first error is the one to report.
            remove_made(path).ok();
        }
    }
    result
}

fn make_all(paths: &CgroupPaths, made: &mut Vec<String>) -> Result<(), Error> {
    if let Some(unified) = &paths.unified {
        make(&unified_mount(unified)?, unified, Kind::Unified, made)?;
    }
    for v1 in &paths.v1 {
        let cpuset = v1.controllers.iter().any(|name| name == "cpuset");
        make(
            &v1.mount,
            &v1.path,
            if cpuset { Kind::Cpuset } else { Kind::V1 },
            made,
        )?;
    }
    Ok(())
}

/// What a hierarchy needs on the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Controllers must be enabled for the children.
    Unified,
    /// CPUs and memory nodes must be handed down, or no task can join.
    Cpuset,
    V1,
}

fn make(mount: &str, path: &str, kind: Kind, made: &mut Vec<String>) -> Result<(), Error> {
    // Nearly always only the last directory is missing, and on the way to it there is nothing to do
    // but in the other two kinds. No link can be in the way: cgroup file systems have none.
    if kind == Kind::V1 && mkdir(path, Mode::from_bits_truncate(0o755)).is_ok() {
        made.push(path.to_owned());
        return Ok(());
    }
    let mut walks = 0;
    loop {
        walks += 1;
        match walk(mount, path, kind, made) {
            Err(error) if error.is_absent() && walks < WALKS => {}
            result => return result,
        }
    }
}

fn walk(mount: &str, path: &str, kind: Kind, made: &mut Vec<String>) -> Result<(), Error> {
    let names = below(mount, path)
        .filter(|names| !names.is_empty())
        .ok_or_else(|| Error::Path {
            path: path.to_owned(),
            reason: "is not below its mount",
        })?;
    let mut dir = CgroupDir::open(mount)?;
    let mut is_new = false;
    for name in names.split('/') {
        if kind == Kind::Unified {
            enable_controllers(&dir)?;
        }
        is_new = dir.make_child(name)?;
        if is_new {
            made.push(dir.path_of(name));
        }
        let child = dir.child(name)?;
        if kind == Kind::Cpuset {
            hand_down(&dir, &child, "cpuset.cpus", "cpus")?;
            hand_down(&dir, &child, "cpuset.mems", "mems")?;
        }
        dir = child;
    }
    if is_new || made.iter().any(|made| made == path) {
        return Ok(());
    }
    let path = path.to_owned();
    match pids_below(dir)?.len() {
        0 => Ok(()),
        count => Err(Error::NotEmpty { path, count }),
    }
}

/// Gives the children every controller that the directory has: all in one write, which the kernel
/// takes or refuses as a whole, then one by one. One that cannot be enabled is none of the
/// container's; a limit that needs it will name it.
///
/// A directory with processes of its own is left as it is. It would take some controllers all the
/// same, and turn into one whose children are for threads only.
fn enable_controllers(dir: &CgroupDir) -> Result<(), Error> {
    let enabled = dir.read("cgroup.subtree_control")?;
    let mut wanted = controllers(dir)?;
    wanted.retain(|name| !enabled.split_whitespace().any(|enabled| enabled == name));
    if wanted.is_empty() {
        return Ok(());
    }
    let all: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
    match dir.write("cgroup.subtree_control", &all.join(" ")) {
        Err(error) if !has_own_processes(&error) => {
            for one in &all {
                dir.write("cgroup.subtree_control", one).ok();
            }
        }
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

/// Gives a v2 cgroup that exists every controller that the hierarchy has.
pub(crate) fn enable_controllers_above(mount: &str, path: &str) -> Result<(), Error> {
    let mut dir = CgroupDir::open(mount)?;
    for name in below(mount, path).unwrap_or_default().split('/') {
        enable_controllers(&dir)?;
        dir = dir.child(name)?;
    }
    Ok(())
}

/// What the kernel says of controllers for the children of a directory with processes, or of one
/// that is threaded.
fn has_own_processes(error: &Error) -> bool {
    [Errno::EBUSY, Errno::EOPNOTSUPP]
        .iter()
        .any(|errno| error.errno() == *errno as i32)
}

/// Copies the parent's list to a child that has none.
fn hand_down(parent: &CgroupDir, child: &CgroupDir, file: &str, bare: &str) -> Result<(), Error> {
    // Hierarchies mounted with `noprefix` have the bare names.
    let file = if child.has(file) { file } else { bare };
    if !child.read(file)?.trim().is_empty() {
        return Ok(());
    }
    match parent.read(file)?.trim() {
        "" => Ok(()),
        list => child.write(file, list),
    }
}

/// A process born into a frozen cgroup would never get to run.
pub(crate) fn refuse_frozen(routes: &Routes) -> Result<(), Error> {
    if let Some(dir) = routes.unified()
        && dir
            .read("cgroup.events")?
            .lines()
            .any(|line| line == "frozen 1")
    {
        return Err(Error::Frozen {
            path: dir.path().to_owned(),
        });
    }
    match routes.v1("freezer") {
        Some(dir) if dir.read("freezer.state")?.trim() != "THAWED" => Err(Error::Frozen {
            path: dir.path().to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Undoes one mkdir.
fn remove_made(path: &str) -> Result<(), Error> {
    let (parent, name) = split(path)?;
    CgroupDir::open(parent)?
        .remove_child(name)
        .map_err(|errno| Error::Io {
            operation: "rmdir",
            path: path.to_owned(),
            errno,
        })
}
