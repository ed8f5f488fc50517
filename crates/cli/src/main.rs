//! `hull`: containers without containerd, and a look at what the shim does with a config.
//!
//! Each subcommand is a module with its arguments and one function `run`, which gives the exit code
//! or the one line that says why there is none. Nothing here is a container engine: `run`, `trace`
//! and `compile` start the shim as containerd does and talk to it over its socket.

#![forbid(unsafe_code)]

mod args;
mod cache;
mod check;
mod compile;
mod error;
mod features;
mod guard;
mod host;
mod image;
mod layout;
mod output;
mod plan;
mod processes;
mod run;
mod session;
mod state;
mod stats;
mod terminal;
mod tool;
mod trace;
mod units;

use std::process::ExitCode;

fn main() -> ExitCode {
    let code = args::parse(std::env::args_os()).and_then(|cli| cli.command.run());
    code.unwrap_or_else(|error| error.report())
}
