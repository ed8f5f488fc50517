//! [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html).

use crate::{Errno, Result, check};

/// One classic BPF instruction: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Loads a filter for this thread, for good. Needs `CAP_SYS_ADMIN` or no_new_privs.
///
/// # Errors
/// `EACCES` without the right, `EINVAL` for a bad program or unknown flags, `E2BIG` when it is too
/// long.
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k })
        .collect();
    let prog = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `prog` and the `filter` that it points into outlive the call, `len` is its length; the
    // kernel copies the program.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&prog),
        )
    };
    check(ret).map(drop)
}
