//! Safe access to the Linux interfaces that hull needs: one kernel interface per file.
//!
//! This is the only crate that may say `unsafe`. Each function is a thin, safe layer over one system
//! call or one small protocol around it and links to its man page; decisions are made elsewhere.
//! Errors are plain [`Errno`]s: the caller knows which object the call was about and says so.

#![expect(
    unsafe_code,
    reason = "the one crate that talks to the kernel directly"
)]

pub mod alarm;
pub mod bpf;
pub mod clock;
pub mod clone;
pub mod cred;
pub mod eventfd;
pub mod fd;
pub mod fs;
pub mod holder;
pub mod ioprio;
mod itimer;
pub mod last_call;
pub mod lsm;
pub mod memory;
pub mod mempolicy;
pub mod mount;
pub mod net;
pub mod netlink;
pub mod ns;
pub mod opens;
pub mod personality;
pub mod pidfd;
pub mod process;
pub mod procfs;
pub mod pty;
pub mod random;
pub mod sched;
pub mod seal;
pub mod seccomp;
pub mod signal;
pub mod single;
pub mod socket;
pub mod stream;

pub use nix::errno::Errno;

/// Result of a system call.
pub type Result<T> = std::result::Result<T, Errno>;

/// Turns the return value of a raw system call into a `Result`.
fn check(ret: libc::c_long) -> Result<libc::c_long> {
    if ret == -1 {
        Err(Errno::last())
    } else {
        Ok(ret)
    }
}

/// Turns the return value of a raw system call that yields a new descriptor into that descriptor.
fn check_fd(ret: libc::c_long) -> Result<std::os::fd::OwnedFd> {
    let raw = check(ret)?;
    let raw = std::os::fd::RawFd::try_from(raw).map_err(|_| Errno::EBADF)?;
    // SAFETY: `raw` was just returned by the kernel as a new descriptor and nothing else owns it.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(raw) })
}
