//! Device nodes and links in /dev. Every node is made in, and checked through, a descriptor of a
//! directory inside the root; nothing is followed by name (CVE-2026-41579, CVE-2026-88265).

use super::host_files::HostFiles;
use crate::failure::{At, Blamed, because};
use crate::fault;
use hull_abi::{Blame, Device, NamespaceKind, Plan, SetupError, Step};
use hull_sys::fs::{InRoot, ensure_symlink, is_symlink};
use hull_sys::mount::{MountAttr, clone_tree_at, move_mount, set_attr};
use hull_sys::{Errno, fd};
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, fstat, makedev, mknodat, umask};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, unlinkat};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
];

/// Makes what the plan lists. In a user namespace, where mknod(2) is not allowed, the host's own nodes
/// are bound.
pub(super) fn make(
    root: &InRoot,
    plan: &Plan,
    files: Option<&mut HostFiles>,
) -> Result<(), SetupError> {
    if fault::leaves_out("devices") {
        return Ok(());
    }
    let mut files = files.filter(|_| plan.has_namespace(NamespaceKind::User));
    // The modes are the spec's, whatever mask we inherited; the process gets its own mask later.
    let before = umask(Mode::empty());
    let made = plan.devices.iter().try_for_each(|device| match &mut files {
        Some(files) if !device.is_fifo() => bind(root, device, &files.next_device()?),
        _ => node(root, device),
    });
    // Hooks are still to come and expect what we were started with.
    umask(before);
    made?;
    if plan.device_links {
        links(root)?;
    }
    Ok(())
}

fn node(root: &InRoot, device: &Device) -> Result<(), SetupError> {
    let action = || format!("make device {:?}", device.path);
    let (parent, name) = root
        .parent(&device.path, 0o755)
        .at(Step::Devices, action)
        .blame(Blame::Image)?;
    let kind = SFlag::from_bits_truncate(device.mode) & SFlag::S_IFMT;
    let mode = Mode::from_bits_truncate(device.mode & 0o7777);
    let rdev = makedev(u64::from(device.major), u64::from(device.minor));
    match mknodat(&parent, name, kind, mode, rdev) {
        Ok(()) => {}
        Err(Errno::EEXIST) => {}
        Err(Errno::EPERM) => return bind(root, device, &host_node(device)?),
        Err(errno) => return Err(errno).at(Step::Devices, action),
    }
    let handle = open_nofollow(parent.as_fd(), name).at(Step::Devices, action)?;
    let found = fstat(&handle).at(Step::Devices, action)?;
    let same_kind = SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == kind;
    if !same_kind || (kind != SFlag::S_IFIFO && found.st_rdev != rdev) {
        let cause = "something else is there already";
        return Err(because(Step::Devices, Blame::Image, action(), cause));
    }
    let magic = format!("/proc/self/fd/{}", handle.as_raw_fd());
    if found.st_mode & 0o7777 != device.mode & 0o7777 {
        nix::sys::stat::fchmodat(
            nix::fcntl::AT_FDCWD,
            magic.as_str(),
            mode,
            nix::sys::stat::FchmodatFlags::FollowSymlink,
        )
        .at(Step::Devices, action)?;
    }
    if (found.st_uid, found.st_gid) != (device.uid, device.gid) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        fchownat(&handle, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)
            .at(Step::Devices, action)?;
    }
    Ok(())
}

fn open_nofollow(dir: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    openat(
        dir,
        name,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

/// The host's node of that path, attached nowhere; nothing else than the device that the plan means.
pub(super) fn host_node(device: &Device) -> Result<OwnedFd, SetupError> {
    let action = || format!("bind device {:?} of the host", device.path);
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let node = nix::fcntl::open(device.path.as_str(), flags, Mode::empty())
        .at(Step::Devices, action)
        .blame(Blame::Caller)?;
    let found = fstat(&node).at(Step::Devices, action)?;
    let kind = |mode| SFlag::from_bits_truncate(mode) & SFlag::S_IFMT;
    let rdev = makedev(u64::from(device.major), u64::from(device.minor));
    if kind(found.st_mode) != kind(device.mode) || found.st_rdev != rdev {
        let cause = format!(
            "it is not the device {}:{}, and in a user namespace none can be made",
            device.major, device.minor
        );
        return Err(because(Step::Devices, Blame::Caller, action(), &cause));
    }
    let tree = clone_tree_at(&node, false).at(Step::Devices, action)?;
    // No peer of the host's /dev any more: what the container mounts on its node would appear there.
    if !fault::leaves_out("propagation of devices") {
        let attr = MountAttr {
            propagation: MsFlags::MS_PRIVATE.bits(),
            ..MountAttr::default()
        };
        set_attr(&tree, attr, false).at(Step::Devices, action)?;
    }
    Ok(tree)
}

/// Binds a node where there is nothing yet or an ordinary file, which may be another node.
fn bind(root: &InRoot, device: &Device, tree: &OwnedFd) -> Result<(), SetupError> {
    let action = || format!("bind device {:?}", device.path);
    let (parent, name) = root
        .parent(&device.path, 0o755)
        .at(Step::Devices, action)
        .blame(Blame::Image)?;
    let flags =
        OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    // A node that stays behind when the mount is gone is nobody's to write.
    match openat(&parent, name, flags, Mode::empty()) {
        Ok(_) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno).at(Step::Devices, action).blame(Blame::Image),
    }
    let target = open_nofollow(parent.as_fd(), name).at(Step::Devices, action)?;
    if is_symlink(&fstat(&target).at(Step::Devices, action)?) {
        let cause = "something else is there already";
        return Err(because(Step::Devices, Blame::Image, action(), cause));
    }
    move_mount(tree, &target)
        .at(Step::Devices, action)
        .blame(Blame::Image)
}

fn links(root: &InRoot) -> Result<(), SetupError> {
    let action = |name: &str| format!("link /dev/{name}");
    let dev = root
        .create_dir_all("/dev", 0o755)
        .at(Step::Devices, || "open /dev".to_owned())
        .blame(Blame::Image)?;
    for (target, name) in LINKS {
        match ensure_symlink(target, &dev, name) {
            // An image that brings its own keeps it.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno).at(Step::Devices, || action(name)),
        }
    }
    match ensure_symlink("pts/ptmx", &dev, "ptmx") {
        // The host's multiplexer would hand out the host's terminals.
        Err(Errno::EEXIST) => unlinkat(&dev, "ptmx", UnlinkatFlags::NoRemoveDir)
            .and_then(|()| ensure_symlink("pts/ptmx", &dev, "ptmx")),
        other => other,
    }
    .at(Step::Devices, || action("ptmx"))
}

/// The container's own `/dev/null`, if it is the real one.
pub(super) fn open_null(flags: OFlag) -> Result<OwnedFd, Errno> {
    let root = InRoot::open(std::path::Path::new("/"))?;
    let handle = root.resolve_nofollow("/dev/null")?;
    let stat = fstat(&handle)?;
    if !is_null(&stat) {
        return Err(Errno::ENODEV);
    }
    if flags.contains(OFlag::O_PATH) {
        return Ok(handle);
    }
    let null = root.open_at("/dev/null", flags | OFlag::O_NOFOLLOW)?;
    if is_null(&fstat(&null)?) {
        Ok(null)
    } else {
        Err(Errno::ENODEV)
    }
}

fn is_null(stat: &nix::sys::stat::FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFCHR
        && stat.st_rdev == makedev(1, 3)
}

/// Standard streams that are the host's `/dev/null` become the container's: the host's inode would
/// be out of reach after a change of labels or owners.
pub(super) fn reopen_null_stdio() -> Result<(), SetupError> {
    for number in 0..3u8 {
        let magic = format!("/proc/self/fd/{number}");
        let stdio: [&dyn AsFd; 3] = [&std::io::stdin(), &std::io::stdout(), &std::io::stderr()];
        let Some(stream) = stdio.get(usize::from(number)) else {
            continue;
        };
        if !fstat(stream.as_fd()).is_ok_and(|stat| is_null(&stat)) {
            continue;
        }
        match open_null(OFlag::O_RDWR | OFlag::O_CLOEXEC) {
            Ok(null) => {
                fd::place(null, number).at(Step::Console, || format!("replace {magic}"))?;
            }
            // An image without a real /dev/null keeps the host's.
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}
