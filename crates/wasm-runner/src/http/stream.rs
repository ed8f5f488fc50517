//! A client's TCP connection, with what hyper leaves to others: limits on the time that a client takes.

use super::settings::{HEAD_TIMEOUT, IDLE, STALL};
use bytes::{Buf as _, Bytes};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

/// What a client that speaks HTTP/2 without asking first begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The requests of a connection.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    begun: AtomicUsize,
    over: AtomicUsize,
}

impl Requests {
    /// The head of one is there.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    /// One is answered to the end.
    pub(crate) fn end(&self) {
        self.over.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether one is not.
    pub(crate) fn is_busy(&self) -> bool {
        self.over.load(Ordering::SeqCst) != self.begun.load(Ordering::SeqCst)
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    /// What was read to find out the version.
    first: Bytes,
    requests: Arc<Requests>,
    /// Runs while there is a part of a request's head, after so many requests.
    head: Option<(usize, Pin<Box<Sleep>>)>,
    /// Runs while the client takes nothing.
    write: Option<Pin<Box<Sleep>>>,
}

/// Which version a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

impl Stream {
    /// Reads until it is clear which version the client speaks; `None` if it goes or says nothing.
    pub(crate) async fn open(
        mut tcp: TcpStream,
        requests: Arc<Requests>,
    ) -> Option<(Self, Version)> {
        let mut buffer = [0; PREFACE.len()];
        let mut filled = 0;
        let mut limit = IDLE;
        let version = loop {
            let rest = buffer.get_mut(filled..)?;
            match timeout(limit, tcp.read(rest)).await {
                Ok(Ok(count)) if count > 0 => filled += count,
                _ => return None,
            }
            limit = HEAD_TIMEOUT;
            let (so_far, expected) = (buffer.get(..filled)?, PREFACE.get(..filled)?);
            if so_far != expected {
                break Version::Http1;
            }
            if filled == PREFACE.len() {
                break Version::Http2;
            }
        };
        let stream = Self {
            tcp,
            first: Bytes::copy_from_slice(buffer.get(..filled)?),
            requests,
            head: (version == Version::Http1).then(|| (0, Box::pin(sleep(HEAD_TIMEOUT)))),
            write: None,
        };
        Some((stream, version))
    }

    fn head_is_late(&mut self, context: &mut Context<'_>) -> bool {
        let begun = self.requests.begun();
        self.head.take_if(|(before, _)| *before != begun);
        let head = self.head.as_mut();
        head.is_some_and(|(_, sleep)| sleep.as_mut().poll(context).is_ready())
    }

    /// Passes on what the write said; a client that has taken nothing for too long is an error.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write = None;
            return result;
        }
        let sleep = self.write.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let count = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(context, buffer);
        if result.is_pending() {
            if self.head_is_late(context) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else if buffer.filled().len() > before && !self.requests.is_busy() {
            let begun = self.requests.begun();
            if self
                .head
                .as_ref()
                .is_none_or(|(before, _)| *before != begun)
            {
                self.head = Some((begun, Box::pin(sleep(HEAD_TIMEOUT))));
            }
        }
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(context, bytes);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

/// Runs out after `limit` without a [`reset`](Patience::reset).
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// Something has happened.
    pub(crate) fn reset(&mut self) {
        self.sleep = None;
    }

    /// Nothing has happened; ready when that is so for too long.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let until = Instant::now() + self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        sleep.as_mut().poll(context)
    }
}
