//! What idle containers of one Wasm image in one pod cost in memory.

use std::fs;

use super::mappings;
use crate::bench::bed::Bed;
use crate::bench::cell::{Cell, runtime};
use crate::bench::memory::{IDLE, Usage, settle};
use crate::bench::peer::Peer;
use crate::bench::pod::Pod;
use crate::bench::report::{Comparison, Line, Table};
use crate::bench::task::progress;
use crate::bench::{Plan, Result};
use crate::rootfs::Image;
use crate::time::LIMIT;
use crate::{cgroup, procfs};

/// Containers at the end, besides the one that holds the pod.
const MANY: u16 = 20;
/// What the programs print before they sleep.
const READY: &[u8] = b"ready\n";

/// What the lines are about.
const PROGRAMS: [(&str, &[&str]); 2] = [
    ("sleep.wasm", &["/wasm/sleep.wasm"]),
    (
        "native `sleep`",
        &["sh", "-c", "echo ready; exec sleep 1000000"],
    ),
];

/// What containers of one program cost, in KiB.
#[derive(Debug)]
pub(super) struct Cost {
    /// The init of the first one.
    pub(super) one: Usage,
    /// The text of its smaps.
    smaps: String,
    /// PSS and private dirty of each further one, in all processes of the pod, and what its cgroup
    /// is charged.
    pub(super) further: [f64; 3],
}

/// All three tables.
pub(in crate::bench) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let (mut one, mut further, mut split) = (Vec::new(), Vec::new(), None);
    for (number, (name, args)) in PROGRAMS.into_iter().enumerate() {
        progress("memory of Wasm", number, PROGRAMS.len());
        let cost = cost(plan, Image::Wasm, args, MANY)?;
        let usage = cost.one;
        let figures = [usage.pss, usage.private_dirty, usage.rss];
        one.push((name.to_owned(), figures.map(Into::into).to_vec()));
        further.push((name.to_owned(), cost.further.map(Into::into).to_vec()));
        split.get_or_insert_with(|| mappings::split(&cost.smaps));
    }
    Ok(tables(one, further, split.unwrap_or_default()))
}

fn tables(one: Vec<Line>, further: Vec<Line>, split: Vec<Line>) -> Vec<Table> {
    let idle = IDLE.as_secs();
    vec![
        Table {
            row: "wasm-memory",
            id: "wasm-memory-one",
            title: "Memory of one idle container's init".to_owned(),
            how: format!("KiB by smaps_rollup, after sync(2) and {idle} s without a request."),
            columns: vec!["PSS", "private dirty", "RSS"],
            lines: one,
            comparison: Some(Comparison::Difference),
        },
        Table {
            row: "wasm-memory",
            id: "wasm-memory-split",
            title: "The same by mappings, sleep.wasm".to_owned(),
            how: "KiB by smaps.".to_owned(),
            columns: mappings::COLUMNS.to_vec(),
            lines: split,
            comparison: None,
        },
        Table {
            row: "wasm-memory",
            id: "wasm-memory-further",
            title: "Memory of each further idle container of the same image in one pod".to_owned(),
            how: format!(
                "KiB: what daemon, launcher and all inits of the pod have more with {MANY} than \
                 with 1, divided by {}. Charged is what the memory controller counts for the \
                 containers alone: also kernel stacks, page tables and files that nobody had read \
                 before. Target: PSS at most 4096.",
                MANY - 1
            ),
            columns: vec!["PSS", "private dirty", "charged"],
            lines: further,
            comparison: Some(Comparison::Difference),
        },
    ]
}

/// What the first of so many containers that print "ready" costs, and each further one.
pub(super) fn cost(plan: &Plan, image: Image, args: &[&str], many: u16) -> Result<Cost> {
    let bed = Bed::make()?.with_image(image);
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    let launch = || {
        let mut cell = Cell::make(&bed, pod.peer, args)?;
        let init = client.block_on(cell.launch(&pod.task))?;
        if let Some(out) = &mut cell.stdio.out {
            out.read_until(READY, LIMIT)?;
        }
        Result::Ok((cell, init))
    };
    let (cell, init) = launch()?;
    settle();
    let one = Usage::of([init])?;
    let path = format!("/proc/{init}/smaps");
    let smaps = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let (before, charged_before) = (whole(&pod)?, charged(&bed, pod.peer)?);
    let mut cells = vec![cell];
    while cells.len() < usize::from(many) {
        cells.push(launch()?.0);
    }
    settle();
    let (after, charged_after) = (whole(&pod)?, charged(&bed, pod.peer)?);
    for cell in cells {
        client.block_on(cell.end(&pod.task))?;
        cell.remove()?;
    }
    pod.end(&client)?;
    let grown = [
        after.pss - before.pss,
        after.private_dirty - before.private_dirty,
        charged_after - charged_before,
    ];
    Ok(Cost {
        one,
        smaps,
        further: grown.map(|grown| grown / f64::from(many - 1)),
    })
}

/// Daemon, launcher and all inits.
fn whole(pod: &Pod<'_>) -> Result<Usage> {
    let mut pids = procfs::children(pod.shim);
    pids.push(pod.shim);
    Usage::of(pids)
}

/// What the containers of the bed are charged, in KiB.
fn charged(bed: &Bed, peer: &Peer) -> Result<f64> {
    let file = if cgroup::is_unified("memory") {
        "memory.current"
    } else {
        "memory.usage_in_bytes"
    };
    let bytes: f64 = cgroup::read("memory", &bed.cgroup(peer), file).parse()?;
    Ok(bytes / 1024.0)
}
