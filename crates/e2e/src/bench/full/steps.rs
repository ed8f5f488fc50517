//! Where the time of a Create goes: the steps that daemon, job and init noted (`hull trace`).

use std::collections::HashMap;
use std::fs;

use hull_abi::{Mark, TRACE_ANNOTATION, TRACE_FILE, Trace, Who};
use hull_client::Spec;

use crate::bench::Result;
use crate::bench::bed::Bed;
use crate::bench::cell::{Cell, runtime};
use crate::bench::peer::Peer;
use crate::bench::pod::Pod;
use crate::bench::report::{Figure, Line};
use crate::bench::sample::Series;

/// What a line shows: the median of a step's time in microseconds, all its parts in one Create together.
pub(super) const COLUMNS: [&str; 1] = ["µs"];

/// The steps of `rounds` Creates of `spec`, in the order in which they first begin.
pub(super) fn split(bed: &Bed, peer: &Peer, spec: &Spec, rounds: usize) -> Result<Vec<Line>> {
    let spec = spec.clone().annotation(TRACE_ANNOTATION, "yes");
    let client = runtime()?;
    let pod = Pod::start(bed, peer, &client)?;
    let (mut order, mut all) = (Vec::new(), HashMap::<String, Series>::new());
    for _ in 0..rounds {
        let cell = Cell::with_spec(bed, peer, spec.clone())?;
        client.block_on(cell.run(&pod.task))?;
        let json = fs::read(cell.bundle.path().join(TRACE_FILE))?;
        let marks = serde_json::from_slice::<Trace>(&json)?.marks;
        for (name, took) in times(&marks) {
            if !all.contains_key(&name) {
                order.push(name.clone());
            }
            all.entry(name).or_default().push(took);
        }
        cell.remove()?;
    }
    pod.end(&client)?;
    let line = |name| {
        let series = all.get(&name)?;
        Some((name, vec![Figure::from(series)]))
    };
    Ok(order.into_iter().filter_map(line).collect())
}

/// The name of each step and its microseconds: a step lasts until the next one begins, in whichever process.
fn times(marks: &[Mark]) -> Vec<(String, f64)> {
    let mut steps: Vec<(String, f64)> = Vec::new();
    for (mark, next) in marks.iter().zip(marks.iter().skip(1)) {
        let who = match mark.who {
            Who::Daemon => "daemon",
            Who::Job => "job",
            Who::Init => "init",
        };
        let name = format!("{who}: {}", mark.what);
        #[expect(clippy::cast_precision_loss, reason = "durations, far below 2^53 ns")]
        let took = next.at_ns.saturating_sub(mark.at_ns) as f64 / 1e3;
        match steps.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += took,
            None => steps.push((name, took)),
        }
    }
    steps
}
