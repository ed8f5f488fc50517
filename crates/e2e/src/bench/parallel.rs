//! Containers of `true`, four at once, without containerd.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::account;
use super::bed::Bed;
use super::cell::{Cell, runtime};
use super::peer::Peer;
use super::report::{Figure, Table};
use super::sample::Series;
use super::task::{Pod, progress};
use super::{Plan, Result};

const WORKERS: usize = 4;
/// Containers in one block, after which the next peer has its turn.
const BLOCK: u16 = 40;

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(5);
    let bed = Bed::make()?;
    let client = runtime()?;
    let mut pods = Vec::new();
    for peer in &plan.peers {
        pods.push(Pod::start(&bed, peer, &client)?);
    }
    let mut series: Vec<[Series; 4]> = Vec::new();
    series.resize_with(plan.peers.len(), Default::default);
    for round in 0..rounds {
        progress("four at once", round, rounds);
        for (pod, [alone, alone_cpu, shared, shared_cpu]) in pods.iter().zip(&mut series) {
            block(&bed, pod, alone, alone_cpu, |peer| lone(&bed, peer))?;
            block(&bed, pod, shared, shared_cpu, |peer| {
                in_pod(&bed, peer, &pod.address)
            })?;
        }
    }
    for pod in pods {
        pod.end(&client)?;
    }
    let lines = plan.peers.iter().zip(&series);
    Ok(vec![Table {
        row: "parallel",
        title: format!("Containers of `true` per second, {WORKERS} at once"),
        how: format!(
            "Median of {rounds} blocks of {BLOCK}; p99 is the greatest. Lone: each with all that \
             containerd asks of a shim, `start` to the `delete` action, and the making of its \
             bundle. In a shim that runs: Create, Start, exit, Delete. CPU in ms a container."
        ),
        columns: vec!["lone, per second", "CPU", "in one shim, per second", "CPU"],
        lines: lines
            .map(|(peer, series)| (peer.name.clone(), series.iter().map(Figure::from).collect()))
            .collect(),
    }])
}

/// Runs one block; adds containers per second and CPU time per container.
fn block(
    bed: &Bed,
    pod: &Pod<'_>,
    speeds: &mut Series,
    cpus: &mut Series,
    run: impl Fn(&Peer) -> Result<()> + Sync,
) -> Result<()> {
    let account = bed.account(pod.peer)?;
    let before = account.used();
    let began = Instant::now();
    let next = AtomicUsize::new(0);
    let work = || -> std::result::Result<(), String> {
        while next.fetch_add(1, Ordering::Relaxed) < usize::from(BLOCK) {
            run(pod.peer).map_err(|error| error.to_string())?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or(Err("a worker panicked".to_owned())))
    })?;
    speeds.push(f64::from(BLOCK) / began.elapsed().as_secs_f64());
    account::rest(std::slice::from_ref(&account));
    let used = account.used().saturating_sub(before);
    cpus.push_time(used / u32::from(BLOCK));
    Ok(())
}

fn lone(bed: &Bed, peer: &Peer) -> Result<()> {
    let cell = Cell::make(bed, peer, ["true"])?;
    let (address, _) = cell.start_shim()?;
    runtime()?.block_on(async {
        let task = cell.connect(&address).await?;
        cell.run(&task).await?;
        cell.retire(&task).await?;
        Ok(())
    })
}

fn in_pod(bed: &Bed, peer: &Peer, address: &str) -> Result<()> {
    let cell = Cell::make(bed, peer, ["true"])?;
    runtime()?.block_on(async {
        let task = cell.connect(address).await?;
        cell.run(&task).await
    })?;
    cell.remove()
}
