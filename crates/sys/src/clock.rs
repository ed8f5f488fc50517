//! Clocks.

use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC, the same in all processes of a machine; 0 where a seccomp filter
/// forbids to ask. See [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html):
/// mostly no system call, but on machines without a usable time stamp counter it is one.
#[must_use]
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds that this thread has been running, without what a hypervisor took, if the kernel is told of that.
#[must_use]
pub fn thread_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// How often this thread has waited for something: its voluntary context switches
/// ([getrusage(2)](https://man7.org/linux/man-pages/man2/getrusage.2.html)).
#[must_use]
pub fn thread_waits() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or_default()
    })
}
