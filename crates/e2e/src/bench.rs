//! The benchmark behind `make bench`: hull beside containerd's own runc shims, in one run.
//!
//! The peers take turns (A B A B …), each operation is followed by a quiet gap, and every figure is
//! a median with its p99. Wall time is what a client waits; CPU time is what a cgroup of the peer's
//! own was charged (`account`), so that children of children count too.
//!
//! Not here: judgement of whether a figure is good. The targets stand beside the figures; what it
//! would take to reach one is said in `docs/performance.md`.

#![expect(
    clippy::print_stdout,
    reason = "the report is printed; everything else is progress on stderr"
)]

use std::error::Error;
use std::process::ExitCode;

mod account;
mod bed;
mod cell;
mod ctr;
mod exec;
mod machine;
mod memory;
mod parallel;
mod peer;
mod pod;
mod report;
mod sample;
mod size;
mod stdout;
mod task;
mod wasm;

use peer::Peer;
use report::{Report, Table};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A row of the benchmark: its name on the command line, and what measures it.
type Row = (&'static str, fn(&Plan) -> Result<Vec<Table>>);

const ROWS: [Row; 13] = [
    ("size", size::measure),
    ("task", task::measure),
    ("exec", exec::measure),
    ("memory", memory::measure),
    ("stdout", stdout::measure),
    ("parallel", parallel::measure),
    ("wasm", wasm::measure),
    ("wasm-cold", wasm::cold::measure),
    ("wasm-memory", wasm::memory::measure),
    ("wasm-parallel", wasm::parallel::measure),
    ("wasm-process", wasm::process::measure),
    ("ctr", ctr::measure),
    ("ctr-newest", ctr::measure_newest),
];

const USAGE: &str = "usage: hull-bench [--percent N] [ROW…]
  --percent N   of the usual number of rounds; 100 unless told
  ROW           size task exec memory stdout parallel
                wasm wasm-cold wasm-memory wasm-parallel wasm-process
                ctr ctr-newest; all unless told";

/// What is measured in this run, and how often.
#[derive(Debug)]
struct Plan {
    peers: Vec<Peer>,
    percent: usize,
    rows: Vec<String>,
}

impl Plan {
    /// Ours, the first of the peers.
    fn hull(&self) -> Result<&Peer> {
        Ok(self.peers.first().ok_or("hull is not among the peers")?)
    }

    /// The number of rounds for a row that usually takes `usual`.
    fn rounds(&self, usual: usize) -> usize {
        (usual * self.percent / 100).max(3)
    }
}

/// Runs the benchmark as the command line says.
pub fn main() -> ExitCode {
    let Some(plan) = parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match run(&plan) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hull-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<Plan> {
    let (mut percent, mut rows) = (100, Vec::new());
    while let Some(arg) = args.next() {
        if arg == "--percent" {
            percent = args.next()?.parse().ok()?;
        } else if ROWS.iter().any(|(name, _)| *name == arg) {
            rows.push(arg);
        } else {
            return None;
        }
    }
    Some(Plan {
        peers: Vec::new(),
        percent,
        rows,
    })
}

fn run(plan: &Plan) -> Result<()> {
    let (peers, missing) = peer::discover();
    if peers.first().is_none_or(|peer| peer.key != "hull") {
        return Err(missing.join("; ").into());
    }
    let plan = Plan {
        peers,
        percent: plan.percent,
        rows: plan.rows.clone(),
    };
    let mut report = Report::new(machine::describe(&plan.peers), missing);
    for (name, measure) in ROWS {
        if !plan.rows.is_empty() && !plan.rows.iter().any(|row| row == name) {
            continue;
        }
        eprintln!("hull-bench: {name}, load {}", machine::load());
        for table in measure(&plan).map_err(|error| format!("{name}: {error}"))? {
            println!("{}", table.markdown());
            report.add(table);
        }
        // After each row, so that a failure of a later one loses nothing.
        report.write()?;
    }
    eprintln!(
        "hull-bench: load {}, report in {}",
        machine::load(),
        report::dir().display()
    );
    Ok(())
}
