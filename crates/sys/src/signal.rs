//! Signal dispositions and masks before execve
//! ([sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)).

use crate::{Result, check};

/// Gives every signal its default disposition and unblocks all of them. An ignored signal and the
/// mask survive execve: Rust ignores SIGPIPE, and whoever started us may ignore others.
///
/// # Errors
/// None in practice.
pub fn reset_all() -> Result<()> {
    for signal in 1..=64 {
        if matches!(signal, libc::SIGKILL | libc::SIGSTOP | 32 | 33) {
            continue; // cannot be changed, or used by libc itself
        }
        // SAFETY: SIG_DFL installs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: all-zero bytes are a valid, empty signal set.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `empty` outlives the call; the old mask is not asked for.
    let ret =
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut()) };
    check(libc::c_long::from(ret)).map(drop)
}
