//! Configs with one mistake: both runtimes refuse them, and hull does so in one line that names the
//! field or the object, before it has done anything.

use std::sync::Mutex;

use crate::case::Case;
use crate::mutations::{self, Mutation};
use crate::random::Random;
use crate::seen::{self, Refusal, Seen};
use crate::world::World;
use crate::{SEED, both, is_left_out, number, rules, spread};

/// Cases beside one for each mistake where no number is given.
const CASES: u64 = 10;

#[test]
fn invalid_configs_are_refused_by_both() {
    if is_left_out() {
        return;
    }
    let seed = number("HULL_DIFFERENTIAL_SEED", SEED);
    let mutations = mutations::all();
    let known = u64::try_from(mutations.len()).unwrap();
    let count = known + number("HULL_DIFFERENTIAL_CASES", CASES) / 4;
    let problems = Mutex::new(Vec::new());
    spread(count, |world, number| {
        let mutation = match mutations.get(usize::try_from(number).unwrap()) {
            Some(mutation) => mutation,
            None => Random::of(seed + number, "mutation").pick(&mutations),
        };
        let found = check(world, &Case::new(seed + number), mutation);
        let at = |text: String| format!("{}, seed {}: {text}", mutation.name, seed + number);
        problems.lock().unwrap().extend(found.into_iter().map(at));
    });
    let problems = problems.into_inner().unwrap();
    assert!(
        problems.is_empty(),
        "{} of {count}:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

/// What is wrong with how a config with a mistake was taken.
fn check(world: &World, case: &Case, mutation: &Mutation) -> Vec<String> {
    let plain = case.without("user namespace 0").without("time namespace 0");
    let case = if mutation.is_of_namespaces() {
        &plain
    } else {
        case
    };
    let draft = case.draft(&world.places).mutated(mutation);
    let (runc, hull) = both(world, &draft);
    let mut problems: Vec<String> = rules::unexplained(&draft, &seen::compare(&runc, &hull))
        .iter()
        .map(|one| format!("{}: runc {:?}, hull {:?}", one.key, one.runc, one.hull))
        .collect();
    if let Seen::Refused(refusal) = &hull {
        problems.extend(manners(refusal, mutation));
    }
    problems
}

/// What is wrong with the words of a refusal, and what it left.
fn manners(refusal: &Refusal, mutation: &Mutation) -> Vec<String> {
    let Refusal { text, left } = refusal;
    let mut problems = Vec::new();
    if text.lines().count() != 1 || text.len() > 500 {
        problems.push(format!("not one line: {text:?}"));
    }
    match &mutation.field {
        Some(field) => {
            // Such a refusal comes before anything is done.
            let wanted = format!("invalid config: {field}");
            if !text.starts_with(&wanted) {
                problems.push(format!("{text:?} does not begin with {wanted:?}"));
            }
            problems.extend(left.iter().map(|left| format!("left {left}")));
        }
        None => {
            // The root file system is the caller's and may have mount points by now.
            let groups = left.iter().filter(|left| left.starts_with("cgroup "));
            problems.extend(groups.map(|left| format!("left {left}")));
        }
    }
    problems
}
