//! Components: `wasi:cli/run` of WASI 0.2.

use crate::command::{end, not_instantiated};
use crate::failure::Failure;
use crate::limits::Limits;
use crate::names::{NoNames, no_names};
use crate::{lockdown, wasi};
use hull_abi::RunnerConfig;
use std::convert::Infallible;
use tokio::runtime::Runtime;
use wasmtime::component::{Component, HasData, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{self, CommandPre, cli, clocks, filesystem, random, sockets};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView as _};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView as _};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// What host functions work on.
pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    limits: Limits,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// Streams and polling, which know nothing but the table of resources.
struct Io;

impl HasData for Io {
    type Data<'a> = &'a mut ResourceTable;
}

/// Runs `wasi:cli/run` and ends the process.
pub(crate) fn run(
    engine: &Engine,
    component: &Component,
    config: &RunnerConfig,
    runtime: &Runtime,
) -> Result<Infallible, Failure> {
    let state = State {
        wasi: wasi::context(config)?.build(),
        table: ResourceTable::new(),
        limits: Limits::new(config.memory_limit, code_size(component)),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    let linker = linker(engine).map_err(|error| Failure::internal("cannot offer WASI", error))?;
    let linked = linker
        .instantiate_pre(component)
        .and_then(CommandPre::new)
        .map_err(|error| Failure::not_runnable("cannot link it", error))?;

    // From here on it is the guest's turn: a component may have start functions.
    lockdown::system_calls()?;
    runtime.block_on(async {
        let command = match linked.instantiate_async(&mut store).await {
            Ok(command) => command,
            Err(error) => return Err(not_instantiated(&store.data().limits, error)),
        };
        let result = command.wasi_cli_run().call_run(&mut store).await;
        end(result.map(|outcome| i32::from(outcome.is_err())))
    })
}

/// The interfaces of the world `wasi:cli/command`, each by itself: wasmtime-wasi's own list has the
/// one that resolves host names through the C library.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    bindings::io::error::add_to_linker::<_, Io>(l, |state: &mut State| &mut state.table)?;
    bindings::io::poll::add_to_linker::<_, Io>(l, |state: &mut State| &mut state.table)?;
    bindings::io::streams::add_to_linker::<_, Io>(l, |state: &mut State| &mut state.table)?;

    clocks::wall_clock::add_to_linker::<_, WasiClocks>(l, State::clocks)?;
    clocks::monotonic_clock::add_to_linker::<_, WasiClocks>(l, State::clocks)?;
    random::random::add_to_linker::<_, WasiRandom>(l, State::random)?;
    random::insecure::add_to_linker::<_, WasiRandom>(l, State::random)?;
    random::insecure_seed::add_to_linker::<_, WasiRandom>(l, State::random)?;

    cli::exit::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::environment::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(l, State::cli)?;

    filesystem::types::add_to_linker::<_, WasiFilesystem>(l, State::filesystem)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, State::filesystem)?;

    // Every program of Rust's standard library imports these; what they make is refused.
    let options = sockets::network::LinkOptions::default();
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::network::add_to_linker::<_, WasiSockets>(l, &options, State::sockets)?;
    sockets::tcp::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::udp::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, State::sockets)?;
    sockets::ip_name_lookup::add_to_linker::<_, NoNames>(l, no_names)?;
    Ok(linker)
}

/// What the component's code takes, in bytes. It is in memory of our own, while a core module's is
/// in pages of its file, which the kernel can take back.
fn code_size(component: &Component) -> u64 {
    let range = component.image_range();
    u64::try_from(range.end.addr().saturating_sub(range.start.addr())).unwrap_or(u64::MAX)
}
