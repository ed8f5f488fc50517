//! A guest that runs once and ends: the order of all that happens to it.

use crate::aftermath::Aftermath;
use crate::artifact::{Artifact, Guest};
use crate::failure::{self, Failure, TIMED_OUT};
use crate::start::{self, Start};
use crate::{component, http, limits, lockdown, module};
use hull_abi::{Entry, RunnerConfig, WasmSettings};
use hull_sys::{alarm, memory, process};
use std::convert::Infallible;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use wasmtime::{AsContextMut, Config, Engine, Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Runs the guest on this thread and ends the process with its exit code.
pub(crate) fn run(start: Start) -> Result<Infallible, Failure> {
    let Start {
        config,
        artifact,
        metrics,
    } = start;
    memory::limit_heap();
    if config.entry != Entry::Http {
        limit_time(&config)?;
    }
    process::set_name(&start::process_name(&config.args))
        .map_err(|errno| Failure::internal("cannot set the process name", errno))?;
    lockdown::privileges()?;
    limits::open_files()?;

    let engine = Engine::new(&engine_config(&config.settings))
        .map_err(|error| Failure::internal("cannot make the engine", error))?;
    let artifact = Artifact::of(artifact)?;
    match artifact.load(&engine)? {
        Guest::Component(loaded) if config.entry == Entry::Http => {
            http::run(loaded.component, artifact, config, metrics)
        }
        Guest::Component(loaded) => {
            drop(artifact);
            component::run(&engine, &loaded, &config, &event_loop()?)
        }
        Guest::Module(module) => {
            drop(artifact);
            module::run(&engine, &module, &config, &event_loop()?)
        }
    }
}

/// Ends the process when the time is up that an annotation gives it, whatever it is doing then. Servers, which
/// have other deadlines too, see to it themselves.
fn limit_time(config: &RunnerConfig) -> Result<(), Failure> {
    let Some(time) = config.settings.timeout_ms.map(Duration::from_millis) else {
        return Ok(());
    };
    let program = &config.program;
    let words = format!("hull-wasm: {program}: it has run for {time:?}, its time limit");
    alarm::exit_after(time, TIMED_OUT, failure::line(&words).into_bytes())
        .map_err(|errno| Failure::internal("cannot set the time limit", errno))
}

/// The engine takes whatever the compiler may have been asked to take; what annotations change about it is
/// no part of an artifact.
pub(crate) fn engine_config(settings: &WasmSettings) -> Config {
    let mut config = hull_wasm_engine::config();
    for (_, switch_on) in hull_wasm_engine::ON_REQUEST {
        switch_on(&mut config);
    }
    if let Some(stack) = settings.stack.and_then(|bytes| usize::try_from(bytes).ok()) {
        config
            .max_wasm_stack(stack)
            .async_stack_size(stack.saturating_add(hull_wasm_engine::WASM_STACK));
    }
    config.coredump_on_trap(settings.coredump.is_some());
    config
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
pub(crate) fn end(
    result: wasmtime::Result<i32>,
    aftermath: &Aftermath,
    store: impl AsContextMut,
) -> ! {
    let code = match result {
        Ok(code) => code,
        Err(error) => match error.downcast_ref::<I32Exit>() {
            Some(&I32Exit(code)) => code,
            None => aftermath.trap(&error, store),
        },
    };
    process::exit_now(code & 0xff)
}

/// The guest could not be made: for `refusal`, what its limits refused, or for another reason. Ends the
/// process if that was a trap, of a start function that is.
pub(crate) fn not_instantiated(
    refusal: Option<String>,
    error: Error,
    aftermath: &Aftermath,
    store: impl AsContextMut,
) -> Failure {
    if let Some(refusal) = refusal {
        return Failure::not_runnable("cannot make its memory", refusal);
    }
    if error.is::<Trap>() || error.is::<WasmBacktrace>() {
        end(Err(error), aftermath, store);
    }
    Failure::not_runnable("cannot instantiate it", error)
}

#[cfg(test)]
mod tests {
    use hull_abi::Proposal;

    #[test]
    fn whoever_asks_for_a_proposal_gets_it() {
        let known = hull_wasm_engine::ON_REQUEST.map(|(name, _)| name);
        assert_eq!(known, Proposal::ALL.map(Proposal::name));
    }
}
