//! A tmpfs that begins as a copy of what it covers (`tmpcopyup`). Every step is made on descriptors
//! and follows no link: the host's tree is still in sight, and a volume in the image's place may be
//! shared with somebody who swaps names.

use hull_sys::{Errno, fd};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Copies the content of a directory (a path handle) into another: directories, regular files and
/// symbolic links with their modes and owners; other files are left out.
pub(super) fn copy_up(from: OwnedFd, into: OwnedFd) -> Result<(), Errno> {
    let from = openat(&from, ".", DIRECTORY, Mode::empty())?;
    let into = openat(&into, ".", DIRECTORY, Mode::empty())?;
    copy_directory(from, &into)
}

fn copy_directory(from: OwnedFd, into: &OwnedFd) -> Result<(), Errno> {
    let mut names = Vec::new();
    let mut listing = Dir::from_fd(from)?;
    for entry in listing.iter() {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    names
        .iter()
        .try_for_each(|name| copy_entry(&listing, into, name))
}

fn copy_entry(from: &Dir, into: &OwnedFd, name: &CStr) -> Result<(), Errno> {
    let stat = fstatat(from.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => {
            mkdirat(into, name, Mode::S_IRWXU)?;
            let child = openat(into, name, DIRECTORY, Mode::empty())?;
            copy_directory(
                openat(from.as_fd(), name, DIRECTORY, Mode::empty())?,
                &child,
            )?;
            adopt(into, name, &stat)?;
            fchmod(&child, mode(&stat))
        }
        SFlag::S_IFLNK => {
            symlinkat(readlinkat(from.as_fd(), name)?.as_os_str(), into, name)?;
            adopt(into, name, &stat)
        }
        SFlag::S_IFREG => {
            let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
            let mut source = std::fs::File::from(openat(from.as_fd(), name, read, Mode::empty())?);
            let mut target = std::fs::File::from(openat(into, name, write, Mode::S_IRWXU)?);
            std::io::copy(&mut source, &mut target).map_err(|e| fd::errno(&e))?;
            adopt(into, name, &stat)?;
            fchmod(&target, mode(&stat))
        }
        _ => Ok(()),
    }
}

fn mode(stat: &FileStat) -> Mode {
    Mode::from_bits_truncate(stat.st_mode & 0o7777)
}

/// Gives a copy its owner; before its mode, since a change of owner clears set-user-id bits.
fn adopt(into: &OwnedFd, name: &CStr, stat: &FileStat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchownat(
        into,
        name,
        Some(uid),
        Some(gid),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
}
