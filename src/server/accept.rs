//! Accepting connections, and counting the open ones.

use crate::daemon::{Connected, Shared};
use futures_core::Stream;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Sleep, sleep};

/// Pause after a failure: a connection that cannot be accepted for want of descriptors stays in the
/// queue, and the next try would come at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections of our own user only. The socket's mode says the same; this holds even when
/// somebody changed that (CVE-2020-15257).
pub(super) struct OwnUser {
    listener: UnixListener,
    shared: Arc<Shared>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// A connection that is counted as open.
pub(super) struct Connection {
    stream: UnixStream,
    _connected: Connected,
}

impl OwnUser {
    pub(super) fn new(listener: UnixListener, shared: &Arc<Shared>) -> Self {
        Self {
            listener,
            shared: Arc::clone(shared),
            pause: None,
        }
    }
}

impl Stream for OwnUser {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let stream = match ready!(self.listener.poll_accept(cx)) {
                Ok((stream, _)) => stream,
                Err(e) => {
                    log::warn!("accept: {e}");
                    self.pause = Some(Box::pin(sleep(PAUSE)));
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => {
                    return Poll::Ready(Some(Ok(Connection {
                        stream,
                        _connected: self.shared.leave.connected(),
                    })));
                }
                Ok(peer) => log::warn!("refused a connection of user {}", peer.uid()),
                Err(e) => log::warn!("refused a connection: {e}"),
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
