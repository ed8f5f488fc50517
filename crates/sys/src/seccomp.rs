//! [seccomp(2)](https://man7.org/linux/man-pages/man2/seccomp.2.html).

use crate::{Errno, Result, check, check_fd};
use std::os::fd::OwnedFd;

/// One classic BPF instruction: code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// Load a filter for every thread of the process: all of them have it, or none (`SECCOMP_FILTER_FLAG_TSYNC`).
pub const EVERY_THREAD: u32 = 1;

/// A filter in the kernel's form.
#[derive(Debug)]
pub struct Filter(Vec<libc::sock_filter>);

impl Filter {
    /// Puts a program into the kernel's form.
    #[must_use]
    pub fn new(program: &[Instruction]) -> Self {
        let instruction = |&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k };
        Self(program.iter().map(instruction).collect())
    }

    /// Loads it for this thread, for good. Needs `CAP_SYS_ADMIN` or no_new_privs.
    ///
    /// # Errors
    /// `EACCES` without the right, `EINVAL` for a bad program or unknown flags, `E2BIG` when it is too
    /// long, `ESRCH` when a thread cannot have it.
    pub fn load(&mut self, flags: u32) -> Result<()> {
        match self.set(flags).and_then(check)? {
            0 => Ok(()),
            // The number of the thread that has another filter.
            _ => Err(Errno::ESRCH),
        }
    }

    /// As [`Filter::load`], with `SECCOMP_FILTER_FLAG_NEW_LISTENER` among the flags: gives the listener,
    /// close-on-exec ([seccomp_unotify(2)](https://man7.org/linux/man-pages/man2/seccomp_unotify.2.html)).
    /// Nothing is allocated or freed: the filter may ask the listener about that already.
    ///
    /// # Errors
    /// As [`Filter::load`], and `EBUSY` when a filter with a listener is there already.
    pub fn load_listening(&mut self, flags: u32) -> Result<OwnedFd> {
        self.set(flags).and_then(check_fd)
    }

    fn set(&mut self, flags: u32) -> Result<libc::c_long> {
        let prog = libc::sock_fprog {
            len: u16::try_from(self.0.len()).map_err(|_| Errno::E2BIG)?,
            filter: self.0.as_mut_ptr(),
        };
        // SAFETY: `prog` and the instructions that it points into outlive the call, `len` is their
        // number; the kernel copies them.
        Ok(unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                std::ptr::from_ref(&prog),
            )
        })
    }
}

/// Loads a filter for this thread, for good. Needs `CAP_SYS_ADMIN` or no_new_privs.
///
/// # Errors
/// As [`Filter::load`].
pub fn load(program: &[Instruction], flags: u32) -> Result<()> {
    Filter::new(program).load(flags)
}
