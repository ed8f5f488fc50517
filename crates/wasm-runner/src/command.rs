//! A guest that runs once and ends: the order of all that happens to it.

use crate::artifact::{self, Guest};
use crate::failure::{Failure, report_trap};
use crate::limits::Limits;
use crate::start::{self, Start};
use crate::{component, lockdown, module};
use hull_sys::{memory, process};
use std::convert::Infallible;
use tokio::runtime::{Builder, Runtime};
use wasmtime::{Engine, Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Runs the guest on this thread and ends the process with its exit code.
pub(crate) fn run(start: Start) -> Result<Infallible, Failure> {
    let Start { config, artifact } = start;
    memory::limit_heap();
    process::set_name(&start::process_name(&config.args))
        .map_err(|errno| Failure::internal("cannot set the process name", errno))?;
    lockdown::privileges()?;

    let engine = Engine::new(&hull_wasm_engine::config())
        .map_err(|error| Failure::internal("cannot make the engine", error))?;
    let guest = artifact::load(&engine, artifact)?;
    let runtime = event_loop()?;
    match guest {
        Guest::Module(module) => module::run(&engine, &module, &config, &runtime),
        Guest::Component(component) => component::run(&engine, &component, &config, &runtime),
    }
}

/// The event loop that the guest runs in, on this thread. Only its own `block_on` drives clocks and
/// streams, so the guest's calls are asynchronous and the guest has a stack of its own, whatever
/// `RLIMIT_STACK` says.
fn event_loop() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| Failure::internal("cannot make the event loop", error))
}

/// The guest has ended, by returning, by calling exit, or by a trap. Nothing is buffered, so the
/// process ends at once: taking a guest apart only costs time.
pub(crate) fn end(result: wasmtime::Result<i32>) -> ! {
    let code = match result {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(&I32Exit(code)) => code,
            None => report_trap(&error),
        },
    };
    process::exit_now(code & 0xff)
}

/// The guest could not be made. Ends the process if that was a trap, of a start function that is.
pub(crate) fn not_instantiated(limits: &Limits, error: Error) -> Failure {
    if let Some(refusal) = limits.refusal() {
        return Failure::not_runnable("cannot make its memory", refusal);
    }
    if error.is::<Trap>() || error.is::<WasmBacktrace>() {
        end(Err(error));
    }
    Failure::not_runnable("cannot instantiate it", error)
}
