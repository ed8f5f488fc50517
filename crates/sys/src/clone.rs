//! [clone3(2)](https://man7.org/linux/man-pages/man2/clone3.2.html) in its fork-like form.

use crate::single::SingleThreaded;
use crate::{Errno, Result, check};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Does not fit the `c_int` that libc declares its flags as.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// How the new process differs from a plain fork.
#[derive(Debug, Default, Clone, Copy)]
pub struct CloneArgs<'a> {
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// v2 cgroup directory that the process is born in (`CLONE_INTO_CGROUP`).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// Whether the new process becomes a sibling: a child of our own parent (`CLONE_PARENT`).
    pub sibling: bool,
}

/// On which side of the clone we are.
#[derive(Debug)]
pub enum Cloned {
    /// In the calling process.
    Parent {
        /// The new process as seen in our PID namespace.
        pid: i32,
        /// Its pidfd, close-on-exec.
        pidfd: OwnedFd,
    },
    /// In the new process.
    Child,
}

/// Clones the calling process. Its exit signal is 0, which `CLONE_PARENT` demands, so its parent
/// must wait for it with `__WALL`.
///
/// The child is a copy of a single-threaded process, so it may do whatever its parent could.
///
/// # Errors
/// As clone3(2); `EBUSY` for a cgroup that may not hold processes, `ENOSPC`/`EAGAIN` at limits.
pub fn clone3(_proof: &SingleThreaded, args: CloneArgs<'_>) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    let mut flags = libc::CLONE_PIDFD as u64 | args.namespaces.unsigned_abs() as u64;
    if args.sibling {
        flags |= libc::CLONE_PARENT as u64;
    }
    let mut cgroup = 0u64;
    if let Some(fd) = args.cgroup {
        flags |= CLONE_INTO_CGROUP;
        cgroup = u64::try_from(fd.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    let raw = libc::clone_args {
        flags,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup,
    };
    // SAFETY: `raw` and `pidfd` outlive the call and the size is that of `raw`. Without CLONE_VM and
    // with no stack the child continues on its own copy of this stack. `SingleThreaded` proves that
    // no other thread can hold a lock whose copy would stay locked for ever in the child.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_ref(&raw),
            size_of::<libc::clone_args>(),
        )
    };
    match check(ret)? {
        0 => Ok(Cloned::Child),
        pid => Ok(Cloned::Parent {
            pid: i32::try_from(pid).map_err(|_| Errno::ESRCH)?,
            // SAFETY: the kernel stored a new descriptor in `pidfd` and nothing else owns it.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
    }
}
