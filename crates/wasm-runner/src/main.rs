//! `hull-wasm`: what a Wasm container becomes at the end of its way into the envelope.
//!
//! It runs as the container's user in the container's namespaces, as PID 1 or as an exec'd process,
//! and is handed two descriptors: what to do, and the compiled module. It locks itself in further,
//! runs the guest on its only thread and ends with the guest's exit code; a server of HTTP requests has as many
//! threads as processors, and runs until it is stopped. There is no compiler in
//! it, and nothing of the guest's wishes reaches our C library: arguments and environment are only
//! data here.
//!
//! Exit codes: the guest's own; 124 when its time is up; 134 after a trap; 128 + n when signal n came; 127 when config or
//! artifact cannot be read, 126 when the guest cannot be started, 125 when we ourselves fail.
#![deny(unsafe_code)]

mod aftermath;
mod artifact;
mod call;
mod command;
mod component;
mod failure;
mod files;
mod filter;
mod http;
mod limits;
mod linker;
mod lockdown;
mod module;
mod names;
mod net;
mod random;
mod start;
mod state;
mod stdio;
mod wasi;

use failure::Failure;
use start::Start;

fn main() -> ! {
    std::panic::set_hook(Box::new(|panic| {
        let cause = panic.to_string().replace('\n', " ");
        failure::say(&format!("hull-wasm: internal error: {cause}"));
        hull_sys::process::exit_now(failure::INTERNAL);
    }));
    hull_sys::signal::ignore_children();
    // First of all: as PID 1 nothing else could stop us. What was sent since execve has waited for this.
    let code = match hull_sys::signal::exit_on_signals() {
        Ok(()) => run(),
        Err(errno) => Failure::internal("cannot install signal handlers", errno).report("?"),
    };
    hull_sys::process::exit_now(code)
}

/// Runs the guest; the exit code if that failed.
fn run() -> i32 {
    let start = match Start::take() {
        Ok(start) => start,
        Err(failure) => return failure.report("?"),
    };
    let program = start.config.program.clone();
    match command::run(start) {
        Ok(never) => match never {},
        Err(failure) => failure.report(&program),
    }
}
