//! The pseudo terminal of a process (CVE-2025-52565: by descriptors, never by the name of a slave).

use crate::failure::{At, Blamed, because};
use crate::fault;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, Process, SetupError, Step};
use hull_sys::fs::InRoot;
use hull_sys::mount::{clone_tree_at, move_mount};
use hull_sys::{Errno, fd, fs, pty};
use nix::fcntl::OFlag;
use nix::sys::stat::{fstat, makedev};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Magic number of devpts (statfs(2)).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;
/// Inode of a devpts' own multiplexer.
const PTMX_INODE: u64 = 2;

/// Makes the working directory if the image does not have it. Entering it comes later.
pub(super) fn working_directory(cwd: &str) -> Result<(), SetupError> {
    let action = || format!("make working directory {cwd:?}");
    let root = open_root()?;
    match root.resolve(cwd) {
        Ok(_) => Ok(()),
        Err(Errno::ENOENT) => root
            .create_dir_all(cwd, 0o755)
            .map(drop)
            .at(Step::WorkingDirectory, action)
            .blame(Blame::Image),
        // Anything else is told when it is entered.
        Err(_) => Ok(()),
    }
}

/// Gives init its terminal, also as /dev/console.
pub(super) fn attach_for_init(sync: &Sync, process: &Process) -> Result<(), SetupError> {
    if !process.terminal || fault::leaves_out("console") {
        return Ok(());
    }
    let action = || "bind the terminal on /dev/console".to_owned();
    let peer = attach(sync, process)?;
    let root = open_root()?;
    let tree = clone_tree_at(&peer, false).at(Step::Console, action)?;
    let (dev, name) = root
        .parent("/dev/console", 0o755)
        .at(Step::Console, action)?;
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match fs::resolve_beneath(&dev, name) {
        Ok(_) => {}
        Err(_) => {
            let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
            let made = nix::fcntl::openat(&dev, name, flags, mode);
            drop(made.at(Step::Console, action).blame(Blame::Image)?);
        }
    }
    let target = fs::resolve_beneath(&dev, name).at(Step::Console, action)?;
    if fs::is_symlink(&fstat(&target).at(Step::Console, action)?) {
        return Err(because(
            Step::Console,
            Blame::Image,
            action(),
            "it is a symbolic link",
        ));
    }
    move_mount(&tree, &target).at(Step::Console, action)
}

/// Gives an exec process its terminal.
pub(super) fn attach_for_exec(sync: &Sync, process: &Process) -> Result<(), SetupError> {
    if process.terminal {
        attach(sync, process).map(drop)
    } else {
        Ok(())
    }
}

fn attach(sync: &Sync, process: &Process) -> Result<OwnedFd, SetupError> {
    let action = || "open a terminal in /dev/pts".to_owned();
    let master = open_master()
        .at(Step::Console, action)
        .blame(Blame::Image)?;
    let peer = pty::open_peer(&master).at(Step::Console, action)?;
    if let Some(size) = process.console_size {
        pty::resize(&master, size.width, size.height).at(Step::Console, action)?;
    }
    let uid = process.user.uid;
    nix::unistd::fchown(&peer, Some(uid.into()), None)
        .or_else(|e| {
            if matches!(e, Errno::EPERM | Errno::EROFS) {
                Ok(())
            } else {
                Err(e)
            }
        })
        .at(Step::Console, || format!("give the terminal to user {uid}"))?;
    pty::make_controlling(&peer).at(Step::Console, action)?;
    for number in 0..3 {
        fd::place(&peer, number).at(Step::Console, action)?;
    }
    sync.send_fds(Step::Console, &FromInit::Console, &[master.as_fd()])?;
    Ok(peer)
}

/// The multiplexer of the container's own devpts. Verified before it is opened, so that no other
/// device is, and after, so that it is the one that was verified.
fn open_master() -> Result<OwnedFd, Errno> {
    let root = InRoot::open(Path::new("/"))?;
    check_master(&root.resolve_nofollow("/dev/pts/ptmx")?)?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let master = root.open_at("/dev/pts/ptmx", flags)?;
    check_master(&master)?;
    Ok(master)
}

fn check_master(ptmx: &OwnedFd) -> Result<(), Errno> {
    let stat = fstat(ptmx)?;
    let real = fs::filesystem_magic(ptmx)? == DEVPTS_SUPER_MAGIC
        && stat.st_ino == PTMX_INODE
        && stat.st_rdev == makedev(5, 2);
    if real { Ok(()) } else { Err(Errno::ENODEV) }
}

fn open_root() -> Result<InRoot, SetupError> {
    InRoot::open(Path::new("/")).at(Step::Console, || "open /".to_owned())
}
