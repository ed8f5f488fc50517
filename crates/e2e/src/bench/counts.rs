//! What an operation takes in numbers that no neighbour changes: system calls and context switches
//! of everything that a peer runs for it, containers included.
//!
//! The kernel counts them for a cgroup (`crates/e2e/floor/counts.c`), so that processes that are
//! gone count too and nothing is slowed down by being looked at.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account;
use super::bed::Bed;
use super::cell::{Cell, runtime};
use super::floor::Floor;
use super::pod::Pod;
use super::report::{self, Comparison, Figure, Line, Table};
use super::sample::Series;
use super::task::progress;
use super::tool::{self, Tool};
use super::{Plan, Result};
use crate::cgroup;

const WARM_UP: usize = 2;
/// The number of the tracepoint.
const EVENT: &str = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";

/// Both tables; none where the kernel has no tracepoints to count by.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    if !Path::new(EVENT).exists() {
        plan.miss("counts: no tracepoints; mount -t tracefs tracefs /sys/kernel/tracing");
        return Ok(Vec::new());
    }
    let rounds = plan.rounds(20);
    let (tasks, execs) = count(plan, rounds)?;
    let columns = vec!["system calls", "context switches"];
    let how = format!(
        "Median of {rounds}, counted by the kernel for the peer's cgroup: shim, what it starts, and \
         the process itself."
    );
    let table = |id, title: &str, lines| Table {
        row: "counts",
        id,
        title: title.to_owned(),
        how: how.clone(),
        columns: columns.clone(),
        lines,
        comparison: Some(Comparison::Ratio),
    };
    Ok(vec![
        table(
            "counts-task",
            "System calls and context switches of a container of `true` in a shim that runs",
            tasks,
        ),
        table(
            "counts-exec",
            "System calls and context switches of an exec of `true`",
            execs,
        ),
    ])
}

fn count(plan: &Plan, rounds: usize) -> Result<(Vec<Line>, Vec<Line>)> {
    let bed = Bed::make()?;
    let client = runtime()?;
    let program = tool::build("counts")?;
    let mut subjects = Vec::new();
    for peer in &plan.peers {
        let group = Group::open(&bed.cgroup(peer))?;
        let pod = group.inside(|| Pod::start(&bed, peer, &client))??;
        subjects.push((pod, Counter::of(&group, &program)?));
    }
    let group = Group::open(&bed.floor_group())?;
    let mut floor = group.inside(|| Floor::start(&bed))??;
    let mut below = (Counter::of(&group, &program)?, Counts::default());
    let mut series: Vec<[Counts; 2]> = Vec::new();
    series.resize_with(subjects.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("counts", round, WARM_UP + rounds);
        let warm = round >= WARM_UP;
        for ((pod, counter), [tasks, execs]) in subjects.iter_mut().zip(&mut series) {
            let accounts = [pod.account.clone()];
            let cell = Cell::make(&bed, pod.peer, &["true"])?;
            tasks.push(
                warm,
                counter.during(|| {
                    client.block_on(cell.run(&pod.task))?;
                    account::rest(&accounts);
                    Ok(())
                })?,
            );
            cell.remove()?;
            execs.push(
                warm,
                counter.during(|| {
                    client.block_on(pod.cell.exec(&pod.task, &format!("e{round}")))?;
                    account::rest(&accounts);
                    Ok(())
                })?,
            );
        }
        let (counter, counts) = &mut below;
        counts.push(warm, counter.during(|| floor.run().map(drop))?);
    }
    for (pod, _) in subjects {
        pod.end(&client)?;
    }
    let line = |at: usize| {
        let lines = plan.peers.iter().zip(&series);
        lines.filter_map(move |(peer, counts)| Some((peer.name.clone(), counts.get(at)?.figures())))
    };
    let mut tasks: Vec<Line> = line(0).collect();
    tasks.push((report::FLOOR.to_owned(), below.1.figures()));
    Ok((tasks, line(1).collect()))
}

/// The series of both numbers.
#[derive(Debug, Default)]
struct Counts {
    calls: Series,
    switches: Series,
}

impl Counts {
    fn push(&mut self, warm: bool, [calls, switches]: [f64; 2]) {
        if warm {
            self.calls.push(calls);
            self.switches.push(switches);
        }
    }

    fn figures(&self) -> Vec<Figure> {
        vec![Figure::from(&self.calls), Figure::from(&self.switches)]
    }
}

/// What counts for one group.
#[derive(Debug)]
struct Counter(Tool);

impl Counter {
    fn of(group: &Group, program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg(&group.dir).arg(EVENT);
        Ok(Self(Tool::start(command)?))
    }

    /// System calls and context switches while `operation` ran.
    fn during(&mut self, operation: impl FnOnce() -> Result<()>) -> Result<[f64; 2]> {
        let before: [u64; 2] = self.0.ask()?;
        operation()?;
        let after: [u64; 2] = self.0.ask()?;
        let [calls, switches] = [0, 1].map(|at: usize| {
            let number = |counts: &[u64; 2]| counts.get(at).copied().unwrap_or_default();
            let count = number(&after).saturating_sub(number(&before));
            u32::try_from(count).map_or(f64::NAN, f64::from)
        });
        Ok([calls, switches])
    }
}

/// A cgroup by which perf events are counted: of the v1 controller if it is mounted, of the unified
/// hierarchy otherwise ([perf_event_open(2)](https://man7.org/linux/man-pages/man2/perf_event_open.2.html)).
#[derive(Debug)]
struct Group {
    dir: PathBuf,
    home: PathBuf,
}

impl Group {
    /// The group at this path from the root of the hierarchy; made if it is not there.
    fn open(path: &str) -> Result<Self> {
        let hierarchies = cgroup::hierarchies();
        let v1 = hierarchies
            .iter()
            .find(|one| one.controllers.iter().any(|name| name == "perf_event") && !one.unified);
        let hierarchy = v1.or_else(|| hierarchies.iter().find(|one| one.unified));
        let hierarchy = hierarchy.ok_or("no cgroup hierarchy counts perf events")?;
        let mark = if hierarchy.unified {
            "::"
        } else {
            ":perf_event:"
        };
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let home = own.lines().find_map(|line| Some(line.split_once(mark)?.1));
        let below = |path: &str| hierarchy.mount_point.join(path.trim_start_matches('/'));
        let dir = below(path);
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self {
            dir,
            home: below(home.unwrap_or("/")),
        })
    }

    /// Calls `start` with this process in a leaf of the group: what it starts is born there.
    fn inside<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        let leaf = self.dir.join(account::LEAF);
        fs::create_dir_all(&leaf)?;
        fs::write(leaf.join("cgroup.procs"), "0")?;
        let started = start();
        fs::write(self.home.join("cgroup.procs"), "0")?;
        Ok(started)
    }
}
