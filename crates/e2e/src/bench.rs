//! The benchmark behind `make bench`: hull beside containerd's own runc shims, in one run.
//!
//! The peers take turns (A B A B …), each operation is followed by a quiet gap, and every figure is
//! a median with its p99. Wall time is what a client waits; CPU time is what a cgroup of the peer's
//! own was charged (`account`), so that children of children count too. Two yardsticks take their
//! turns with them: a shim that runs nothing (`crates/null-shim`), and the kernel alone (`floor`).
//!
//! Targets and budgets stand in `docs/performance.md` and are read from there (`summary`).

#![expect(
    clippy::print_stdout,
    reason = "the report is printed; everything else is progress on stderr"
)]

use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;

mod account;
mod bed;
mod budget;
mod cell;
mod chart;
mod check;
mod counts;
mod cri;
mod crowd;
mod ctr;
mod docs;
mod exec;
mod floor;
mod full;
mod http;
mod machine;
mod measure;
mod memory;
mod parallel;
mod peer;
mod pod;
mod report;
mod sample;
mod size;
mod soak;
mod stdout;
mod summary;
mod task;
mod tool;
mod wasm;

use peer::Peer;
use report::{Report, Table};
use summary::Budgets;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// When a row is measured without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// With `--all`: it takes long.
    All,
}

/// A row of the benchmark: its name on the command line, and what measures it.
type Row = (&'static str, When, fn(&Plan) -> Result<Vec<Table>>);

const ROWS: [Row; 20] = [
    ("size", When::Always, size::measure),
    ("task", When::Always, task::measure),
    ("full", When::Always, full::measure),
    ("exec", When::Always, exec::measure),
    ("counts", When::Always, counts::measure),
    ("memory", When::Always, memory::measure),
    ("stdout", When::Always, stdout::measure),
    ("parallel", When::Always, parallel::measure),
    ("wasm", When::Always, wasm::measure),
    ("wasm-cold", When::Always, wasm::cold::measure),
    ("wasm-memory", When::Always, wasm::memory::measure),
    ("wasm-parallel", When::Always, wasm::parallel::measure),
    ("wasm-process", When::Always, wasm::process::measure),
    ("http", When::Always, http::measure),
    ("ctr", When::Always, ctr::measure),
    ("ctr-newest", When::Always, ctr::measure_newest),
    ("cri", When::All, cri::measure),
    ("crowd", When::All, crowd::measure),
    ("wasm-large", When::All, wasm::large::measure),
    ("execs-soak", When::All, soak::measure),
];

const USAGE: &str = "usage: hull-bench [--percent N] [--all] [--check] [--docs] [ROW…]
  --percent N   of the usual number of rounds; 100 unless told, 20 with --check
  --all         the rows that take long as well: cri crowd wasm-large execs-soak
  --check       run what has a budget in docs/performance.md; exit status 1 if one is passed
  --docs        put the figures and charts into docs/
  ROW           size task full exec counts memory stdout parallel
                wasm wasm-cold wasm-memory wasm-parallel wasm-process http
                ctr ctr-newest cri crowd wasm-large execs-soak; all but the last four unless told";

/// What is measured in this run, and how often.
#[derive(Debug, Default)]
struct Plan {
    peers: Vec<Peer>,
    percent: usize,
    rows: Vec<String>,
    all: bool,
    check: bool,
    docs: bool,
    /// What rows could not measure.
    gaps: RefCell<Vec<String>>,
}

impl Plan {
    /// Ours, the first of the peers.
    fn hull(&self) -> Result<&Peer> {
        Ok(self.peers.first().ok_or("hull is not among the peers")?)
    }

    /// The peers that run containers: all but the null shim.
    fn rivals(&self) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(|peer| peer.key != peer::NULL)
    }

    /// The number of rounds for a row that usually takes `usual`.
    fn rounds(&self, usual: usize) -> usize {
        (usual * self.percent / 100).max(3)
    }

    /// Whether a row is to be measured.
    fn is_wanted(&self, row: &str) -> bool {
        if !self.rows.is_empty() {
            return self.rows.iter().any(|wanted| wanted == row);
        }
        self.all
            || ROWS
                .iter()
                .any(|(name, when, _)| *name == row && *when == When::Always)
    }

    /// Tells of something that cannot be measured here, and what would help.
    fn miss(&self, gap: impl Into<String>) {
        self.gaps.borrow_mut().push(gap.into());
    }
}

/// Runs the benchmark as the command line says.
pub fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.as_slice() {
        [verb, addr] if verb == http::bare::VERB => http::bare::serve(addr).map(|()| true),
        _ => return measured(words),
    };
    told(done)
}

/// Measures what the command line names.
fn measured(words: Vec<String>) -> ExitCode {
    let Some(plan) = parse(words.into_iter()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    told(run(plan))
}

fn told(done: Result<bool>) -> ExitCode {
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hull-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan::default();
    let mut percent = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--percent" => percent = Some(args.next()?.parse().ok()?),
            "--all" => plan.all = true,
            "--check" => plan.check = true,
            "--docs" => plan.docs = true,
            row if ROWS.iter().any(|(name, ..)| *name == row) => plan.rows.push(arg),
            _ => return None,
        }
    }
    plan.percent = percent.unwrap_or(if plan.check { 20 } else { 100 });
    Some(plan)
}

/// Gives whether all budgets hold, as far as they were looked at.
fn run(mut plan: Plan) -> Result<bool> {
    let budgets = Budgets::read()?;
    let (peers, missing) = peer::discover();
    if peers.first().is_none_or(|peer| peer.key != peer::HULL) {
        return Err(missing.join("; ").into());
    }
    plan.peers = peers;
    let mut report = Report::new(machine::describe(&plan.peers));
    for gap in missing {
        report.miss(gap);
    }
    if plan.check {
        return check::run(&plan, &mut report, &budgets);
    }
    for (name, ..) in ROWS.iter().filter(|(name, ..)| plan.is_wanted(name)) {
        for table in run_row(&plan, &mut report, name)? {
            println!("{}", table.markdown());
            report.add(table);
        }
        // After each row, so that a failure of a later one loses nothing.
        report.write(&budgets)?;
    }
    println!("## Summary\n\n{}", budgets.measured(report.tables()));
    let dir = report::dir();
    eprintln!(
        "hull-bench: load {}, report in {}",
        machine::load(),
        dir.display()
    );
    if plan.docs {
        docs::update(&report, &budgets, plan.rows.is_empty())?;
    }
    Ok(true)
}

/// Measures one row.
fn run_row(plan: &Plan, report: &mut Report, row: &str) -> Result<Vec<Table>> {
    eprintln!(
        "hull-bench: {} {row}, load {}",
        task::elapsed(),
        machine::load()
    );
    let (.., measure) = ROWS
        .iter()
        .find(|(name, ..)| *name == row)
        .ok_or("no such row")?;
    let tables = measure(plan).map_err(|error| format!("{row}: {error}"))?;
    for gap in plan.gaps.take() {
        report.miss(gap);
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<Plan> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn long_rows_run_only_when_they_are_named_or_all_are_wanted() {
        let wanted = |line: &str| parsed(line).unwrap().is_wanted("crowd");
        assert_eq!(
            ["", "exec", "crowd", "--all"].map(wanted),
            [false, false, true, true]
        );
        assert!(parsed("").unwrap().is_wanted("exec"));
    }

    #[test]
    fn a_check_is_shorter_unless_told_otherwise() {
        let percent = |line: &str| parsed(line).map(|plan| plan.percent);
        assert_eq!(percent(""), Some(100));
        assert_eq!(percent("--check"), Some(20));
        assert_eq!(percent("--check --percent 50 exec"), Some(50));
        assert_eq!(percent("--percent"), None);
        assert_eq!(percent("rowing"), None);
    }

    #[test]
    fn every_measure_belongs_to_a_row() {
        for measure in &measure::MEASURES {
            let known = ROWS.iter().any(|(name, ..)| *name == measure.row);
            assert!(known, "{}: no row {}", measure.name, measure.row);
        }
    }
}
