//! The mounts of the spec, in its order: prepared detached, destination resolved inside the root,
//! then moved there by descriptor (CVE-2021-30465, CVE-2019-19921, CVE-2019-16884).

use super::root::propagation_flag;
use crate::failure::{At, Blamed, because};
use hull_abi::{Blame, CgroupPaths, Mount, MountFlags, MountSource, SetupError, Step};
use hull_sys::fs::{InRoot, is_dir};
use hull_sys::mount::{FsContext, MountAttr, clone_tree, move_mount, set_attr};
use nix::sys::stat::{FileStat, fstat};
use std::os::fd::{AsFd, OwnedFd};

/// Magic number of procfs (statfs(2)).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// What may be mounted over below /proc; lxcfs depends on the first ones.
const ALLOWED_BELOW_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// A mount that becomes read-only when nothing has to be made in it any more.
#[derive(Debug)]
pub(super) struct Late {
    mount: OwnedFd,
    destination: String,
}

/// Makes all mounts. Returns those that still have to become read-only.
pub(super) fn make(
    root: &InRoot,
    mounts: &[Mount],
    cgroup: &CgroupPaths,
) -> Result<Vec<Late>, SetupError> {
    let mut late = Vec::new();
    for mount in mounts {
        let done = match &mount.source {
            MountSource::Bind { source, recursive } => bind(root, mount, source, *recursive)?,
            MountSource::Filesystem {
                fstype,
                source,
                data,
            } => filesystem(root, mount, fstype, source, data)?,
            MountSource::Cgroup => cgroups(root, mount, cgroup)?,
        };
        if let Some(fd) = done {
            late.push(Late {
                mount: fd,
                destination: mount.destination.clone(),
            });
        }
    }
    Ok(late)
}

/// The last word on mounts that had to be writable until now.
pub(super) fn make_read_only(late: Vec<Late>) -> Result<(), SetupError> {
    let attr = MountAttr {
        set: MountFlags::RDONLY.0,
        ..MountAttr::default()
    };
    late.iter().try_for_each(|l| {
        set_attr(&l.mount, attr, false).at(Step::ReadonlyMounts, || {
            format!("make {:?} read-only", l.destination)
        })
    })
}

fn describe(mount: &Mount) -> String {
    let what = match &mount.source {
        MountSource::Bind { source, .. } | MountSource::Filesystem { source, .. } => {
            source.as_str()
        }
        MountSource::Cgroup => "cgroup",
    };
    format!("mount {what:?} on {:?}", mount.destination)
}

fn bind(
    root: &InRoot,
    mount: &Mount,
    source: &str,
    recursive: bool,
) -> Result<Option<OwnedFd>, SetupError> {
    let action = || describe(mount);
    let tree = clone_tree(source, recursive)
        .at(Step::Mounts, action)
        .blame(Blame::Caller)?;
    let stat = fstat(&tree).at(Step::Mounts, action)?;
    check_below_proc(mount, Some(&tree))?;
    apply_attributes(&tree, mount, mount.set, mount.clear)?;
    let target = destination(root, mount, &stat)?;
    attach(&tree, &target, mount)?;
    Ok(None)
}

fn filesystem(
    root: &InRoot,
    mount: &Mount,
    fstype: &str,
    source: &str,
    data: &[(String, Option<String>)],
) -> Result<Option<OwnedFd>, SetupError> {
    let action = || describe(mount);
    check_below_proc(mount, None)?;
    let in_the_way = || {
        because(
            Step::Mounts,
            Blame::Image,
            action(),
            "it must be mounted on ordinary directory",
        )
    };
    if matches!(fstype, "proc" | "sysfs") {
        // A link here would put the real one elsewhere and leave a fake in its place.
        match root.resolve_nofollow(&mount.destination) {
            Ok(fd) if !is_dir(&fstat(&fd).at(Step::Mounts, action)?) => return Err(in_the_way()),
            _ => {}
        }
    }
    let target = root
        .create_dir_all(&mount.destination, 0o755)
        .at(Step::Mounts, action)
        .blame(Blame::Image)?;
    let context = FsContext::open(fstype)
        .at(Step::Mounts, action)
        .blame(Blame::Caller)?;
    let explained = |result: hull_sys::Result<()>| {
        result
            .at(Step::Mounts, action)
            .blame(Blame::Caller)
            .map_err(|e| explain(e, &context))
    };
    explained(context.set(
        "source",
        Some(if source.is_empty() { fstype } else { source }),
    ))?;
    for (key, value) in data {
        explained(context.set(key, value.as_deref()))?;
    }
    if fstype == "tmpfs" && !data.iter().any(|(key, _)| key == "mode") {
        let covered = fstat(&target).at(Step::Mounts, action)?;
        explained(context.set("mode", Some(&format!("{:o}", covered.st_mode & 0o7777))))?;
    }
    // Mount points and devices may still have to be made in these.
    let writable_at_first = fstype == "tmpfs" || mount.destination == "/dev";
    let late = writable_at_first && mount.set.contains(MountFlags::RDONLY);
    let set = if late {
        mount.set.without(MountFlags::RDONLY)
    } else {
        mount.set
    };
    let fresh = context
        .mount(set.0)
        .at(Step::Mounts, action)
        .map_err(|e| explain(e, &context))?;
    // A new mount has nothing to clear, and its own attributes are set already.
    apply_attributes(&fresh, mount, MountFlags::default(), MountFlags::default())?;
    attach(&fresh, &target, mount)?;
    if mount.tmpcopyup {
        let from = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&target));
        copy_up(&from, &fresh).at(Step::Mounts, action)?;
    }
    Ok(late.then_some(fresh))
}

/// The kernel's own words, where the file system left some.
fn explain(error: SetupError, context: &FsContext) -> SetupError {
    match context.message() {
        Some(text) if !text.is_empty() => SetupError {
            cause: format!("{} ({text})", error.cause),
            ..error
        },
        _ => error,
    }
}

/// Refuses what would put a fake file where the kernel's own is expected.
fn check_below_proc(mount: &Mount, bound: Option<&OwnedFd>) -> Result<(), SetupError> {
    let refuse = |why| Err(because(Step::Mounts, Blame::Caller, describe(mount), why));
    if mount.destination == "/proc" {
        let Some(source) = bound else { return Ok(()) };
        return match hull_sys::fs::filesystem_magic(source) {
            Ok(PROC_SUPER_MAGIC) => Ok(()),
            _ => refuse("only a procfs can be mounted on /proc"),
        };
    }
    if mount.destination.starts_with("/proc/")
        && !ALLOWED_BELOW_PROC.contains(&mount.destination.as_str())
    {
        return refuse("nothing but a few known files can be mounted below /proc");
    }
    Ok(())
}

/// Where to put it: a directory for a directory, a file for anything else, made if missing.
fn destination(root: &InRoot, mount: &Mount, source: &FileStat) -> Result<OwnedFd, SetupError> {
    let found = if is_dir(source) {
        root.create_dir_all(&mount.destination, 0o755)
    } else {
        root.create_file(&mount.destination)
    };
    found
        .at(Step::Mounts, || describe(mount))
        .blame(Blame::Image)
}

fn apply_attributes(
    tree: &OwnedFd,
    mount: &Mount,
    set: MountFlags,
    clear: MountFlags,
) -> Result<(), SetupError> {
    let action = || describe(mount);
    let change = |set: MountFlags, clear: MountFlags, recursive| {
        if set.is_empty() && clear.is_empty() {
            return Ok(());
        }
        let attr = MountAttr {
            set: set.0,
            clear: clear.0,
            propagation: 0,
        };
        set_attr(tree, attr, recursive).at(Step::Mounts, action)
    };
    change(set, clear, false)?;
    change(mount.set_recursive, mount.clear_recursive, true)
}

fn attach(tree: &OwnedFd, target: &OwnedFd, mount: &Mount) -> Result<(), SetupError> {
    let action = || describe(mount);
    move_mount(tree, target).at(Step::Mounts, action)?;
    let Some((propagation, recursive)) = mount.propagation else {
        return Ok(());
    };
    let attr = MountAttr {
        propagation: propagation_flag(propagation).bits(),
        ..MountAttr::default()
    };
    set_attr(tree, attr, recursive).at(Step::Mounts, action)
}

/// The container's own cgroups, as the host's hierarchies have them. A bind of the container's
/// subtree looks the same with and without a cgroup namespace and cannot show more than that.
fn cgroups(
    root: &InRoot,
    mount: &Mount,
    cgroup: &CgroupPaths,
) -> Result<Option<OwnedFd>, SetupError> {
    let action = || describe(mount);
    let target = root
        .create_dir_all(&mount.destination, 0o755)
        .at(Step::Mounts, action)
        .blame(Blame::Image)?;
    let set = mount.set;
    if let (Some(unified), true) = (&cgroup.unified, cgroup.v1.is_empty()) {
        let tree = clone_tree(unified, true).at(Step::Mounts, action)?;
        apply_attributes(&tree, mount, set, mount.clear)?;
        attach(&tree, &target, mount)?;
        return Ok(None);
    }
    let context = FsContext::open("tmpfs").at(Step::Mounts, action)?;
    context.set("mode", Some("755")).at(Step::Mounts, action)?;
    let tmpfs = context
        .mount(set.without(MountFlags::RDONLY).0)
        .at(Step::Mounts, action)?;
    attach(&tmpfs, &target, mount)?;
    let view = InRoot::from_fd(tmpfs);
    for hierarchy in &cgroup.v1 {
        let name = hierarchy.controllers.join(",").replace("name=", "");
        bind_hierarchy(&view, &name, &hierarchy.path, mount, set)?;
        for controller in hierarchy.controllers.iter().filter(|c| **c != name) {
            let controller = controller.trim_start_matches("name=");
            if controller != name {
                hull_sys::fs::ensure_symlink(&name, view.as_fd(), controller)
                    .at(Step::Mounts, action)?;
            }
        }
    }
    if let Some(unified) = &cgroup.unified {
        bind_hierarchy(&view, "unified", unified, mount, set)?;
    }
    let attr = MountAttr {
        set: MountFlags::RDONLY.0,
        ..MountAttr::default()
    };
    if set.contains(MountFlags::RDONLY) {
        set_attr(view.as_fd(), attr, false).at(Step::Mounts, action)?;
    }
    Ok(None)
}

fn bind_hierarchy(
    view: &InRoot,
    name: &str,
    path: &str,
    mount: &Mount,
    set: MountFlags,
) -> Result<(), SetupError> {
    let action = || format!("mount cgroup {path:?} on \"{}/{name}\"", mount.destination);
    let tree = clone_tree(path, false).at(Step::Mounts, action)?;
    apply_attributes(&tree, mount, set, mount.clear)?;
    let target = view.create_dir_all(name, 0o755).at(Step::Mounts, action)?;
    move_mount(&tree, &target).at(Step::Mounts, action)
}

/// Copies what a tmpfs covers into it, one directory tree with modes and owners (`tmpcopyup`).
fn copy_up(from: &str, into: &OwnedFd) -> Result<(), hull_sys::Errno> {
    let into = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(into));
    copy_tree(std::path::Path::new(from), std::path::Path::new(&into))
}

fn copy_tree(from: &std::path::Path, into: &std::path::Path) -> Result<(), hull_sys::Errno> {
    use std::os::unix::fs::{MetadataExt as _, lchown, symlink};
    let errno = |e: std::io::Error| hull_sys::fd::errno(&e);
    for entry in std::fs::read_dir(from).map_err(errno)? {
        let entry = entry.map_err(errno)?;
        let meta = entry.metadata().map_err(errno)?;
        let target = into.join(entry.file_name());
        if meta.is_dir() {
            std::fs::create_dir(&target).map_err(errno)?;
            copy_tree(&entry.path(), &target)?;
        } else if meta.is_symlink() {
            symlink(std::fs::read_link(entry.path()).map_err(errno)?, &target).map_err(errno)?;
        } else if meta.is_file() {
            std::fs::copy(entry.path(), &target).map_err(errno)?;
        } else {
            continue;
        }
        lchown(&target, Some(meta.uid()), Some(meta.gid())).map_err(errno)?;
        if !meta.is_symlink() {
            std::fs::set_permissions(&target, meta.permissions()).map_err(errno)?;
        }
    }
    Ok(())
}
