//! Components that run once: `wasi:cli/run` of WASI 0.2 or 0.3, or one of their functions.

use crate::aftermath::Aftermath;
use crate::artifact::Loaded;
use crate::command::{end, not_instantiated};
use crate::failure::Failure;
use crate::filter::{Calls, Sockets};
use crate::limits::{self, Limits};
use crate::net::{Network, Resolver};
use crate::state::State;
use crate::{call, linker, lockdown, wasi};
use hull_abi::{Entry, RunnerConfig};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::runtime::Runtime;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, Instance, Val};
use wasmtime::{Engine, Store};

/// What commands export. The newer version wins: who exports both has the older one for older hosts.
/// Each stands for all patches of its version.
const RUN: [&str; 2] = ["wasi:cli/run@0.3.0", "wasi:cli/run@0.2.0"];

/// What is called.
enum Start {
    /// `run`, which tells whether all went well.
    Command(ComponentExportIndex),
    /// A function, with its arguments and the number of its results.
    Function(ComponentExportIndex, Vec<Val>, usize),
}

/// Runs what the config names and ends the process.
pub(crate) fn run(
    engine: &Engine,
    loaded: &Loaded,
    config: &RunnerConfig,
    runtime: &Runtime,
) -> Result<Infallible, Failure> {
    let component = &loaded.component;
    let start = start(component, config)?;
    let aftermath = Aftermath::prepare(config)?;
    let network = Arc::new(Network::new(config.settings.net.clone()));
    let sockets = Sockets::of(&network);
    let wasi = wasi::context(config, &network)?.build();
    let resolver = Arc::new(Resolver::load(network, config.name_files));
    let limits = Limits::new(config, loaded.own_code);
    let state = State::new(wasi, limits, &resolver);
    let mut store = Store::new(engine, state);
    limits::store(&mut store, config);
    store.limiter(|state| &mut state.limits);
    let linked = linker::with_wasi(engine)?
        .instantiate_pre(component)
        .map_err(|error| Failure::not_runnable("cannot link it", error))?;

    // From here on it is the guest's turn: a component may have start functions.
    lockdown::system_calls(Calls::Command, sockets)?;
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

fn start(component: &Component, config: &RunnerConfig) -> Result<Start, Failure> {
    let Entry::Function(name) = &config.entry else {
        let run = RUN.iter().find_map(|interface| {
            let interface = component.get_export_index(None, *interface)?;
            component.get_export_index(Some(&interface), "run")
        });
        let missing = || Failure::not_runnable("it is no command", "it has no `wasi:cli/run`");
        return run.map(Start::Command).ok_or_else(missing);
    };
    let found = match name.rsplit_once('#') {
        Some((interface, function)) => component
            .get_export_index(None, interface)
            .and_then(|interface| component.get_export(Some(&interface), function)),
        None => component.get_export(None, name.as_str()),
    };
    let Some((ComponentItem::ComponentFunc(function), index)) = found else {
        let cause = format!("it exports no function {name:?}");
        return Err(Failure::not_runnable("cannot call it", cause));
    };
    let arguments = call::arguments(config, &function)?;
    Ok(Start::Function(index, arguments, function.results().len()))
}

/// Calls it to its end; the exit code.
async fn call(
    store: &mut Store<State>,
    instance: &Instance,
    start: &Start,
) -> wasmtime::Result<i32> {
    match start {
        Start::Command(run) => {
            let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, run)?;
            let (outcome,) = run.call_async(store, ()).await?;
            Ok(i32::from(outcome.is_err()))
        }
        Start::Function(index, arguments, results) => {
            let function = instance.get_func(&mut *store, index);
            let function =
                function.ok_or_else(|| wasmtime::Error::msg("there is no such function"))?;
            let mut results = vec![Val::Bool(false); *results];
            function.call_async(store, arguments, &mut results).await?;
            Ok(call::print_results(&results))
        }
    }
}
