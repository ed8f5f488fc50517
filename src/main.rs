//! containerd shim v2 that runs native and Wasm containers with its own engine.
//!
//! containerd starts this binary as `start` and `delete`; `start` starts it again as `daemon`, and the
//! daemon as `launcher`. The four share nothing but their code.
#![forbid(unsafe_code)]

mod args;
mod bootstrap;
mod bundle;
mod container;
mod daemon;
mod delete;
mod error;
mod events;
mod fault;
mod info;
mod launch;
mod lifecycle;
mod log;
mod metrics;
mod observe;
mod options;
mod process;
mod registry;
mod sandbox;
mod server;
mod service;
mod start;
mod state_file;
mod stdio;
mod trace;
mod turn;
mod wasm;

use args::Command;
use error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // containerd shows what `start` and `delete` write here to its client.
            #[expect(
                clippy::print_stderr,
                reason = "this is how a shim reports its failure"
            )]
            {
                eprintln!("{}", error.line());
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    // Nothing but the standard streams is for us, whoever started us left open what.
    hull_sys::fd::close_all_except(&[])
        .map_err(|e| Error::host("close inherited descriptors", e))?;
    match args::parse(std::env::args_os().skip(1), |name| std::env::var_os(name))? {
        Command::Version => start::print(info::version().as_bytes()),
        Command::Info => start::print(&info::info()?),
        Command::Start(args) => start::start(&args),
        Command::Delete(args) => delete::delete(&args),
        Command::Daemon(args) => daemon::run(&args),
        Command::Launcher => {
            hull_launcher::server::serve().map_err(|e| Error::host("run the launcher", e))
        }
    }
}
