//! Processes by descriptor:
//! [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html),
//! [pidfd_getfd(2)](https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html),
//! [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html) and
//! [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html) with `P_PIDFD`.

use crate::{Errno, Result, check, check_fd};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, or 128 + signal number.
    pub status: u32,
    /// Its process id.
    pub pid: i32,
}

/// Opens a pidfd of a process, close-on-exec.
///
/// # Errors
/// `ESRCH` when there is no such process.
pub fn open(pid: i32) -> Result<OwnedFd> {
    // SAFETY: the call takes two integers and touches no memory of ours.
    check_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal by number; 0 only checks that the process is there.
///
/// # Errors
/// `ESRCH` when it was reaped already, `EINVAL` for an unknown signal number.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo asks for the same information as kill(2); nothing else is a pointer.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    check(ret).map(drop)
}

/// Duplicates a descriptor of the process, close-on-exec
/// ([pidfd_getfd(2)](https://man7.org/linux/man-pages/man2/pidfd_getfd.2.html)).
///
/// # Errors
/// `EBADF` when it has no such descriptor, `EPERM` without the right to trace it, `ESRCH` when it has
/// ended.
pub fn get_fd(pidfd: impl AsFd, number: i32) -> Result<OwnedFd> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes three integers and touches no memory of ours.
    check_fd(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0) })
}

fn waitid(kind: libc::idtype_t, id: u32, flags: libc::c_int) -> Result<Option<Ended>> {
    // SAFETY: all-zero bytes are a valid siginfo_t, a plain C struct of integers.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` is writable for the time of the call.
    let ret = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
    check(libc::c_long::from(ret))?;
    // SAFETY: waitid fills the SIGCHLD part of the union, or leaves the zeroes when nothing ended.
    let pid = unsafe { info.si_pid() };
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: as above, for the status field.
    let code = unsafe { info.si_status() }.unsigned_abs();
    let status = if info.si_code == libc::CLD_EXITED {
        code
    } else {
        128 + code
    };
    Ok(Some(Ended { status, pid }))
}

/// Reaps a child whose pidfd became readable; `None` while it still runs.
///
/// # Errors
/// `ECHILD` when it is not our child or was reaped already.
pub fn reap(pidfd: impl AsFd) -> Result<Option<Ended>> {
    let id = u32::try_from(pidfd.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)?;
    waitid(
        libc::P_PIDFD,
        id,
        libc::WEXITED | libc::WNOHANG | libc::__WALL,
    )
}

/// Looks for any child that has ended, without reaping it.
///
/// # Errors
/// `ECHILD` when there are no children.
pub fn peek_any() -> Result<Option<Ended>> {
    waitid(
        libc::P_ALL,
        0,
        libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL,
    )
}

/// Reaps one child by its process id, if it has ended.
///
/// # Errors
/// `ECHILD` when it is not our child.
pub fn reap_pid(pid: i32) -> Result<Option<Ended>> {
    let id = u32::try_from(pid).map_err(|_| Errno::EINVAL)?;
    waitid(
        libc::P_PID,
        id,
        libc::WEXITED | libc::WNOHANG | libc::__WALL,
    )
}

/// Waits until the process has ended (whoever its parent is), or until the time is over.
/// Returns whether it has ended.
///
/// # Errors
/// As poll(2).
pub fn wait_ended(pidfd: impl AsFd, timeout: std::time::Duration) -> Result<bool> {
    crate::fd::wait_readable(pidfd, timeout)
}

/// The process id behind a pidfd, as our PID namespace has it, from
/// [`/proc/self/fdinfo`](https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html).
///
/// # Errors
/// `ESRCH` when the process was reaped, `EBADF` when the descriptor is no pidfd.
pub fn pid(pidfd: impl AsFd) -> Result<i32> {
    let path = format!("/proc/self/fdinfo/{}", pidfd.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).map_err(|e| crate::fd::errno(&e))?;
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .ok_or(Errno::EBADF)?;
    match pid.trim().parse() {
        Ok(pid @ 1..) => Ok(pid),
        Ok(_) => Err(Errno::ESRCH),
        Err(_) => Err(Errno::EBADF),
    }
}
