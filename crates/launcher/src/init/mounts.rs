//! The mounts of the spec, in its order: prepared detached, destination resolved inside the root,
//! then moved there by descriptor (CVE-2021-30465, CVE-2019-19921, CVE-2019-16884).

use super::copy_up::copy_up;
use super::host_files::HostFiles;
use super::root::propagation_flag;
use crate::failure::{At, Blamed, because};
use crate::fault;
use hull_abi::{Blame, CgroupPaths, Mount, MountFlags, MountSource, SetupError, Step};
use hull_sys::fs::{InRoot, is_dir};
use hull_sys::mount::{FsContext, MAX_VALUE, MountAttr, clone_tree, move_mount, set_attr};
use nix::mount::MsFlags;
use nix::sys::stat::{FileStat, fstat};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

/// Magic number of procfs (statfs(2)).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// What may be mounted over below /proc; lxcfs depends on the first ones.
const ALLOWED_BELOW_PROC: [&str; 10] = [
    "proc/cpuinfo",
    "proc/diskstats",
    "proc/meminfo",
    "proc/stat",
    "proc/swaps",
    "proc/uptime",
    "proc/loadavg",
    "proc/slabinfo",
    "proc/sys/kernel/ns_last_pid",
    "proc/sys/crypto/fips_enabled",
];

/// File systems of which a namespace has one for all its mounts: to make that read-only would make it so
/// for the neighbours of a pod too.
const SHARED: [&str; 4] = ["proc", "sysfs", "mqueue", "devpts"];

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
    mut files: Option<&mut HostFiles>,
) -> Result<Vec<Late>, SetupError> {
    let mut late = Vec::new();
    let left_out = fault::leaves_out("mounts");
    for mount in mounts.iter().filter(|_| !left_out) {
        let done = match &mount.source {
            MountSource::Bind {
                source: path,
                recursive,
                ..
            } => {
                let tree = match &mut files {
                    Some(files) => files.next_bind()?,
                    None => source(mount, path, *recursive)?,
                };
                bind(root, mount, &tree)?
            }
            MountSource::Filesystem {
                fstype,
                source,
                data,
            } => filesystem(
                root,
                mount,
                Instance {
                    fstype,
                    source,
                    data,
                },
            )?,
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
    if fault::leaves_out("read-only mounts") {
        return Ok(());
    }
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

pub(super) fn describe(mount: &Mount) -> String {
    let what = match &mount.source {
        MountSource::Bind { source, .. } | MountSource::Filesystem { source, .. } => {
            source.as_str()
        }
        MountSource::Cgroup => "cgroup",
    };
    format!("mount {what:?} on {:?}", mount.destination)
}

/// The source of a bind mount with the mount's attributes, attached nowhere.
pub(super) fn source(mount: &Mount, path: &str, recursive: bool) -> Result<OwnedFd, SetupError> {
    let tree = clone_tree(path, recursive)
        .at(Step::Mounts, || describe(mount))
        .blame(Blame::Caller)?;
    apply_attributes(&tree, mount, mount.set, mount.clear)?;
    Ok(tree)
}

fn bind(root: &InRoot, mount: &Mount, tree: &OwnedFd) -> Result<Option<OwnedFd>, SetupError> {
    let stat = fstat(tree).at(Step::Mounts, || describe(mount))?;
    let target = destination(root, mount, &stat)?;
    check_target(root, mount, &target, is_procfs(tree))?;
    attach(tree, &target, mount)?;
    Ok(None)
}

/// A new instance of a file system, as the spec describes it.
#[derive(Debug, Clone, Copy)]
struct Instance<'a> {
    fstype: &'a str,
    source: &'a str,
    data: &'a [(String, Option<String>)],
}

fn filesystem(
    root: &InRoot,
    mount: &Mount,
    instance: Instance<'_>,
) -> Result<Option<OwnedFd>, SetupError> {
    let Instance {
        fstype,
        source,
        data,
    } = instance;
    let action = || describe(mount);
    if matches!(fstype, "proc" | "sysfs") {
        refuse_link(root, mount)?;
    }
    let was_there = root.resolve(&mount.destination).is_ok();
    let target = root
        .create_dir_all(&mount.destination, 0o755)
        .at(Step::Mounts, action)
        .blame(Blame::Image)?;
    check_target(root, mount, &target, fstype == "proc")?;
    if data
        .iter()
        .any(|(_, value)| value.as_ref().is_some_and(|v| v.len() >= MAX_VALUE))
    {
        return long_options(root, mount, &target, instance);
    }
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
    // A directory that the image has says who may write there; one that was made for the mount says
    // nothing, and the kernel's own mode is that of /tmp.
    if fstype == "tmpfs" && was_there && !data.iter().any(|(key, _)| key == "mode") {
        let covered = fstat(&target).at(Step::Mounts, action)?;
        explained(context.set("mode", Some(&format!("{:o}", covered.st_mode & 0o7777))))?;
    }
    // There is nothing below a new mount yet: what is meant for the whole tree is meant for it.
    let wanted = mount
        .set
        .without(mount.clear_recursive)
        .with(mount.set_recursive);
    // Mount points and devices may still have to be made in these.
    let writable_at_first = fstype == "tmpfs" || mount.destination == "/dev";
    let late = writable_at_first && wanted.contains(MountFlags::RDONLY);
    if wanted.contains(MountFlags::RDONLY) && !late && !SHARED.contains(&fstype) {
        // A disk that cannot be written can only be opened by a file system that knows that it need
        // not, and one that could be written must not be.
        explained(context.set("ro", None))?;
    }
    let set = if late {
        wanted.without(MountFlags::RDONLY)
    } else {
        wanted
    };
    let fresh = context
        .mount(set.0)
        .at(Step::Mounts, action)
        .map_err(|e| explain(e, &context))?;
    attach(&fresh, &target, mount)?;
    if mount.tmpcopyup {
        copy_up(
            target,
            fresh
                .try_clone()
                .map_err(|e| hull_sys::fd::errno(&e))
                .at(Step::Mounts, action)?,
        )
        .at(Step::Mounts, action)?;
    }
    Ok(late.then_some(fresh))
}

/// A link in the place of the kernel's own file systems would put them elsewhere and leave a fake there.
fn refuse_link(root: &InRoot, mount: &Mount) -> Result<(), SetupError> {
    let action = || describe(mount);
    match root.resolve_nofollow(&mount.destination) {
        Ok(fd) if !is_dir(&fstat(&fd).at(Step::Mounts, action)?) => Err(because(
            Step::Mounts,
            Blame::Image,
            action(),
            "it must be mounted on ordinary directory",
        )),
        _ => Ok(()),
    }
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

/// fsconfig(2) takes no longer value, as an overlay of many layers has. mount(2) takes a page of
/// options; the target is still the descriptor that was resolved.
fn long_options(
    root: &InRoot,
    mount: &Mount,
    target: &OwnedFd,
    instance: Instance<'_>,
) -> Result<Option<OwnedFd>, SetupError> {
    let Instance {
        fstype,
        source,
        data,
    } = instance;
    let action = || describe(mount);
    let words: Vec<String> = data
        .iter()
        .map(|(key, value)| match value {
            // A label may have a comma in it, and the kernel knows quotes around labels alone.
            Some(value) if key == "context" => format!("{key}=\"{value}\""),
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        })
        .collect();
    nix::mount::mount(
        Some(source),
        magic_link(target).as_str(),
        Some(fstype),
        MsFlags::empty(),
        Some(words.join(",").as_str()),
    )
    .at(Step::Mounts, action)
    .blame(Blame::Caller)?;
    let fresh = root.resolve(&mount.destination).at(Step::Mounts, action)?;
    apply_attributes(&fresh, mount, mount.set, MountFlags::default())?;
    set_propagation(&fresh, mount)?;
    Ok(None)
}

fn magic_link(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn is_procfs(fd: &OwnedFd) -> bool {
    hull_sys::fs::filesystem_magic(fd).is_ok_and(|magic| magic == PROC_SUPER_MAGIC)
}

/// Refuses what would put a fake file where the kernel's own is expected (CVE-2019-16884). The
/// destination itself is looked at, not its name: a link in the image may lead there.
fn check_target(
    root: &InRoot,
    mount: &Mount,
    target: &OwnedFd,
    brings_procfs: bool,
) -> Result<(), SetupError> {
    let action = || describe(mount);
    let refuse = |why| Err(because(Step::Mounts, Blame::Caller, action(), why));
    let real = |fd: &dyn AsRawFd| std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let (top, place) = real(&root.as_fd())
        .and_then(|top| Ok((top, real(target)?)))
        .map_err(|e| hull_sys::fd::errno(&e))
        .at(Step::Mounts, action)?;
    let inside = place.strip_prefix(&top).unwrap_or(&place);
    if inside.as_os_str().is_empty() {
        return refuse("it would cover the root itself");
    }
    if inside == Path::new("proc") {
        return if brings_procfs {
            Ok(())
        } else {
            refuse("only a procfs can be mounted on /proc")
        };
    }
    if !is_procfs(target) && !inside.starts_with("proc") {
        return Ok(());
    }
    if ALLOWED_BELOW_PROC
        .iter()
        .any(|allowed| inside == Path::new(allowed))
    {
        return Ok(());
    }
    refuse("nothing but a few known files can be mounted below /proc")
}

/// Where to put it: a directory for a directory, a file for anything else, made if missing.
fn destination(root: &InRoot, mount: &Mount, source: &FileStat) -> Result<OwnedFd, SetupError> {
    let found = if is_dir(source) {
        root.create_dir_all(&mount.destination, 0o755)
    } else {
        root.create_file(&mount.destination)
    };
    let found = found
        .at(Step::Mounts, || describe(mount))
        .blame(Blame::Image)?;
    let stat = fstat(&found).at(Step::Mounts, || describe(mount))?;
    if is_dir(&stat) && !is_dir(source) {
        let why = "the destination is a directory and the source is none";
        return Err(because(Step::Mounts, Blame::Caller, describe(mount), why));
    }
    Ok(found)
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
    set_propagation(tree, mount)
}

fn set_propagation(tree: &OwnedFd, mount: &Mount) -> Result<(), SetupError> {
    let Some((propagation, recursive)) = mount.propagation else {
        return Ok(());
    };
    let propagation = propagation_flag(propagation).bits();
    let attr = MountAttr {
        propagation,
        ..MountAttr::default()
    };
    set_attr(tree, attr, recursive).at(Step::Mounts, || describe(mount))
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
    check_target(root, mount, &target, false)?;
    let set = mount.set;
    if let (Some(unified), true) = (&cgroup.unified, cgroup.v1.is_empty()) {
        let tree = clone_tree(unified, true).at(Step::Mounts, action)?;
        apply_attributes(&tree, mount, set, mount.clear)?;
        attach(&tree, &target, mount)?;
        return Ok(None);
    }
    let context = FsContext::open("tmpfs").at(Step::Mounts, action)?;
    for (key, value) in [("source", "tmpfs"), ("mode", "755")] {
        context.set(key, Some(value)).at(Step::Mounts, action)?;
    }
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
