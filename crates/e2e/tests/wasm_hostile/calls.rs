//! Calls without end, and calls that ask for very much at once.

use crate::{MEMORY, MIB, TRAPPED, ends, hostile, is_stopped};

/// What a guest is charged that holds nothing, in MiB: twice what was measured.
const LITTLE: u64 = 16;

#[test]
fn clocks_in_a_tight_loop() {
    let peak = is_stopped(&hostile(&["clocks"]));
    assert!(peak < LITTLE, "{peak} MiB");
}

#[test]
fn random_numbers_in_a_tight_loop() {
    let peak = is_stopped(&hostile(&["random"]));
    assert!(peak < LITTLE, "{peak} MiB");
}

/// They are made where the guest wants them, in memory that it has already.
#[test]
fn random_bytes_for_more_than_half_of_the_memory() {
    let ended = ends(&hostile(&["much-random", &(40 * MIB).to_string()]));
    assert_eq!(ended.ran.stdout, "0 is the answer\n", "{ended:?}");
    assert!(ended.peak <= 48, "{ended:?}");
}

#[test]
fn pieces_by_the_million() {
    let ended = ends(&hostile(&["pieces", "1048576"]));
    assert_eq!(ended.ran.stdout, "1048576 pieces\n", "{ended:?}");
    // A write may take fewer pieces than it is given.
    assert_eq!(ended.ran.stderr, "x", "{ended:?}");
    assert!(ended.peak < LITTLE, "{ended:?}");
}

/// A subscription costs five times of us what it costs the guest.
#[test]
fn subscriptions_by_the_hundred_thousand() {
    let ended = ends(&hostile(&["poll", "100000"]));
    let text = "ready\n0 subscriptions are fine\n";
    assert_eq!(ended.ran.stdout, text, "{ended:?}");
    // The guest cannot even hold the list of a million.
    let ended = ends(&hostile(&["poll", "1048576"]));
    assert_eq!(ended.ran.stderr, "malloc: Out of memory\n", "{ended:?}");
    assert!(!ended.oom, "{ended:?}");
}

/// The runner holds no more than a million things for a guest, however much memory there is.
#[test]
fn subscriptions_by_the_million() {
    let spec = hostile(&["poll", "1048576"]).resource("memory/limit", 1024 * MIB);
    let ended = ends(&spec);
    assert_eq!(ended.ran.status, TRAPPED, "{ended:?}");
    assert!(ended.ran.stderr.contains("resource table"), "{ended:?}");
    assert!(!ended.oom && ended.peak > MEMORY, "{ended:?}");
}
