//! `wasi:sockets/ip-name-lookup` that resolves nothing. Wasmtime's own calls getaddrinfo, which in a
//! static binary loads libraries from the file system that it is in: the image's.

use crate::component::State;
use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime::{Error, Result};
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, Host as NetworkHost, HostNetwork, IpAddress, Network,
};
use wasmtime_wasi::p2::{DynPollable, SocketError};

/// Host functions that refuse.
pub(crate) struct NoNames;

/// What they work on.
pub(crate) struct NoNamesView<'a> {
    table: &'a mut ResourceTable,
}

impl HasData for NoNames {
    type Data<'a> = NoNamesView<'a>;
}

/// The part of the state that they work on.
pub(crate) fn no_names(state: &mut State) -> NoNamesView<'_> {
    NoNamesView {
        table: &mut state.table,
    }
}

// What the interface needs of its neighbour: how errors become codes.
impl NetworkHost for NoNamesView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, _: Resource<Error>) -> Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl HostNetwork for NoNamesView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl Host for NoNamesView<'_> {
    fn resolve_addresses(
        &mut self,
        _: Resource<Network>,
        _: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        Err(ErrorCode::AccessDenied.into())
    }
}

// There is never such a stream; a guest cannot come here with a handle that it does not have.
impl HostResolveAddressStream for NoNamesView<'_> {
    fn resolve_next_address(
        &mut self,
        _: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        Err(ErrorCode::AccessDenied.into())
    }

    fn subscribe(&mut self, _: Resource<ResolveAddressStream>) -> Result<Resource<DynPollable>> {
        Err(Error::msg("there are no name lookups"))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> Result<()> {
        self.table.delete(stream)?;
        Ok(())
    }
}
