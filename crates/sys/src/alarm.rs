//! A time limit for this process, kept by the kernel.

use crate::itimer;
use crate::process::exit_now;
use crate::{Errno, Result};
use std::sync::OnceLock;
use std::time::Duration;

/// How the process ends when its time is up.
#[derive(Debug)]
struct End {
    code: libc::c_int,
    last_words: Vec<u8>,
}

static END: OnceLock<End> = OnceLock::new();

/// After this time the process writes its last words to stderr, if that takes them at once, and exits with
/// this code, whatever it is doing. A SIGALRM that somebody sends ends it as
/// [`exit_on_signals`](crate::signal::exit_on_signals) says. Last words beyond 4 KiB are cut off.
///
/// # Errors
/// `EALREADY` the second time, `EINVAL` for no time at all or more than the kernel counts.
pub fn exit_after(time: Duration, code: i32, last_words: Vec<u8>) -> Result<()> {
    if time.is_zero() {
        return Err(Errno::EINVAL);
    }
    END.set(End { code, last_words })
        .map_err(|_| Errno::EALREADY)?;
    itimer::install(libc::SIGALRM, on_alarm, &[])?;
    itimer::set(time)
}

/// Async-signal-safe: system calls, and memory that nobody writes any more.
extern "C" fn on_alarm(signal: libc::c_int, info: &libc::siginfo_t, _: *mut libc::c_void) {
    itimer::exit_if_sent(signal, info);
    // It was there before the timer was.
    if let Some(end) = END.get() {
        itimer::say(&end.last_words);
        exit_now(end.code)
    }
}
