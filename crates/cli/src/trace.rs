//! `hull trace`: where the time of a container goes, seen by its client and by the shim.

mod split;

use std::process::ExitCode;

use clap::Args;

use crate::error::Error;
use crate::layout::Screen;
use crate::run::{ContainerArgs, To, Wanted};
use crate::session::{self, Ended};
use crate::{host, output};
use split::Split;

const EXAMPLES: &str = "\
Examples:
  hull trace --rootfs ./busybox -- true
  hull trace --runs 20 --json app.wasm

The split goes to standard output; the container's own output goes to standard error. Times are in
milliseconds, counted from the moment at which Create was sent; a step of Create lasts until the next one
begins, whichever process that is in. The first run of a Wasm module compiles it.";

/// Runs a container as hull run does and shows where the time went.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    override_usage = "hull trace [OPTIONS] APP.wasm [-- ARGS...]\n       \
                      hull trace [OPTIONS] --rootfs DIR -- COMMAND [ARGS...]"
)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    container: ContainerArgs,

    /// Run it so many times and show the medians.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the container and prints the split; gives the first exit code that is not 0.
///
/// # Errors
/// As `hull run`; when the shim kept no record, which an older one does not.
pub(crate) fn run(args: &TraceArgs) -> Result<ExitCode, Error> {
    let wanted = Wanted::new("trace", &args.container)?
        .traced()
        .with_output(To::Stderr);
    host::require_root("trace")?;
    host::enter_private_mounts()?;
    let mut ended = Vec::new();
    for _ in 0..args.runs {
        let run = session::run(&wanted)?;
        // The container had it first; there is nobody to pass the next one on to.
        if let Some(signal) = run.interrupted.filter(|_| args.runs > 1) {
            return Err(Error::signalled(signal as i32));
        }
        ended.push(run);
    }
    let split = Split::of(&ended);
    if split.create.is_none() {
        output::warn(&missing());
    }
    if args.json {
        output::print_json(&split)?;
    } else {
        output::print(&split.table(Screen::of_stdout()))?;
    }
    let codes = ended.iter().map(|ended| ended.code);
    let code = codes
        .into_iter()
        .find(|code| *code != 0)
        .unwrap_or_default();
    Ok(ExitCode::from(code))
}

/// Writes the split of one run to standard error.
pub(crate) fn tell(ended: &Ended) {
    let split = Split::of(std::slice::from_ref(ended));
    if split.create.is_none() {
        output::warn(&missing());
    }
    output::tell(&split.table(Screen::endless()));
}

fn missing() -> String {
    format!(
        "trace: the shim left no {}: it is older than this hull; only the client's times follow",
        hull_abi::TRACE_FILE
    )
}
