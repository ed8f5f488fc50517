//! From a case that differs to the smallest that does, and words about it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::case::Case;
use crate::seen::Difference;
use crate::world::World;
use crate::{SHOWN, differences, runc};

/// What differed in all cases.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The facts that differed, of each kind of failure.
    kinds: BTreeSet<Vec<String>>,
    count: usize,
    /// The explained ones.
    pub(crate) texts: Vec<String>,
}

impl Failures {
    /// Counts a failure; says whether it is of a new kind and is to be explained.
    pub(crate) fn is_new(&mut self, differences: &[Difference]) -> bool {
        self.count += 1;
        let keys = differences.iter().map(|difference| difference.key.clone());
        self.kinds.insert(keys.collect()) && self.kinds.len() <= SHOWN
    }

    /// Fails the test if there were any.
    pub(crate) fn end(self, cases: u64) {
        assert!(
            self.count == 0,
            "{} of {cases} cases differ in {} ways:\n\n{}",
            self.count,
            self.kinds.len(),
            self.texts.join("\n\n")
        );
    }
}

/// Takes out one dimension after the other while a difference stays, and tells what is left.
pub(crate) fn explain(world: &World, case: &Case, found: Vec<Difference>) -> String {
    let (mut case, mut found) = (case.clone(), found);
    let wanted: BTreeSet<String> = found.iter().map(|one| one.key.clone()).collect();
    for dimension in case.draft(&world.places).used {
        let smaller = case.without(&dimension);
        let still: Vec<Difference> = differences(world, &smaller)
            .into_iter()
            .filter(|one| wanted.contains(&one.key))
            .collect();
        if !still.is_empty() {
            (case, found) = (smaller, still);
        }
    }
    tell(world, &case, &found)
}

fn tell(world: &World, case: &Case, found: &[Difference]) -> String {
    let draft = case.draft(&world.places);
    let config = draft.config("/TREE".as_ref(), "/GROUP");
    let kept = runc::keep(&format!("differential-{}.json", case.seed), &config);
    let mut text = format!(
        "HULL_DIFFERENTIAL_SEED={} HULL_DIFFERENTIAL_CASES=1, left of it: {}\nconfig: {}\n",
        case.seed,
        draft.used.join(", "),
        kept.display()
    );
    for one in found.iter().take(12) {
        let side = |value: &Option<String>| match value {
            Some(text) => text.chars().take(400).collect(),
            None => "(nothing)".to_owned(),
        };
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            "  {}\n    runc: {}\n    hull: {}\n",
            one.key,
            side(&one.runc),
            side(&one.hull)
        );
    }
    text
}
