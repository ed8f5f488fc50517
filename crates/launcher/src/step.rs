//! Beginning a step: the moment is noted for the trace, and the fault tests may strike.

use crate::fault;
use hull_abi::{Moments, SetupError, Step};
use std::cell::{Cell, RefCell};

/// Most moments of one process: a message to the daemon is one datagram.
const MOST: usize = 64;

thread_local! {
    /// Of this process, which has one thread.
    static MOMENTS: RefCell<Moments> = const { RefCell::new(Vec::new()) };
    static STOPPED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that a step begins.
///
/// # Errors
/// The made-up failure of a fault test.
pub(crate) fn begin(step: Step) -> Result<(), SetupError> {
    note(step);
    fault::point(step)
}

/// As [`begin`], for a step that has no fault point.
pub(crate) fn note(step: Step) {
    if STOPPED.get() {
        return;
    }
    MOMENTS.with_borrow_mut(|moments| {
        if moments.len() < MOST {
            moments.push((step, hull_sys::clock::monotonic_ns()));
        }
    });
}

/// Nothing is noted from here on: a seccomp filter may forbid to ask for the time, or kill who does.
pub(crate) fn stop_clock() {
    STOPPED.set(true);
}

/// Gives what was noted.
pub(crate) fn moments() -> Moments {
    MOMENTS.take()
}
