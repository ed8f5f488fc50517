//! What a `hull` spent its time with.

use hull_abi::Trace;
use hull_sys::clock::monotonic_ns;
use nix::sys::signal::Signal;

/// A container that has ended and been deleted.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code: 128 + n when signal n ended it.
    pub(crate) code: u8,
    /// The signal that was to end `hull`, if one came.
    pub(crate) interrupted: Option<Signal>,
    /// What `hull` did, one after the other.
    pub(crate) phases: Vec<Phase>,
    /// When Create was asked for, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) created_at: u64,
    /// The shim's record of its Create, if one was asked for.
    pub(crate) trace: Option<Trace>,
}

/// A part of the life of a container, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    /// What was done.
    pub(crate) what: &'static str,
    /// Nanoseconds of CLOCK_MONOTONIC at its beginning.
    pub(crate) began_ns: u64,
    /// The same at its end.
    pub(crate) ended_ns: u64,
}

/// Phases that follow each other without a gap.
#[derive(Debug, Default)]
pub(super) struct Phases(Vec<Phase>);

impl Phases {
    /// Begins a phase, which ends the one before; gives the moment.
    pub(super) fn begin(&mut self, what: &'static str) -> u64 {
        let now = self.close();
        self.0.push(Phase {
            what,
            began_ns: now,
            ended_ns: now,
        });
        now
    }

    /// Ends the last phase and gives all.
    pub(super) fn end(&mut self) -> Vec<Phase> {
        self.close();
        std::mem::take(&mut self.0)
    }

    fn close(&mut self) -> u64 {
        let now = monotonic_ns();
        if let Some(last) = self.0.last_mut() {
            last.ended_ns = now;
        }
        now
    }
}
