//! [ioprio_set(2)](https://man7.org/linux/man-pages/man2/ioprio_set.2.html).

use crate::{Result, check};

/// Sets the I/O priority of this thread: `IOPRIO_CLASS_*` and the level in it. Survives execve.
///
/// # Errors
/// `EPERM` for the real-time class without `CAP_SYS_NICE` or `CAP_SYS_ADMIN`, `EINVAL` for an unknown
/// class or level, `ENOSYS` where the kernel has no block layer.
pub fn set(class: u8, level: u8) -> Result<()> {
    const WHO_PROCESS: libc::c_long = 1;
    const CLASS_SHIFT: u32 = 13;
    let value = libc::c_long::from(class) << CLASS_SHIFT | libc::c_long::from(level);
    // SAFETY: integers only; 0 is the calling thread.
    let ret = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    check(ret).map(drop)
}
