//! How the state of an instance of a server is made.

use crate::failure::Failure;
use crate::limits::{self, Limits};
use crate::net::{Network, Resolver};
use crate::state::State;
use crate::{stdio::Output, wasi};
use hull_abi::RunnerConfig;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::{Engine, Store};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;

/// The context, the open directories, the limits and the resolver that instances share.
pub(crate) struct Template {
    config: RunnerConfig,
    /// The open directories: they are opened once, and before system calls are filtered.
    files: Mutex<WasiFilesystemCtx>,
    limits: Limits,
    network: Arc<Network>,
    resolver: Arc<Resolver>,
}

impl Template {
    /// Opens the directories. All instances share the memory that `limits` allows.
    pub(crate) fn new(mut config: RunnerConfig, limits: Limits) -> Result<Self, Failure> {
        let network = Arc::new(Network::new(config.settings.net.clone()));
        let mut context = wasi::context(&config, &network)?.build();
        let files = Mutex::new(context.filesystem().clone());
        config.preopens.clear();
        Ok(Self {
            resolver: Arc::new(Resolver::load(Arc::clone(&network), config.name_files)),
            config,
            files,
            limits,
            network,
        })
    }

    /// Whom the guest may talk to.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// A store for a new instance.
    pub(crate) fn store(&self, engine: &Engine) -> Result<Store<State>, Failure> {
        let mut store = Store::new(engine, self.state()?);
        store.limiter(|state| &mut state.limits);
        limits::store(&mut store, &self.config);
        Ok(store)
    }

    /// The state of a new instance. Requests have nothing to do with the container's standard input.
    fn state(&self) -> Result<State, Failure> {
        let mut context = wasi::context(&self.config, &self.network)?;
        context
            .stdin(wasmtime_wasi::p2::pipe::ClosedInputStream)
            .stdout(Output::Stdout)
            .stderr(Output::Stderr);
        let mut wasi = context.build();
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        wasi.filesystem().clone_from(&files);
        drop(files);
        Ok(State::new(wasi, self.limits.share(), &self.resolver))
    }

    /// Bytes of linear memory and tables that instances have.
    pub(crate) fn memory(&self) -> usize {
        self.limits.used()
    }
}
