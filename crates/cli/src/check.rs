//! `hull check`: whether this machine can run containers with hull, and what to do where it cannot.

mod binaries;
mod cgroup;
mod containerd;
mod containerd_config;
mod containerd_process;
mod filesystem;
mod isolation;
mod item;
mod kernel;
mod report;
mod store;

use crate::error::Error;
use crate::layout::Screen;
use crate::output;
use item::{Item, Status};
use serde::Serialize;
use std::process::ExitCode;

/// Something is missing without which containers do not run.
const MISSING: u8 = 1;

/// Arguments of `hull check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is changed on the machine. Without root some things cannot be looked at;
they are marked \"?\".
Exit code: 0, or 1 where something fails.")]
pub(crate) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Items that belong together.
#[derive(Debug, Serialize)]
struct Group {
    name: &'static str,
    items: Vec<Item>,
}

/// Everything that was looked at.
#[derive(Debug, Serialize)]
struct Findings {
    groups: Vec<Group>,
    ok: usize,
    warn: usize,
    fail: usize,
    unknown: usize,
}

/// Looks at the machine and prints what was found.
///
/// # Errors
/// When that cannot be printed.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Error> {
    let findings = look();
    if args.json {
        output::print_json(&findings)?;
    } else {
        output::print(&report::text(&findings, &Screen::of_stdout()))?;
    }
    if findings.fail == 0 {
        Ok(ExitCode::SUCCESS)
    } else {
        Ok(ExitCode::from(MISSING))
    }
}

fn look() -> Findings {
    let group = |name, items| Group { name, items };
    // The kernel first: it asks for a process without other threads.
    Findings::of(vec![
        group("kernel", kernel::items()),
        group("cgroups", cgroup::items()),
        group("isolation", isolation::items()),
        group("file systems", filesystem::items()),
        group("hull", binaries::items()),
        group("artifact store", store::items()),
        group("containerd", containerd::items()),
    ])
}

impl Findings {
    fn of(groups: Vec<Group>) -> Self {
        let count = |status: Status| {
            let items = groups.iter().flat_map(|group| &group.items);
            items.filter(|item| item.status == status).count()
        };
        let (ok, warn) = (count(Status::Ok), count(Status::Warn));
        let (fail, unknown) = (count(Status::Fail), count(Status::Unknown));
        Self {
            groups,
            ok,
            warn,
            fail,
            unknown,
        }
    }
}
