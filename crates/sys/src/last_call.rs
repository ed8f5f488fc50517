//! An orderly end on SIGTERM and SIGINT that comes in time whatever the threads of the process are doing.
//!
//! A server that is asked to stop finishes what it is at first. But its threads may be inside of code
//! that never gives them back, so nothing here depends on any of them: signal handlers and one kernel
//! timer ([setitimer(2)](https://man7.org/linux/man-pages/man2/setitimer.2.html)) keep the deadlines.
//!
//! Beside the deadline of the stop there is one for each piece of work that somebody [`begin`]s: when it
//! passes before [`finish`], whoever does the work has not come back to notice its own time limit.

use crate::eventfd::EventFd;
use crate::process::exit_now;
use crate::{Result, itimer};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Pieces of work that can have a deadline at once.
pub const SLOTS: usize = 4096;

/// What is told to [`listen`] and kept for the handlers.
#[derive(Debug)]
struct Orders {
    wake: EventFd,
    patience_ms: u64,
    overdue: Overdue,
    life: Option<Life>,
}

/// The whole life of a process, where it has a limit.
#[derive(Debug)]
pub struct Life {
    /// From now on.
    pub time: Duration,
    /// What is written to standard error at its end.
    pub message: String,
    /// The exit code.
    pub code: i32,
}

/// What happens when a piece of work is overdue.
#[derive(Debug)]
pub struct Overdue {
    /// What is written to standard error.
    pub message: String,
    /// The exit code.
    pub code: i32,
    /// Whether there is nothing to wait for, as no other thread could still do something.
    pub at_once: bool,
}

static ORDERS: OnceLock<Orders> = OnceLock::new();
/// The exit code to leave with; -1 while nobody wants the process to leave.
static LEAVE_WITH: AtomicI32 = AtomicI32::new(-1);
/// When the process ends whatever happens; 0 for never. All times are [`now`].
static END_AT: AtomicU64 = AtomicU64::new(0);
/// When the timer expires; 0 if it does not run.
static TIMER_AT: AtomicU64 = AtomicU64::new(0);
/// Deadlines of work; 0 for none.
static WORK: [AtomicU64; SLOTS] = [const { AtomicU64::new(0) }; SLOTS];
static IS_OVERDUE: AtomicBool = AtomicBool::new(false);

/// Installs the handlers. SIGTERM and SIGINT raise `wake`, and `patience` later end the process with 128 and
/// their number; the second one ends it at once. Once per process, when nothing can fail any more: before,
/// the signals do what they did.
///
/// # Errors
/// None in practice.
pub fn listen(
    wake: EventFd,
    patience: Duration,
    overdue: Overdue,
    life: Option<Life>,
) -> Result<&'static EventFd> {
    let end = life
        .as_ref()
        .map(|life| now().saturating_add(ms(life.time)));
    let orders = ORDERS.get_or_init(|| Orders {
        wake,
        patience_ms: ms(patience),
        overdue,
        life,
    });
    itimer::install(libc::SIGALRM, on_alarm, &OURS)?;
    for signal in [libc::SIGTERM, libc::SIGINT] {
        itimer::install(signal, on_stop, &OURS)?;
    }
    if let Some(end) = end {
        end_at(end);
    }
    Ok(&orders.wake)
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The process ends then, if not before.
fn end_at(at: u64) {
    let earlier = |set: u64| (set == 0 || at < set).then_some(at.max(1));
    // Whoever loses finds an earlier end.
    _ = END_AT.fetch_update(SeqCst, SeqCst, earlier);
    arm(at);
}

/// The handlers do not interrupt each other.
const OURS: [libc::c_int; 3] = [libc::SIGALRM, libc::SIGTERM, libc::SIGINT];

/// The exit code to leave with, once somebody wants the process to leave.
#[must_use]
pub fn leave_with() -> Option<i32> {
    let code = LEAVE_WITH.load(SeqCst);
    (code >= 0).then_some(code)
}

/// Piece of work `slot` (below [`SLOTS`]) has to [`finish`] within `time`.
pub fn begin(slot: usize, time: Duration) {
    let at = now().saturating_add(ms(time));
    if let Some(deadline) = WORK.get(slot) {
        deadline.store(at, SeqCst);
        arm(at);
    }
}

/// Piece of work `slot` is done.
pub fn finish(slot: usize) {
    if let Some(deadline) = WORK.get(slot) {
        deadline.store(0, SeqCst);
    }
}

/// Async-signal-safe: atomics, and system calls that keep errno.
extern "C" fn on_stop(signal: libc::c_int, _: &libc::siginfo_t, _: *mut libc::c_void) {
    let errno = crate::Errno::last_raw();
    if LEAVE_WITH
        .compare_exchange(-1, 128 + signal, SeqCst, SeqCst)
        .is_err()
    {
        exit_now(128 + signal);
    }
    leave();
    crate::Errno::set_raw(errno);
}

/// Async-signal-safe: atomics, and system calls that keep errno.
extern "C" fn on_alarm(signal: libc::c_int, info: &libc::siginfo_t, _context: *mut libc::c_void) {
    let errno = crate::Errno::last_raw();
    itimer::exit_if_sent(signal, info);
    TIMER_AT.store(0, SeqCst);
    let now = now();
    let end = END_AT.load(SeqCst);
    if end != 0 && end <= now {
        end_now();
    }
    let mut next = end;
    for slot in &WORK {
        let deadline = slot.load(SeqCst);
        if deadline == 0 {
            continue;
        }
        if deadline <= now {
            slot.store(0, SeqCst);
            give_up();
        } else if next == 0 || deadline < next {
            next = deadline;
        }
    }
    if next != 0 {
        arm(next);
    }
    crate::Errno::set_raw(errno);
}

/// The time is up: for leaving, or for all.
fn end_now() -> ! {
    let mut code = LEAVE_WITH.load(SeqCst);
    if let (
        -1,
        Some(Orders {
            life: Some(life), ..
        }),
    ) = (code, ORDERS.get())
    {
        itimer::say(life.message.as_bytes());
        code = life.code;
    }
    exit_now(code)
}

/// A piece of work is overdue.
fn give_up() {
    let Some(Orders { overdue, .. }) = ORDERS.get() else {
        return;
    };
    if IS_OVERDUE.swap(true, SeqCst) {
        return;
    }
    itimer::say(overdue.message.as_bytes());
    if overdue.at_once {
        exit_now(overdue.code);
    }
    if LEAVE_WITH
        .compare_exchange(-1, overdue.code, SeqCst, SeqCst)
        .is_ok()
    {
        leave();
    }
}

/// From now on the process has only so long.
fn leave() {
    let Some(orders) = ORDERS.get() else {
        return;
    };
    end_at(now().saturating_add(orders.patience_ms));
    let one = 1_u64;
    let wake = orders.wake.as_fd().as_raw_fd();
    // SAFETY: eight bytes of ours; an eventfd that has been raised already stays so.
    unsafe { libc::write(wake, (&raw const one).cast(), size_of::<u64>()) };
}

/// The timer expires at `at` or before. Whoever has changed the time last sets the timer last, whatever
/// others do in between, the handlers among them.
fn arm(at: u64) {
    let mut current = TIMER_AT.load(SeqCst);
    loop {
        if current != 0 && current <= at {
            return;
        }
        match TIMER_AT.compare_exchange(current, at, SeqCst, SeqCst) {
            Ok(_) => break,
            Err(other) => current = other,
        }
    }
    let mut set = at;
    loop {
        set_timer(set);
        let wanted = TIMER_AT.load(SeqCst);
        if wanted == set || wanted == 0 {
            return;
        }
        set = wanted;
    }
}

fn set_timer(at: u64) {
    // No longer than what the kernel can count, for which there is no error.
    let ms = at.saturating_sub(now()).clamp(1, 1 << 40);
    _ = itimer::set(Duration::from_millis(ms));
}

/// Milliseconds of the monotonic clock, rounded up, so that a deadline is never met too early.
fn now() -> u64 {
    crate::clock::monotonic_ns() / 1_000_000 + 1
}
