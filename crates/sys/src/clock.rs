//! Clocks.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC, the same in all processes of a machine; 0 where a seccomp filter
/// forbids to ask. See [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html):
/// mostly no system call, but on machines without a usable time stamp counter it is one.
#[must_use]
pub fn monotonic_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or_default();
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or_default()
    })
}
