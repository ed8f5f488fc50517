//! Core modules with WASI preview 1: `_start`, or one of their functions.

use crate::aftermath::Aftermath;
use crate::command::{end, not_instantiated};
use crate::failure::Failure;
use crate::filter::{Calls, Sockets};
use crate::limits::Limits;
use crate::net::Network;
use crate::{call, lockdown, random, wasi};
use hull_abi::{Entry, Net, RunnerConfig};
use hull_sys::process;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::runtime::Runtime;
use wasmtime::{Engine, ExternType, Instance, Linker, Module, Store, Val};
use wasmtime_wasi::p1::{self, WasiP1Ctx};

/// Where a command begins.
const START: &str = "_start";
/// What libraries export that have something to set up before anything else of theirs is called
/// (<https://github.com/WebAssembly/WASI/blob/main/legacy/application-abi.md>).
const INITIALIZE: &str = "_initialize";

/// What host functions work on.
struct State {
    wasi: WasiP1Ctx,
    limits: Limits,
}

/// The function that is called.
struct Start<'a> {
    name: &'a str,
    arguments: Vec<Val>,
    results: usize,
    /// Whether something has to be called before it.
    initialize: bool,
}

/// Runs what the config names and ends the process.
pub(crate) fn run(
    engine: &Engine,
    module: &Module,
    config: &RunnerConfig,
    runtime: &Runtime,
) -> Result<Infallible, Failure> {
    let start = start(module, config)?;
    let aftermath = Aftermath::prepare(config)?;
    // Preview 1 makes no sockets.
    let network = Arc::new(Network::new(Net::None));
    let state = State {
        wasi: wasi::context(config, &network)?.build_p1(),
        limits: Limits::new(config, 0),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    let linker = linker(engine).map_err(|error| Failure::internal("cannot offer WASI", error))?;
    let linked = linker
        .instantiate_pre(module)
        .map_err(|error| Failure::not_runnable("cannot link it", error))?;

    // From here on it is the guest's turn: a module may have a start function.
    lockdown::system_calls(Calls::Command, Sockets::None)?;
    runtime.block_on(async {
        match linked.instantiate_async(&mut store).await {
            Ok(instance) => {
                let result = call(&mut store, &instance, &start).await;
                end(result, &aftermath, &mut store)
            }
            Err(error) => {
                let refusal = store.data().limits.refusal();
                Err(not_instantiated(refusal, error, &aftermath, &mut store))
            }
        }
    })
}

fn start<'a>(module: &Module, config: &'a RunnerConfig) -> Result<Start<'a>, Failure> {
    let function = |name| match module.get_export(name) {
        Some(ExternType::Func(function)) => Ok(function),
        Some(_) | None => {
            let cause = format!("it does not export the function {name:?}");
            Err(Failure::not_runnable("cannot call it", cause))
        }
    };
    let Entry::Function(name) = &config.entry else {
        let start = function(START)?;
        let is_command = start.params().len() == 0 && start.results().len() == 0;
        let missing = || Failure::not_runnable("it is no command", "`_start` is not () -> ()");
        return is_command.then(Start::command).ok_or_else(missing);
    };
    let called = function(name)?;
    Ok(Start {
        name,
        arguments: call::core_arguments(config, called.params())?,
        results: called.results().len(),
        initialize: name != START && name != INITIALIZE && function(INITIALIZE).is_ok(),
    })
}

impl Start<'_> {
    fn command() -> Self {
        Self {
            name: START,
            arguments: Vec::new(),
            results: 0,
            initialize: false,
        }
    }
}

/// Calls it to its end; the exit code.
async fn call(
    store: &mut Store<State>,
    instance: &Instance,
    start: &Start<'_>,
) -> wasmtime::Result<i32> {
    if start.initialize {
        let initialize = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE)?;
        initialize.call_async(&mut *store, ()).await?;
    }
    let function = instance.get_func(&mut *store, start.name);
    let function = function.ok_or_else(|| wasmtime::Error::msg("there is no such function"))?;
    let mut results = vec![Val::I32(0); start.results];
    function
        .call_async(store, &start.arguments, &mut results)
        .await?;
    Ok(call::print_core(&results))
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
    linker.func_wrap("wasi_snapshot_preview1", "random_get", random::get)?;
    Ok(linker)
}
