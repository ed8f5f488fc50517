//! What the host functions of one instance of a component work on.

use crate::http::{Outgoing, Permit};
use crate::limits::{self, Limits};
use crate::names::{HasNames, NamesView};
use crate::net::Resolver;
use std::sync::Arc;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// What they work on. Commands and servers share the type, since each host function is compiled anew for each
/// type of state, which is most of the size of this program.
pub(crate) struct State {
    wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) limits: Limits,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    resolver: Arc<Resolver>,
    /// That of the request, for instances that have but one: it is given back when the instance is gone.
    pub(crate) permit: Option<Arc<Permit>>,
}

impl State {
    /// The state of a new instance.
    pub(crate) fn new(wasi: WasiCtx, limits: Limits, resolver: &Arc<Resolver>) -> Self {
        Self {
            wasi,
            table: limits::table(),
            limits,
            http: WasiHttpCtx::new(),
            outgoing: Outgoing::new(resolver),
            resolver: Arc::clone(resolver),
            permit: None,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}

impl HasNames for State {
    fn names(&mut self) -> NamesView<'_> {
        NamesView {
            table: &mut self.table,
            resolver: &self.resolver,
        }
    }
}
