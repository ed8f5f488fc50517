//! A container of `true` over a ttrpc client, in a shim of its own and in one that runs already.

use tokio::runtime::Runtime;

use super::account::{self, Account};
use super::bed::Bed;
use super::cell::{Cell, Times, runtime};
use super::peer::Peer;
use super::report::{Figure, Table};
use super::sample::Series;
use super::{Plan, Result};

const WARM_UP: usize = 3;

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    Ok(vec![alone(plan)?, in_pod(plan)?])
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
    pub(super) fn push_cpu(&mut self, account: &Account, before: std::time::Duration) {
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

fn alone(plan: &Plan) -> Result<Table> {
    let rounds = plan.rounds(100);
    let bed = Bed::make()?;
    let client = runtime()?;
    let mut series: Vec<(Series, Series, Calls)> = Vec::new();
    series.resize_with(plan.peers.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("lone containers", round, WARM_UP + rounds);
        for (peer, (started, deleted, calls)) in plan.peers.iter().zip(&mut series) {
            let cell = Cell::make(&bed, peer, ["true"])?;
            let account = bed.account(peer)?;
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
    let lines = plan.peers.iter().zip(&series);
    let lines = lines.map(|(peer, (started, deleted, calls))| {
        let mut figures = vec![Figure::from(started)];
        figures.extend(calls.figures());
        figures.insert(6, Figure::from(deleted));
        (peer.name.clone(), figures)
    });
    Ok(Table {
        row: "task",
        title: "A lone container of `true`, a shim of its own".to_owned(),
        how: format!(
            "ms, median of {rounds}. Without containerd, ctr's default spec, busybox on overlay, \
             FIFOs for stdout and stderr. CPU is of the whole life, `start`, Shutdown and the \
             `delete` action included."
        ),
        columns: vec![
            "`start`",
            "Create",
            "Start",
            "exit",
            "Delete",
            "sum of the four",
            "`delete`",
            "CPU",
        ],
        lines: lines.collect(),
    })
}

fn in_pod(plan: &Plan) -> Result<Table> {
    let rounds = plan.rounds(100);
    let bed = Bed::make()?;
    let client = runtime()?;
    let mut pods = Vec::new();
    for peer in &plan.peers {
        pods.push(Pod::start(&bed, peer, &client)?);
    }
    let mut series: Vec<Calls> = Vec::new();
    series.resize_with(plan.peers.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("containers of a running shim", round, WARM_UP + rounds);
        for (pod, calls) in pods.iter().zip(&mut series) {
            let cell = Cell::make(&bed, pod.peer, ["true"])?;
            let before = pod.account.used();
            let times = client.block_on(cell.run(&pod.task))?;
            account::rest(std::slice::from_ref(&pod.account));
            if round >= WARM_UP {
                calls.push(times);
                calls.push_cpu(&pod.account, before);
            }
            cell.remove()?;
        }
    }
    for pod in pods {
        pod.end(&client)?;
    }
    let lines = plan.peers.iter().zip(&series);
    Ok(Table {
        row: "task",
        title: "A container of `true` in a shim that runs".to_owned(),
        how: format!(
            "ms, median of {rounds}. The same over one persistent client, in a shim that has \
             another container already. CPU is of shim, what it starts, and container."
        ),
        columns: vec!["Create", "Start", "exit", "Delete", "sum", "CPU"],
        lines: lines
            .map(|(peer, calls)| (peer.name.clone(), calls.figures().to_vec()))
            .collect(),
    })
}

/// A shim with a container that stays, and a client of it.
pub(super) struct Pod<'bed> {
    pub(super) peer: &'bed Peer,
    pub(super) cell: Cell<'bed>,
    pub(super) task: hull_client::Task,
    pub(super) account: Account,
    pub(super) address: String,
    /// The init's pid.
    pub(super) init: u32,
    /// The shim's pid.
    pub(super) shim: u32,
}

impl<'bed> Pod<'bed> {
    pub(super) fn start(bed: &'bed Bed, peer: &'bed Peer, client: &Runtime) -> Result<Self> {
        let cell = Cell::make(bed, peer, ["sleep", "1000000"])?;
        let (address, _) = cell.start_shim()?;
        let (task, init, shim) = client.block_on(async {
            let task = cell.connect(&address).await?;
            let init = cell.launch(&task).await?;
            let shim = task.connect_task(&cell.id).await?.shim_pid;
            Result::Ok((task, init, shim))
        })?;
        Ok(Self {
            peer,
            account: bed.account(peer)?,
            cell,
            task,
            address,
            init,
            shim,
        })
    }

    pub(super) fn end(self, client: &Runtime) -> Result<()> {
        client.block_on(async {
            self.cell.end(&self.task).await?;
            self.cell.retire(&self.task).await?;
            Ok(())
        })
    }
}

/// Tells on stderr how far it is, ten times in all.
pub(super) fn progress(what: &str, round: usize, rounds: usize) {
    let step = rounds.div_ceil(10);
    if round.is_multiple_of(step) {
        eprintln!("hull-bench: {what}: {round} of {rounds}");
    }
}
