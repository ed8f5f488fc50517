//! Core modules: WASI preview 1, `_start`.

use crate::command::{end, not_instantiated};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::{lockdown, wasi};
use hull_abi::RunnerConfig;
use hull_sys::process;
use std::convert::Infallible;
use tokio::runtime::Runtime;
use wasmtime::{Engine, Linker, Module, Store};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

/// What host functions work on.
struct State {
    wasi: WasiP1Ctx,
    limits: Limits,
}

/// Runs `_start` and ends the process.
pub(crate) fn run(
    engine: &Engine,
    module: &Module,
    config: &RunnerConfig,
    runtime: &Runtime,
) -> Result<Infallible, Failure> {
    if module.get_export("_start").is_none() {
        return Err(Failure::not_runnable(
            "it is no command",
            "it does not export the function `_start`",
        ));
    }
    let state = State {
        wasi: wasi::context(config)?.build_p1(),
        limits: Limits::new(config.memory_limit, 0),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    let linker = linker(engine).map_err(|error| Failure::internal("cannot offer WASI", error))?;
    let linked = linker
        .instantiate_pre(module)
        .map_err(|error| Failure::not_runnable("cannot link it", error))?;

    // From here on it is the guest's turn: a module may have a start function.
    lockdown::system_calls()?;
    runtime.block_on(async {
        let instance = match linked.instantiate_async(&mut store).await {
            Ok(instance) => instance,
            Err(error) => return Err(not_instantiated(&store.data().limits, error)),
        };
        let start = instance
            .get_typed_func::<(), ()>(&mut store, "_start")
            .map_err(|error| Failure::not_runnable("cannot call `_start`", error))?;
        end(start.call_async(&mut store, ()).await.map(|()| 0))
    })
}

/// The functions of preview 1.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    p1::add_to_linker_async(&mut linker, |state: &mut State| &mut state.wasi)?;
    // Theirs takes no exit code above 125.
    linker.allow_shadowing(true);
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| -> () {
        process::exit_now(code & 0xff)
    })?;
    Ok(linker)
}
