//! Cgroups that systemd makes, and systemd as the program of a container. Needs systemd as PID 1 of a host
//! with unified cgroups; on any other all of them fail at once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic is how a test fails"
)]

mod control;
mod faults;
mod inside;
mod limits;
mod placement;
mod refused;
mod sandbox;
mod unit;

use std::fs;

use hull_e2e::Spec;

/// A container that does nothing.
fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// The other tests rest on this.
#[test]
fn systemd_is_the_first_program_and_listens() {
    assert_eq!(fs::read_to_string("/proc/1/comm").unwrap(), "systemd\n");
    assert!(fs::exists("/run/systemd/private").unwrap());
}
