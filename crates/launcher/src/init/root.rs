//! The root of the container: prepared before the pivot, entered by it, made read-only at the end.

use crate::failure::{At, Blamed};
use crate::fault;
use hull_abi::{Blame, NamespaceKind, Plan, Propagation, Root, SetupError, Step};
use hull_sys::Errno;
use hull_sys::fs::InRoot;
use hull_sys::mount::{MountAttr, clone_tree_at, move_mount, set_attr};
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fchdir, pivot_root};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const NONE: Option<&str> = None;

/// The kernel's flag of a propagation type.
pub(super) fn propagation_flag(propagation: Propagation) -> MsFlags {
    match propagation {
        Propagation::Private => MsFlags::MS_PRIVATE,
        Propagation::Slave => MsFlags::MS_SLAVE,
        Propagation::Shared => MsFlags::MS_SHARED,
        Propagation::Unbindable => MsFlags::MS_UNBINDABLE,
    }
}

/// The root file system as this mount namespace has it.
pub(super) fn open(root: &Root) -> Result<InRoot, SetupError> {
    InRoot::open(Path::new(&root.path))
        .at(Step::RootfsPrepare, || describe(root))
        .blame(Blame::Caller)
}

fn describe(root: &Root) -> String {
    format!("prepare root {:?}", root.path)
}

/// Sets how mount events travel and makes the root file system, which may be open already, a mount of
/// its own.
pub(super) fn prepare(root: &Root, opened: Option<InRoot>) -> Result<InRoot, SetupError> {
    let action = || describe(root);
    // By default a slave: mounts that the host makes later still come in where a volume asks for it,
    // none of ours go out. A shared root is for volumes that ask for the other direction too.
    let propagation = match root.propagation {
        None => MsFlags::MS_SLAVE,
        // What cannot be bound could not become our root or a volume.
        Some((Propagation::Unbindable, _)) => MsFlags::MS_PRIVATE,
        Some((kind, _)) => propagation_flag(kind),
    };
    mount(NONE, "/", NONE, propagation | MsFlags::MS_REC, NONE).at(Step::RootfsPrepare, || {
        "set the propagation of /".to_owned()
    })?;
    let original = opened.map_or_else(|| open(root), Ok)?;
    if propagation == MsFlags::MS_SHARED {
        // What is mounted next must not show on the host, and pivot_root refuses a shared parent.
        make_parent_private(&original).at(Step::RootfsPrepare, action)?;
    }
    // pivot_root demands a mount point; the copy also keeps the flags of the original.
    let copy = clone_tree_at(&original, true).at(Step::RootfsPrepare, action)?;
    move_mount(&copy, &original).at(Step::RootfsPrepare, action)?;
    Ok(InRoot::from_fd(copy))
}

/// Makes the mount that a directory lies on private.
fn make_parent_private(directory: &InRoot) -> Result<(), Errno> {
    let attr = MountAttr {
        propagation: MsFlags::MS_PRIVATE.bits(),
        ..MountAttr::default()
    };
    match set_attr(directory, attr, false) {
        // It is not the root of that mount.
        Err(Errno::EINVAL) => {}
        other => return other,
    }
    let id = hull_sys::mount::id_of(directory)?;
    let mounts = hull_sys::mount::list()?;
    let parent = mounts.iter().find(|m| m.id == id).ok_or(Errno::ENOENT)?;
    mount(NONE, &parent.point, NONE, MsFlags::MS_PRIVATE, NONE)
}

/// Makes the prepared root "/" and gets rid of the host's tree.
pub(super) fn pivot(root: InRoot, plan: &Plan) -> Result<(), SetupError> {
    if fault::leaves_out("pivot_root") {
        return Ok(());
    }
    let action = || format!("pivot_root to {:?}", plan.root.path);
    let hooked = !plan.hooks.prestart.is_empty()
        || !plan.hooks.create_runtime.is_empty()
        || !plan.hooks.create_container.is_empty();
    // A hook may have mounted something over the root; then that is the root.
    let root = if hooked {
        match InRoot::open(Path::new(&plan.root.path)) {
            // Where the root of a user namespace has no access, a hook had none either.
            Err(Errno::EACCES) if plan.has_namespace(NamespaceKind::User) => root,
            other => other.at(Step::PivotRoot, action)?,
        }
    } else {
        root
    };
    let changed = if plan.root.pivot {
        pivot_into(&root)
    } else {
        move_into(&root, plan)
    };
    changed
        .and_then(|()| chdir("/"))
        .at(Step::PivotRoot, action)?;
    drop(root);
    // Slave and private hold since before the mounts were made, and a volume that is to be shared all the
    // same stays so.
    let late = |kind: Propagation| matches!(kind, Propagation::Shared | Propagation::Unbindable);
    if let Some((kind, recursive)) = plan.root.propagation.filter(|(kind, _)| late(*kind)) {
        // Before the pivot a shared root would have been refused. Mounts have words of their own, which
        // stand unless this is for the whole tree.
        let mut flags = propagation_flag(kind);
        flags.set(MsFlags::MS_REC, recursive);
        mount(NONE, "/", NONE, flags, NONE).at(Step::PivotRoot, || {
            format!("make / {kind:?}").to_lowercase()
        })?;
    }
    Ok(())
}

/// Stacks the old root on the new one and detaches it, so that no directory in the image is needed
/// and a read-only one does (pivot_root(2), NOTES).
fn pivot_into(root: &InRoot) -> Result<(), Errno> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
    let old: OwnedFd = nix::fcntl::open("/", flags, Mode::empty())?;
    fchdir(root.as_fd())?;
    pivot_root(".", ".")?;
    fchdir(&old)?;
    if fault::leaves_out("host's tree away") {
        return fchdir(root.as_fd());
    }
    // A slave, so that detaching it does not unmount anything of the host.
    mount(NONE, ".", NONE, MsFlags::MS_SLAVE | MsFlags::MS_REC, NONE)?;
    umount2(".", MntFlags::MNT_DETACH)
}

/// For hosts whose root is an initramfs, which cannot be pivoted. First every other view of proc and
/// sysfs goes away: what is left behind the moved root must offer nothing unmasked.
fn move_into(root: &InRoot, plan: &Plan) -> Result<(), Errno> {
    let hidden = |m: &hull_sys::mount::MountInfo| {
        matches!(m.fstype.as_str(), "proc" | "sysfs") && !m.point.starts_with(&plan.root.path)
    };
    for shown in hull_sys::mount::list()?.into_iter().filter(hidden) {
        match umount2(&shown.point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(Errno::EPERM) => {
                let flags = MsFlags::MS_RDONLY;
                mount(Some("tmpfs"), &shown.point, Some("tmpfs"), flags, NONE)?;
            }
            Err(e) => return Err(e),
        }
    }
    fchdir(root.as_fd())?;
    mount(Some("."), "/", NONE, MsFlags::MS_MOVE, NONE)?;
    chroot(".")
}

/// Last of all: everything before may have had to write.
pub(super) fn make_read_only(root: &Root) -> Result<(), SetupError> {
    if !root.readonly || fault::leaves_out("read-only root") {
        return Ok(());
    }
    let action = || "make / read-only".to_owned();
    let top = InRoot::open(Path::new("/")).at(Step::ReadonlyMounts, action)?;
    let attr = MountAttr {
        set: nix::libc::MOUNT_ATTR_RDONLY,
        ..MountAttr::default()
    };
    set_attr(top.as_fd(), attr, false).at(Step::ReadonlyMounts, action)
}
