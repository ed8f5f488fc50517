//! Hidden and read-only paths (CVE-2025-31133: the null device that hides a file is verified).

use super::devices::open_null;
use crate::failure::{At, Blamed, because};
use crate::fault;
use hull_abi::{Blame, SetupError, Step};
use hull_sys::Errno;
use hull_sys::fs::{InRoot, is_dir};
use hull_sys::mount::{FsContext, MountAttr, clone_tree_at, move_mount, set_attr};
use nix::fcntl::OFlag;
use nix::sys::stat::fstat;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Makes paths read-only with everything below them. What is not there needs no protection.
pub(super) fn read_only(paths: &[String]) -> Result<(), SetupError> {
    if fault::leaves_out("read-only paths") {
        return Ok(());
    }
    let step = Step::ReadonlyPaths;
    for path in paths {
        let action = || format!("make {path:?} read-only");
        let Some(target) = existing(step, path)? else {
            continue;
        };
        let tree = clone_tree_at(&target, true).at(step, action)?;
        let attr = MountAttr {
            set: nix::libc::MOUNT_ATTR_RDONLY,
            ..MountAttr::default()
        };
        set_attr(&tree, attr, true).at(step, action)?;
        move_mount(&tree, &target).at(step, action)?;
    }
    Ok(())
}

/// Hides paths: a file behind the null device, a directory behind an empty tmpfs.
pub(super) fn hide(paths: &[String]) -> Result<(), SetupError> {
    if fault::leaves_out("masked paths") {
        return Ok(());
    }
    let step = Step::MaskedPaths;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let action = || format!("mask {path:?}");
        let Some(target) = existing(step, path)? else {
            continue;
        };
        if !is_dir(&fstat(&target).at(step, action)?) {
            let null = open_null(OFlag::O_PATH).map_err(|errno| {
                let cause = format!("the container's /dev/null is not usable: {}", errno.desc());
                because(step, Blame::Image, action(), &cause.to_lowercase())
            })?;
            let cover = clone_tree_at(&null, false).at(step, action)?;
            move_mount(&cover, &target).at(step, action)?;
        } else if let Some(empty) = &empty {
            let cover = clone_tree_at(empty, false).at(step, action)?;
            move_mount(&cover, &target).at(step, action)?;
        } else {
            // Linux before 6.15 clones only what is mounted: the first directory gets the original.
            let cover = empty_directory().at(step, action)?;
            move_mount(&cover, &target).at(step, action)?;
            empty = Some(cover);
        }
    }
    Ok(())
}

fn existing(step: Step, path: &str) -> Result<Option<OwnedFd>, SetupError> {
    let root = InRoot::open(Path::new("/")).at(step, || "open /".to_owned())?;
    match root.resolve(path) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno)
            .at(step, || format!("open {path:?}"))
            .blame(Blame::Image),
    }
}

/// One empty, read-only tmpfs that covers all hidden directories.
fn empty_directory() -> Result<OwnedFd, Errno> {
    let context = FsContext::open("tmpfs")?;
    context.set("source", Some("tmpfs"))?;
    context.set("ro", None)?;
    context.set("nr_blocks", Some("1"))?;
    context.set("nr_inodes", Some("1"))?;
    context.mount(nix::libc::MOUNT_ATTR_RDONLY)
}
