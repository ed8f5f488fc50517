//! The same random configs under runc and hull: what a program sees inside, and what the host sees of
//! the container, must be the same, or the difference is a row of `docs/differences.md`.
//!
//! Cases follow from a seed. `HULL_DIFFERENTIAL_SEED` is that of the first case and
//! `HULL_DIFFERENTIAL_CASES` the number of cases; a failed case says which of them repeat it. runc is
//! the one of `make clients`; `make test CLIENTS=no` leaves the comparison out.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "test code: a panic is how a test fails, and stderr is where it explains itself"
)]

mod case;
mod dimensions;
mod hull;
mod mutations;
mod random;
mod refusals;
mod rules;
mod runc;
mod seen;
mod shrink;
mod world;

use std::collections::BTreeSet;
use std::iter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use case::{Case, Draft};
use seen::{Difference, Seen};
use world::World;

/// Seed of the first case where none is given.
const SEED: u64 = 1_000_000;
/// Cases where no number is given: what `make test` runs.
const CASES: u64 = 200;
/// Cases at a time: more than there are processors, since half of a case is waiting.
const WORKERS: u64 = 5;
/// Cases for which one world lasts: every one leaves events and directories in it.
const CASES_OF_A_WORLD: u64 = 25;
/// Different kinds of failures that are explained; the others are counted.
const SHOWN: usize = 8;

/// A number of the environment, or the usual one.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap())
}

/// Whether the comparison is left out on purpose.
fn is_left_out() -> bool {
    let left_out = runc::is_left_out();
    if left_out {
        eprintln!("CLIENTS=no: nothing is proved about where hull differs from runc");
    }
    left_out
}

/// Both runtimes on the same config.
fn both(world: &World, draft: &Draft<'_>) -> (Seen, Seen) {
    (runc::run(world, draft), hull::run(world, draft))
}

/// The differences of a case that no row explains.
fn differences(world: &World, case: &Case) -> Vec<Difference> {
    let draft = case.draft(&world.places);
    let (runc, hull) = both(world, &draft);
    rules::unexplained(&draft, &seen::compare(&runc, &hull))
}

/// Calls something with every number below the limit, on some threads, each with worlds of its own.
fn spread(count: u64, work: impl Fn(&World, u64) + Sync) {
    let next = AtomicU64::new(0);
    let worker = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count);
        while let Some(first) = take() {
            let world = World::new();
            let taken = (1..CASES_OF_A_WORLD).map_while(|_| take());
            for number in iter::once(first).chain(taken) {
                let _underway = Underway(number);
                work(&world, number);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(worker);
        }
    });
}

/// A case that is being run: tells its number if that panics.
struct Underway(u64);

impl Drop for Underway {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "that was case {}: its seed is the first one plus that",
                self.0
            );
        }
    }
}

#[test]
fn valid_configs_give_the_same_container() {
    if is_left_out() {
        return;
    }
    let seed = number("HULL_DIFFERENTIAL_SEED", SEED);
    let count = number("HULL_DIFFERENTIAL_CASES", CASES);
    eprintln!("{}, seeds from {seed}, {count} cases", runc::version());
    let failures = Mutex::new(shrink::Failures::default());
    let unfinished = Mutex::new(Vec::new());
    spread(count, |world, number| {
        let case = Case::new(seed + number);
        let draft = case.draft(&world.places);
        let (runc, hull) = both(world, &draft);
        if let (Some(runc), Some(hull)) = (runc.early_end(), hull.early_end()) {
            let text = format!("seed {}: runc {runc:?}, hull {hull:?}", case.seed);
            unfinished.lock().unwrap().push(text);
        }
        let left = rules::unexplained(&draft, &seen::compare(&runc, &hull));
        if left.is_empty() {
            return;
        }
        if failures.lock().unwrap().is_new(&left) {
            let text = shrink::explain(world, &case, left);
            failures.lock().unwrap().texts.push(text);
        }
    });
    failures.into_inner().unwrap().end(count);
    // A config that nobody runs proves nothing.
    let unfinished = unfinished.into_inner().unwrap();
    assert!(
        unfinished.len() * 12 <= usize::try_from(count).unwrap() + 12,
        "neither of the runtimes ran {} of {count} configs to the end:\n{}",
        unfinished.len(),
        unfinished.join("\n")
    );
}

#[test]
fn rows_and_rules_are_the_same() {
    let rules: BTreeSet<String> = rules::all().map(|rule| rule.row.to_owned()).collect();
    assert_eq!(rules.len(), rules::all().count(), "a row has two rules");
    assert_eq!(rules::documented(), rules);
}

#[test]
fn every_row_still_shows() {
    if is_left_out() {
        return;
    }
    let world = World::new();
    for rule in rules::all() {
        let mut draft = Draft::base(&world.places);
        draft.proc();
        (rule.specimen)(&mut draft);
        let (runc, hull) = both(&world, &draft);
        let found = seen::compare(&runc, &hull);
        let (own, others): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|difference| (rule.explains)(&draft, difference));
        assert!(!own.is_empty(), "{}: runc and hull agree by now", rule.row);
        let others = rules::unexplained(&draft, &others);
        assert!(others.is_empty(), "{}: {others:#?}", rule.row);
    }
}
