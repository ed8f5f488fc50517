//! Containers of `true`, four at once, without containerd.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::account;
use super::bed::Bed;
use super::cell::{Cell, runtime};
use super::peer::Peer;
use super::pod::Pod;
use super::report::{Comparison, Figure, Table};
use super::sample::Series;
use super::task::progress;
use super::{Plan, Result};

const WORKERS: u16 = 4;
/// Containers in one block, after which the next peer has its turn.
pub(super) const BLOCK: u16 = 40;

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(5);
    let bed = Bed::make()?;
    let client = runtime()?;
    let mut pods = Vec::new();
    for peer in &plan.peers {
        pods.push(Pod::start(&bed, peer, &client)?);
    }
    let mut series: Vec<[Rate; 2]> = Vec::new();
    series.resize_with(plan.peers.len(), Default::default);
    for round in 0..rounds {
        progress("four at once", round, rounds);
        for (pod, [alone, shared]) in pods.iter().zip(&mut series) {
            alone.push(block(&bed, pod, WORKERS, || lone(&bed, pod.peer))?);
            shared.push(block(&bed, pod, WORKERS, || in_pod(&bed, pod, &["true"]))?);
        }
    }
    for pod in pods {
        pod.end(&client)?;
    }
    let lines = plan.peers.iter().zip(&series);
    Ok(vec![Table {
        row: "parallel",
        id: "parallel",
        title: format!("Containers of `true` per second, {WORKERS} at once"),
        how: format!(
            "Median of {rounds} blocks of {BLOCK}; p99 is the greatest. Lone: each with all that \
             containerd asks of a shim, `start` to the `delete` action, and the making of its \
             bundle. In a shim that runs: Create, Start, exit, Delete. CPU in ms a container."
        ),
        columns: vec![
            "lone, per second",
            "CPU, lone",
            "in one shim, per second",
            "CPU, in one shim",
        ],
        lines: lines
            .map(|(peer, rates)| {
                (
                    peer.name.clone(),
                    rates.iter().flat_map(Rate::figures).collect(),
                )
            })
            .collect(),
        comparison: Some(Comparison::Ratio),
    }])
}

/// The series of containers per second and of the CPU time of each.
#[derive(Debug, Default)]
pub(super) struct Rate {
    per_second: Series,
    cpu: Series,
}

impl Rate {
    /// Adds what [`block`] gave.
    pub(super) fn push(&mut self, (per_second, cpu): (f64, Duration)) {
        self.per_second.push(per_second);
        self.cpu.push_time(cpu);
    }

    pub(super) fn figures(&self) -> [Figure; 2] {
        [&self.per_second, &self.cpu].map(Figure::from)
    }
}

/// Runs one block with so many at once; gives containers per second and CPU time per container.
pub(super) fn block(
    bed: &Bed,
    pod: &Pod<'_>,
    workers: u16,
    run: impl Fn() -> Result<()> + Sync,
) -> Result<(f64, Duration)> {
    let account = bed.account(pod.peer)?;
    let before = account.used();
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || -> std::result::Result<(), String> {
        while next.fetch_add(1, Ordering::Relaxed) < usize::from(BLOCK) {
            run().map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err("a worker panicked".to_owned())))
    })?;
    let per_second = f64::from(BLOCK) / began.elapsed().as_secs_f64();
    account::rest(std::slice::from_ref(&account));
    let used = account.used().saturating_sub(before);
    Ok((per_second, used / u32::from(BLOCK)))
}

fn lone(bed: &Bed, peer: &Peer) -> Result<()> {
    let cell = Cell::make(bed, peer, &["true"])?;
    let (address, _) = cell.start_shim()?;
    runtime()?.block_on(async {
        let task = cell.connect(&address).await?;
        cell.run(&task).await?;
        cell.retire(&task).await?;
        Ok(())
    })
}

/// A container beside the one of the pod, with a client of its own.
pub(super) fn in_pod(bed: &Bed, pod: &Pod<'_>, args: &[&str]) -> Result<()> {
    let cell = Cell::make(bed, pod.peer, args)?;
    runtime()?.block_on(async {
        let task = cell.connect(&pod.address).await?;
        cell.run(&task).await
    })?;
    cell.remove()
}
