//! The guest's standard streams are descriptors 0, 1 and 2, with nothing in between: what a guest
//! has written is out, whatever happens to it next, and it takes no more input than it asks for.

use bytes::Bytes;
use hull_sys::{Errno, stream};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Bytes that one call moves at most. The buffer is ours, so its size is not the guest's choice.
const CHUNK: usize = 64 << 10;

/// An error that the guest sees by its errno.
fn failed(errno: Errno) -> StreamError {
    StreamError::LastOperationFailed(io::Error::from(errno).into())
}

/// Descriptor 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input;

/// Descriptor 0 as the event loop knows it, from the first time that a guest has to wait for it;
/// `None` for what cannot be waited for and is always ready: files, directories, /dev/null.
static WATCHED: OnceLock<Option<AsyncFd<io::Stdin>>> = OnceLock::new();

/// Makes the event loop know descriptor 0.
#[expect(
    deprecated,
    reason = "its successor is unsafe: the descriptor has to stay open, and 0 is never closed here"
)]
fn watch() -> Option<AsyncFd<io::Stdin>> {
    AsyncFd::with_interest(io::stdin(), Interest::READABLE).ok()
}

impl Input {
    /// Ready when a read returns at once. Waits in the event loop, where the guest's clocks run too.
    fn poll_ready(context: &mut Context<'_>) -> Poll<()> {
        while !stream::read_returns(io::stdin()) {
            let watched = WATCHED.get_or_init(watch);
            let Some(watched) = watched else {
                return Poll::Ready(());
            };
            match ready!(watched.poll_read_ready(context)) {
                // Only a change wakes us: say that we have seen this one, and look again.
                Ok(mut guard) => guard.clear_ready(),
                // The event loop ends; so do we.
                Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Ready(())
    }

    /// Reads what there is, waiting for the first byte; the end is `Closed`.
    fn wait_and_read(size: usize) -> StreamResult<Bytes> {
        let mut buffer = vec![0; size.min(CHUNK)];
        match stream::read(io::stdin(), &mut buffer) {
            Ok(0) if size > 0 => Err(StreamError::Closed),
            Ok(count) => {
                buffer.truncate(count);
                Ok(buffer.into())
            }
            Err(errno) => Err(failed(errno)),
        }
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        io::IsTerminal::is_terminal(&io::stdin())
    }
}

impl StdinStream for Input {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(Self)
    }

    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Self)
    }
}

#[async_trait::async_trait]
impl Pollable for Input {
    async fn ready(&mut self) {
        poll_fn(Self::poll_ready).await;
    }
}

#[async_trait::async_trait]
impl InputStream for Input {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || !stream::read_returns(io::stdin()) {
            return Ok(Bytes::new());
        }
        Self::wait_and_read(size)
    }

    // The guest waits for nothing else, so the thread may as well.
    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        Self::wait_and_read(size)
    }
}

impl AsyncRead for Input {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Self::poll_ready(context));
        let count = stream::read(io::stdin(), buffer.initialize_unfilled())?;
        buffer.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// Descriptor 1 or 2.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Output {
    /// One write(2), if the other side takes it; waits for a slow reader.
    fn write_now(self, bytes: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Stdout => stream::write_all(io::stdout().as_fd(), bytes),
            Self::Stderr => stream::write_all(io::stderr().as_fd(), bytes),
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        match self {
            Self::Stdout => io::IsTerminal::is_terminal(&io::stdout()),
            Self::Stderr => io::IsTerminal::is_terminal(&io::stderr()),
        }
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(*self)
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_now(&bytes).map_err(failed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write_now(bytes)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
