//! Containers of hello.wasm per second, one after the other and four at once.

use super::HELLO;
use crate::bench::bed::Bed;
use crate::bench::cell::runtime;
use crate::bench::parallel::{BLOCK, Rate, block, in_pod};
use crate::bench::pod::Pod;
use crate::bench::report::{Comparison, Table};
use crate::bench::task::progress;
use crate::bench::{Plan, Result};
use crate::rootfs::Image;

/// How many at once.
const WORKERS: [u16; 2] = [1, 4];

/// The table.
pub(in crate::bench) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(5);
    let bed = Bed::make()?.with_image(Image::Wasm);
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    // Compiles it.
    in_pod(&bed, &pod, &[HELLO])?;
    let entries = [("hello.wasm", HELLO), ("native `true`", "true")];
    let mut series: [[Rate; WORKERS.len()]; 2] = Default::default();
    for round in 0..rounds {
        progress("Wasm containers at once", round, rounds);
        for ((_, program), rates) in entries.iter().zip(&mut series) {
            for (workers, rate) in WORKERS.into_iter().zip(rates) {
                rate.push(block(&bed, &pod, workers, || {
                    in_pod(&bed, &pod, &[program])
                })?);
            }
        }
    }
    pod.end(&client)?;
    let lines = entries.iter().zip(&series);
    Ok(vec![Table {
        row: "wasm-parallel",
        id: "wasm-parallel",
        title: "Containers of hello.wasm per second in one shim".to_owned(),
        how: format!(
            "Median of {rounds} blocks of {BLOCK}; p99 is the greatest. As in `parallel`, the \
             artifact is in the store. CPU in ms a container. Target: at least 200 with four at \
             once."
        ),
        columns: vec!["one at a time", "CPU of it", "four at once", "CPU"],
        lines: lines
            .map(|((name, _), rates)| {
                let figures = rates.iter().flat_map(Rate::figures);
                ((*name).to_owned(), figures.collect())
            })
            .collect(),
        comparison: Some(Comparison::Ratio),
    }])
}
