//! Runs a command and says what it has changed of the machine for good: nothing, if it is a test suite.
//!
//! `hull-footprint COMMAND [ARGS…]`: exits as the command does, or with 1 and one line for each change if
//! that succeeded. For a machine on which nothing else changes.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stderr,
    reason = "a tool for people, which leaves stdout to its command"
)]

use std::env;
use std::process::{Command, ExitCode};
use std::time::Duration;

use hull_e2e::footprint::Footprint;
use hull_e2e::time::look_until;

/// How long what ends on its own may take after the command.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let Some(program) = args.next() else {
        eprintln!("usage: hull-footprint COMMAND [ARGS...]");
        return ExitCode::from(2);
    };
    let before = Footprint::take();
    let status = match Command::new(&program).args(args).status() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("hull-footprint: run {program:?}: {error}");
            return ExitCode::from(127);
        }
    };
    let mut changes = Vec::new();
    look_until(SETTLE_LIMIT, || {
        changes = before.changes(&Footprint::take());
        changes.is_empty().then_some(())
    });
    for change in &changes {
        eprintln!("hull-footprint: {change}");
    }
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(0) if changes.is_empty() => ExitCode::SUCCESS,
        Some(code) if code != 0 => ExitCode::from(code),
        Some(_) | None => ExitCode::FAILURE,
    }
}
