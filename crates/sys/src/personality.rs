//! [personality(2)](https://man7.org/linux/man-pages/man2/personality.2.html).

use crate::{Result, check};

/// `PER_LINUX`.
pub const LINUX: u32 = 0;
/// `PER_LINUX32`.
pub const LINUX32: u32 = 8;

/// Sets the execution domain of this process. Survives execve.
///
/// # Errors
/// `EINVAL` when the kernel refuses it.
pub fn set(persona: u32) -> Result<()> {
    // SAFETY: an integer only.
    let ret = unsafe { libc::personality(libc::c_ulong::from(persona)) };
    check(libc::c_long::from(ret)).map(drop)
}
