//! Streams of files for WASI 0.2 on the guest's own thread.
//!
//! wasmtime-wasi reads and writes files on the thread of the guest where a call waits for the outcome, and on a
//! thread of a pool where it does not. There are no such threads here, and none can be made once system calls are
//! filtered. A file is always ready, so every call may as well wait.

use bytes::Bytes;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Descriptor, ErrorCode, Host as _, HostDescriptor as _,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, FsResult, InputStream, OutputStream, Pollable, StreamError,
    StreamResult,
};

/// The interface under the version that wasmtime-wasi offers.
const TYPES: &str = "wasi:filesystem/types@0.2.12";

/// What a function gives that makes a stream.
type Made<S> = wasmtime::Result<(Result<Resource<S>, ErrorCode>,)>;

/// Takes the place of the functions of `wasi:filesystem/types` that make streams.
pub(crate) fn add_to_linker<T: WasiView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance(TYPES)?;
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, T>,
         (file, offset): (Resource<Descriptor>, u64)|
         -> Made<DynInputStream> {
            let made = store.data_mut().filesystem().read_via_stream(file, offset);
            answer(store, made, |stream| Box::new(AtOnce(stream)))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, T>,
         (file, offset): (Resource<Descriptor>, u64)|
         -> Made<DynOutputStream> {
            let made = store.data_mut().filesystem().write_via_stream(file, offset);
            answer(store, made, |stream| Box::new(AtOnce(stream)))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, T>,
         (file,): (Resource<Descriptor>,)|
         -> Made<DynOutputStream> {
            let made = store.data_mut().filesystem().append_via_stream(file);
            answer(store, made, |stream| Box::new(AtOnce(stream)))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The answer to the guest: the stream in its new shape, or why there is none.
fn answer<T: WasiView, S: Send + 'static>(
    mut store: StoreContextMut<'_, T>,
    made: FsResult<Resource<S>>,
    shape: impl FnOnce(S) -> S,
) -> Made<S> {
    let mut files = store.data_mut().filesystem();
    match made {
        Ok(stream) => Ok((Ok(reshape(files.table, stream, shape)?),)),
        Err(error) => Ok((Err(files.convert_error_code(error)?),)),
    }
}

fn reshape<S: Send + 'static>(
    table: &mut ResourceTable,
    stream: Resource<S>,
    shape: impl FnOnce(S) -> S,
) -> wasmtime::Result<Resource<S>> {
    let stream = table.delete(stream)?;
    Ok(table.push(shape(stream))?)
}

/// A stream of a file whose every call waits for its outcome, which costs no time beyond that of the file.
struct AtOnce<S>(S);

/// The outcome of a call that does everything when it is looked at for the first time.
fn at_once<R>(call: impl Future<Output = StreamResult<R>>) -> StreamResult<R> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(StreamError::trap("a file is not ready")),
    }
}

#[async_trait::async_trait]
impl<S: Send + 'static> Pollable for AtOnce<S> {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for AtOnce<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            // Nothing would look like the end of the file.
            return Ok(Bytes::new());
        }
        at_once(self.0.blocking_read(size))
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        self.read(size)
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for AtOnce<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        at_once(self.0.blocking_write_and_flush(bytes))
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.0.check_write()
    }

    async fn cancel(&mut self) {
        self.0.cancel().await;
    }
}
