//! Joining and leaving namespaces: [setns(2)](https://man7.org/linux/man-pages/man2/setns.2.html),
//! [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html),
//! [ioctl_nsfs(2)](https://man7.org/linux/man-pages/man2/ioctl_nsfs.2.html).

use crate::{Result, check};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Joins the namespaces in `flags` (`CLONE_NEW*`): of a process if `fd` is a pidfd, else exactly the
/// one that `fd` refers to, which must be of that type.
///
/// # Errors
/// `EINVAL` when `fd` is of another type, `EPERM` without rights over its owner.
pub fn set(fd: impl AsFd, flags: libc::c_int) -> Result<()> {
    // SAFETY: two integers; the caller's process is the only thing that changes.
    check(libc::c_long::from(unsafe {
        libc::setns(fd.as_fd().as_raw_fd(), flags)
    }))
    .map(drop)
}

/// Leaves the namespaces in `flags` for new ones.
///
/// # Errors
/// As unshare(2).
pub fn unshare(flags: libc::c_int) -> Result<()> {
    // SAFETY: one integer; the caller's process is the only thing that changes.
    check(libc::c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// The type of the namespace behind a descriptor, as a `CLONE_NEW*` flag.
///
/// # Errors
/// `ENOTTY` when the descriptor is no namespace file.
pub fn kind(fd: impl AsFd) -> Result<libc::c_int> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this request takes no argument and returns an integer.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) };
    check(libc::c_long::from(ret))?;
    Ok(ret)
}

/// The user namespace that owns a namespace.
///
/// # Errors
/// `ENOTTY` when the descriptor is no namespace file, `EPERM` when its owner is outside of ours.
pub fn owner(fd: impl AsFd) -> Result<OwnedFd> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: this request takes no argument and returns a new descriptor.
    let ret = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_USERNS) };
    crate::check_fd(libc::c_long::from(ret))
}
