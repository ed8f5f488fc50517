//! A container of `true` over a ttrpc client, in a shim of its own and in one that runs already.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use hull_client::Spec;

use super::account::{self, Account};
use super::bed::Bed;
use super::cell::{Cell, Times, runtime};
use super::floor::Floor;
use super::peer::Peer;
use super::pod::Pod;
use super::report::{Comparison, FLOOR, Figure, Line, Table};
use super::sample::Series;
use super::{Plan, Result};

const WARM_UP: usize = 3;

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(100);
    let entries = plan.peers.iter().map(|peer| Entry {
        name: peer.name.clone(),
        peer,
        spec: Spec::new(["true"]),
    });
    let entries: Vec<Entry<'_>> = entries.collect();
    let bed = Bed::make()?;
    let mut floor = Floor::start(&bed)?;
    Ok(vec![
        Table {
            row: "task",
            id: "task-alone",
            title: "A lone container of `true`, a shim of its own".to_owned(),
            how: format!(
                "ms, median of {rounds}. Without containerd, ctr's default spec, busybox on \
                 overlay, FIFOs for stdout and stderr. CPU is of the whole life, `start`, Shutdown \
                 and the `delete` action included."
            ),
            columns: ALONE.to_vec(),
            lines: alone(&Bed::make()?, &entries, rounds)?,
            comparison: Some(Comparison::Ratio),
        },
        Table {
            row: "task",
            id: "task-pod",
            title: "A container of `true` in a shim that runs".to_owned(),
            how: format!(
                "ms, median of {rounds}. The same over one persistent client, in a shim that has \
                 another container already. CPU is of shim, what it starts, and container. The floor \
                 is the kernel's part alone, without shim."
            ),
            columns: IN_POD.to_vec(),
            lines: in_pod(&bed, &entries, rounds, Some(&mut floor))?,
            comparison: Some(Comparison::Ratio),
        },
    ])
}

/// The series of [`Times`] and of CPU time.
#[derive(Debug, Default)]
pub(super) struct Calls {
    create: Series,
    start: Series,
    exit: Series,
    delete: Series,
    sum: Series,
    cpu: Series,
}

impl Calls {
    pub(super) fn push(&mut self, times: Times) {
        self.create.push_time(times.create);
        self.start.push_time(times.start);
        self.exit.push_time(times.exit);
        self.delete.push_time(times.delete);
        self.sum.push_time(times.sum());
    }

    /// Counts what was used since `before`.
    pub(super) fn push_cpu(&mut self, account: &Account, before: Duration) {
        self.cpu.push_time(account.used().saturating_sub(before));
    }

    pub(super) fn figures(&self) -> [Figure; 6] {
        [
            &self.create,
            &self.start,
            &self.exit,
            &self.delete,
            &self.sum,
            &self.cpu,
        ]
        .map(Figure::from)
    }
}

/// A line of the tables: a peer, and what its containers are.
pub(super) struct Entry<'plan> {
    pub(super) name: String,
    pub(super) peer: &'plan Peer,
    pub(super) spec: Spec,
}

/// The figures of [`alone`].
pub(super) const ALONE: [&str; 8] = [
    "`start`",
    "Create",
    "Start",
    "exit",
    "Delete",
    "sum of the four",
    "`delete`",
    "CPU",
];

/// Containers that each have a shim of their own.
pub(super) fn alone(bed: &Bed, entries: &[Entry<'_>], rounds: usize) -> Result<Vec<Line>> {
    let client = runtime()?;
    let mut series: Vec<(Series, Series, Calls)> = Vec::new();
    series.resize_with(entries.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("lone containers", round, WARM_UP + rounds);
        for (entry, (started, deleted, calls)) in entries.iter().zip(&mut series) {
            let cell = Cell::with_spec(bed, entry.peer, entry.spec.clone())?;
            let account = bed.account(entry.peer)?;
            let before = account.used();
            let (address, start) = cell.start_shim()?;
            let (times, delete) = client.block_on(async {
                let task = cell.connect(&address).await?;
                let times = cell.run(&task).await?;
                Result::Ok((times, cell.retire(&task).await?))
            })?;
            account::rest(std::slice::from_ref(&account));
            if round >= WARM_UP {
                started.push_time(start);
                deleted.push_time(delete);
                calls.push(times);
                calls.push_cpu(&account, before);
            }
        }
    }
    let lines = entries.iter().zip(&series);
    let lines = lines.map(|(entry, (started, deleted, calls))| {
        let mut figures = vec![Figure::from(started)];
        figures.extend(calls.figures());
        figures.insert(6, Figure::from(deleted));
        (entry.name.clone(), figures)
    });
    Ok(lines.collect())
}

/// The figures of [`in_pod`].
pub(super) const IN_POD: [&str; 6] = ["Create", "Start", "exit", "Delete", "sum", "CPU"];

/// Containers in a shim that has another one already; the floor takes its turn with them.
pub(super) fn in_pod(
    bed: &Bed,
    entries: &[Entry<'_>],
    rounds: usize,
    mut floor: Option<&mut Floor>,
) -> Result<Vec<Line>> {
    let client = runtime()?;
    let mut pods = Vec::new();
    for entry in entries {
        pods.push(Pod::start(bed, entry.peer, &client)?);
    }
    let (mut series, mut bottom) = (Vec::new(), Calls::default());
    series.resize_with(entries.len(), Calls::default);
    for round in 0..WARM_UP + rounds {
        progress("containers of a running shim", round, WARM_UP + rounds);
        for ((entry, pod), calls) in entries.iter().zip(&pods).zip(&mut series) {
            let cell = Cell::with_spec(bed, entry.peer, entry.spec.clone())?;
            let before = pod.account.used();
            let times = client.block_on(cell.run(&pod.task))?;
            account::rest(std::slice::from_ref(&pod.account));
            if round >= WARM_UP {
                calls.push(times);
                calls.push_cpu(&pod.account, before);
            }
            cell.remove()?;
        }
        if let Some(floor) = floor.as_deref_mut() {
            let before = floor.account.used();
            let times = floor.run()?;
            account::rest(std::slice::from_ref(&floor.account));
            if round >= WARM_UP {
                bottom.push(times);
                bottom.push_cpu(&floor.account, before);
            }
        }
    }
    for pod in pods {
        pod.end(&client)?;
    }
    let lines = entries.iter().zip(&series);
    let lines = lines.map(|(entry, calls)| (entry.name.clone(), calls.figures().to_vec()));
    let bottom = floor.map(|_| (FLOOR.to_owned(), bottom.figures().to_vec()));
    Ok(lines.chain(bottom).collect())
}

/// Tells on stderr how far it is, ten times in all.
pub(super) fn progress(what: &str, round: usize, rounds: usize) {
    let step = rounds.div_ceil(10);
    if round.is_multiple_of(step) {
        eprintln!("hull-bench: {} {what}: {round} of {rounds}", elapsed());
    }
}

/// The time since this was first asked: `3m07s`.
pub(super) fn elapsed() -> String {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let seconds = BEGAN.get_or_init(Instant::now).elapsed().as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}
