//! A name for an open file, for code that takes nothing but names
//! ([proc_pid_fd(5)](https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html)).
//!
//! `/proc/self/fd/7` is only as good as what is at `/proc`: in a container that may be a directory of its
//! image with a file of that name. So the way to the directory of this process's descriptors is gone step by
//! step, each step vouched for by the kernel, and the name is looked up from there and nowhere else.

use crate::{Errno, Result};
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{dup, fchdir};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

/// Inode of the root of every procfs: `PROC_ROOT_INO` of linux/proc_fs.h.
const ROOT_INODE: u64 = 1;

/// What came of opening a file by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no procfs at /proc, or it cannot be used. Nothing has happened.
    #[error("there is no procfs to name it: {}", .0.desc())]
    Nameless(Errno),
    /// Nothing was opened by that name, or another file, or it is closed again.
    #[error("it was not opened by its name")]
    Unopened,
    /// This process cannot come back to its working directory.
    #[error("cannot return to the working directory: {}", .0.desc())]
    Astray(Errno),
}

/// Lets `open` open a file anew by a name, before any other, and gives what keeps it open. This process's user
/// needs the right to open the file, but no right to the directories that it is in.
///
/// The name is relative to the working directory, which is another one meanwhile; and which descriptor was
/// opened is told by its number. So this is for processes whose only thread calls it.
///
/// # Errors
/// [`Error`]; then what `open` gave is dropped.
pub fn open_by_name<R>(
    file: impl AsFd,
    open: impl FnOnce(&str) -> R,
) -> std::result::Result<R, Error> {
    let file = file.as_fd();
    let name = file.as_raw_fd().to_string();
    let place = Place::of(file, &name).map_err(Error::Nameless)?;
    fchdir(&place.descriptors).map_err(Error::Nameless)?;
    let opened = open(&name);
    fchdir(&place.before).map_err(Error::Astray)?;
    // Who may mount in this mount namespace could, before Linux 6.12, give the name to another file at any
    // moment. What is open now is past that.
    if place.has_opened() {
        Ok(opened)
    } else {
        Err(Error::Unopened)
    }
}

/// Where a file has a name.
#[derive(Debug)]
struct Place {
    /// The working directory to return to.
    before: OwnedFd,
    descriptors: OwnedFd,
    identity: Identity,
    /// The descriptor that will be opened next.
    next: RawFd,
}

/// Device and inode.
type Identity = (u64, u64);

impl Place {
    fn of(file: BorrowedFd<'_>, name: &str) -> Result<Self> {
        let descriptors = own_descriptors()?;
        let identity = identity(&fstat(file)?);
        if identity != self::identity(&fstatat(&descriptors, name, AtFlags::empty())?) {
            return Err(Errno::ESTALE);
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let before = nix::fcntl::open(".", flags, Mode::empty())?;
        // The lowest number that is free, as for every open. It is free again at once.
        let next = dup(file)?.as_raw_fd();
        Ok(Self {
            before,
            descriptors,
            identity,
            next,
        })
    }

    /// Whether the descriptor that was to be opened next is the file.
    fn has_opened(&self) -> bool {
        // SAFETY: it is used for one call, to which a number that is not open is an error like others.
        let next = unsafe { BorrowedFd::borrow_raw(self.next) };
        fstat(next).is_ok_and(|stat| identity(&stat) == self.identity)
    }
}

fn identity(stat: &FileStat) -> Identity {
    (stat.st_dev, stat.st_ino)
}

/// `/proc/self/fd`, if that is what it seems.
fn own_descriptors() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let procfs = nix::fcntl::open("/proc", flags | OFlag::O_NOFOLLOW, Mode::empty())?;
    let is_procfs = fstatfs(&procfs)?.filesystem_type() == PROC_SUPER_MAGIC;
    if !is_procfs || fstat(&procfs)?.st_ino != ROOT_INODE {
        return Err(Errno::ENOTSUP);
    }
    // From the root of a procfs on, `self` and `fd` are the kernel's, unless something is mounted there.
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV);
    openat2(&procfs, "self/fd", how)
}
