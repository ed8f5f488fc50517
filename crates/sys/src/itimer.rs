//! The timer of this process that SIGALRM comes of
//! ([setitimer(2)](https://man7.org/linux/man-pages/man2/setitimer.2.html)), and what its signal handlers do.

use crate::{Errno, Result, check};
use std::time::Duration;

/// What a pipe that takes anything takes as a whole: `PIPE_BUF` of linux/limits.h.
const MOST_WORDS: usize = 4096;

/// A handler of signals with SA_SIGINFO.
pub(crate) type OnAlarm = extern "C" fn(libc::c_int, &libc::siginfo_t, *mut libc::c_void);

/// Calls a handler, which has to be async-signal-safe, when a signal comes; `blocked` do not interrupt it.
pub(crate) fn install(
    signal: libc::c_int,
    handler: OnAlarm,
    blocked: &[libc::c_int],
) -> Result<()> {
    // SAFETY: all-zero bytes are a valid sigaction: no handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // The stack that was interrupted may be all but full.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    for other in blocked {
        // SAFETY: the mask is a signal set of ours.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, *other) };
    }
    // SAFETY: `action` outlives the call, the old one is not asked for; the handler takes what the
    // kernel passes with SA_SIGINFO, a siginfo_t that lives until it returns among it, and its author says that
    // it is async-signal-safe.
    let ret = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    check(libc::c_long::from(ret)).map(drop)
}

/// SIGALRM comes once after this time, which is a microsecond at least. Async-signal-safe.
///
/// # Errors
/// `EINVAL` for more than the kernel counts.
pub(crate) fn set(time: Duration) -> Result<()> {
    let time = time.max(Duration::from_micros(1));
    let timer = libc::itimerval {
        it_interval: libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        },
        it_value: libc::timeval {
            tv_sec: libc::time_t::try_from(time.as_secs()).map_err(|_| Errno::EINVAL)?,
            tv_usec: libc::suseconds_t::from(time.subsec_micros()),
        },
    };
    // SAFETY: `timer` outlives the call; the old one is not asked for. By number: the C library has two
    // functions of this name.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_setitimer,
            libc::ITIMER_REAL,
            &raw const timer,
            std::ptr::null_mut::<libc::itimerval>(),
        )
    };
    check(ret).map(drop)
}

/// In a handler: a SIGALRM that is not the timer's, but that somebody sends, ends the process.
pub(crate) fn exit_if_sent(signal: libc::c_int, info: &libc::siginfo_t) {
    // SI_KERNEL of asm-generic/siginfo.h: timers are the kernel's.
    if info.si_code != 0x80 {
        crate::process::exit_now(128 + signal);
    }
}

/// Last words to standard error, if that takes them at once; what is longer than a page is cut off.
/// Async-signal-safe.
pub(crate) fn say(words: &[u8]) {
    let mut stderr = libc::pollfd {
        fd: libc::STDERR_FILENO,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: one valid pollfd, no waiting.
    let ready = unsafe { libc::poll(&raw mut stderr, 1, 0) };
    if ready == 1 && stderr.revents & libc::POLLOUT != 0 {
        let length = words.len().min(MOST_WORDS);
        // SAFETY: the words outlive the call, and are no shorter than said.
        unsafe { libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), length) };
    }
}
