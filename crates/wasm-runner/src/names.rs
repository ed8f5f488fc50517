//! `wasi:sockets/ip-name-lookup` by a resolver of our own, for WASI 0.2 and 0.3.

use crate::net::{Resolver, Unresolved};
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use wasmtime::component::{Accessor, HasData, Linker, Resource, ResourceTable};
use wasmtime::{Error, Result};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{
    self as p2, Host, HostResolveAddressStream, ResolveAddressStream,
};
use wasmtime_wasi::p2::bindings::sockets::network::{
    ErrorCode, Host as NetworkHost, HostNetwork, IpAddress, Network,
};
use wasmtime_wasi::p2::{DynPollable, Pollable, SocketError, subscribe};
use wasmtime_wasi::p3::bindings::sockets::ip_name_lookup as p3;
use wasmtime_wasi::p3::bindings::sockets::types::IpAddress as P3Address;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

/// Host functions that look names up.
pub(crate) struct Names;

/// What they work on.
pub(crate) struct NamesView<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) resolver: &'a Arc<Resolver>,
}

impl HasData for Names {
    type Data<'a> = NamesView<'a>;
}

/// A state that has what it takes.
pub(crate) trait HasNames: WasiView {
    /// What the host functions work on.
    fn names(&mut self) -> NamesView<'_>;
}

/// Offers the interface of both versions.
pub(crate) fn add_to_linker<T: HasNames + 'static>(linker: &mut Linker<T>) -> Result<()> {
    p2::add_to_linker::<T, Names>(linker, T::names)?;
    p3::add_to_linker::<T, Names>(linker, T::names)
}

/// A name that is looked up. It is what the table has where the bindings speak of a
/// [`ResolveAddressStream`], which nobody outside of wasmtime can make.
struct Lookup {
    task: Option<AbortOnDropJoinHandle<Result<Vec<IpAddr>, Unresolved>>>,
    /// What is left of the addresses, last one first.
    left: Result<Vec<IpAddr>, Unresolved>,
}

impl Lookup {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(task) = &mut self.task {
            let mut outcome = ready!(Pin::new(task).poll(context));
            if let Ok(addresses) = &mut outcome {
                addresses.reverse();
            }
            (self.task, self.left) = (None, outcome);
        }
        Poll::Ready(())
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }
}

fn lookup(stream: &Resource<ResolveAddressStream>) -> Resource<Lookup> {
    Resource::new_borrow(stream.rep())
}

fn code(why: Unresolved) -> ErrorCode {
    match why {
        Unresolved::Invalid => ErrorCode::InvalidArgument,
        Unresolved::Denied => ErrorCode::AccessDenied,
        Unresolved::Unknown | Unresolved::NoFiles => ErrorCode::NameUnresolvable,
        Unresolved::Temporary => ErrorCode::TemporaryResolverFailure,
    }
}

// What the interface needs of its neighbour: how errors become codes.
impl NetworkHost for NamesView<'_> {
    fn convert_error_code(&mut self, error: SocketError) -> Result<ErrorCode> {
        error.downcast()
    }

    fn network_error_code(&mut self, _: Resource<Error>) -> Result<Option<ErrorCode>> {
        Ok(None)
    }
}

impl HostNetwork for NamesView<'_> {
    fn drop(&mut self, network: Resource<Network>) -> Result<()> {
        self.table.delete(network)?;
        Ok(())
    }
}

impl Host for NamesView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> Result<Resource<ResolveAddressStream>, SocketError> {
        self.table.get(&network)?;
        if !self.resolver.network().is_there() {
            return Err(ErrorCode::AccessDenied.into());
        }
        let resolver = Arc::clone(self.resolver);
        let lookup = Lookup {
            task: Some(spawn(async move { resolver.resolve(&name).await })),
            left: Err(Unresolved::Temporary),
        };
        let stream = self.table.push(lookup)?;
        Ok(Resource::new_own(stream.rep()))
    }
}

impl HostResolveAddressStream for NamesView<'_> {
    fn resolve_next_address(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Option<IpAddress>, SocketError> {
        let lookup = self.table.get_mut(&lookup(&stream))?;
        let mut context = Context::from_waker(std::task::Waker::noop());
        if lookup.poll(&mut context).is_pending() {
            return Err(ErrorCode::WouldBlock.into());
        }
        match &mut lookup.left {
            Ok(addresses) => Ok(addresses.pop().map(IpAddress::from)),
            Err(why) => Err(code(*why).into()),
        }
    }

    fn subscribe(
        &mut self,
        stream: Resource<ResolveAddressStream>,
    ) -> Result<Resource<DynPollable>> {
        subscribe(self.table, lookup(&stream))
    }

    fn drop(&mut self, stream: Resource<ResolveAddressStream>) -> Result<()> {
        self.table
            .delete(Resource::<Lookup>::new_own(stream.rep()))?;
        Ok(())
    }
}

impl p3::Host for NamesView<'_> {}

impl<T> p3::HostWithStore<T> for Names {
    async fn resolve_addresses(
        store: &Accessor<T, Self>,
        name: String,
    ) -> Result<Result<Vec<P3Address>, p3::ErrorCode>> {
        let resolver = store.with(|mut view| Arc::clone(view.get().resolver));
        let outcome = resolver.resolve(&name).await;
        Ok(match outcome {
            Ok(addresses) => Ok(addresses.into_iter().map(P3Address::from).collect()),
            Err(Unresolved::Invalid) => Err(p3::ErrorCode::InvalidArgument),
            Err(Unresolved::Denied) => Err(p3::ErrorCode::AccessDenied),
            Err(Unresolved::Unknown | Unresolved::NoFiles) => Err(p3::ErrorCode::NameUnresolvable),
            Err(Unresolved::Temporary) => Err(p3::ErrorCode::TemporaryResolverFailure),
        })
    }
}
