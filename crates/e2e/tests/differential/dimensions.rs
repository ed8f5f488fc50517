//! What configs differ in. Each dimension is drawn by itself and leaves the config valid, whichever
//! of the others are there.

mod linux;
mod mounts;
mod process;
mod resources;
mod scheduling;
pub(crate) mod seccomp;
mod users;

use crate::case::Draft;
use crate::random::Random;

/// One thing that configs differ in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dimension {
    name: &'static str,
    /// In how many of a hundred configs it is.
    pub(crate) percent: u64,
    /// How many of it there may be, each a dimension of its own.
    times: usize,
    /// Adds it to a config.
    pub(crate) apply: fn(&mut Draft<'_>, &mut Random),
}

const fn one(
    name: &'static str,
    percent: u64,
    apply: fn(&mut Draft<'_>, &mut Random),
) -> Dimension {
    many(1, name, percent, apply)
}

const fn many(
    times: usize,
    name: &'static str,
    percent: u64,
    apply: fn(&mut Draft<'_>, &mut Random),
) -> Dimension {
    Dimension {
        name,
        percent,
        times,
        apply,
    }
}

/// Every dimension by its name, in the order in which they are applied: later ones look at what
/// earlier ones did.
pub(crate) fn all() -> impl Iterator<Item = (String, Dimension)> {
    [
        linux::DIMENSIONS,
        mounts::DIMENSIONS,
        process::DIMENSIONS,
        resources::DIMENSIONS,
        seccomp::DIMENSIONS,
        scheduling::DIMENSIONS,
        users::DIMENSIONS,
    ]
    .into_iter()
    .flatten()
    .flat_map(|dimension| {
        (0..dimension.times).map(|number| (format!("{} {number}", dimension.name), *dimension))
    })
}
