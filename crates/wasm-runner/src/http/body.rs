//! Bodies: what a client sends, up to a limit, and what a guest answers.

use super::admission::Permit;
use super::life::Asking;
use super::settings::{SLOW, SLOWEST, STALL};
use super::stream::{Patience, Requests};
use super::threads::sign_of_life;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use wasmtime_wasi_http::{Error, WasiBody};

/// Whether a client sent more than it may.
pub(crate) type TooLarge = Arc<AtomicBool>;

/// What a client sends.
#[derive(Debug)]
pub(crate) struct Sent {
    body: Incoming,
    left: Option<u64>,
    limit: Option<u64>,
    too_large: TooLarge,
    bytes: u64,
    /// How long the client was waited for before.
    waited: Duration,
    /// Since when it is waited for now, and how long it will be.
    waits: Option<(Instant, Patience)>,
}

/// How long a client may still be waited for that has sent so much and was waited for so long.
fn patience(bytes: u64, waited: Duration) -> Duration {
    let all = SLOW + Duration::from_secs(bytes / SLOWEST);
    all.saturating_sub(waited).min(STALL)
}

impl Sent {
    pub(crate) fn new(body: Incoming, limit: Option<u64>, too_large: TooLarge) -> Self {
        Self {
            body,
            left: limit,
            limit,
            too_large,
            bytes: 0,
            waited: Duration::ZERO,
            waits: None,
        }
    }

    /// The client has sent nothing; ready when that is so for too long.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let limit = patience(self.bytes, self.waited);
        let (_, patience) = self
            .waits
            .get_or_insert_with(|| (Instant::now(), Patience::new(limit)));
        patience.poll(context)
    }

    /// The client has sent something.
    fn came(&mut self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some((since, _)) = self.waits.take() {
            self.waited = self.waited.saturating_add(since.elapsed());
        }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match left.checked_sub(bytes) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None => {
                self.too_large.store(true, Ordering::SeqCst);
                Err(Error::HttpRequestBodySize(self.limit))
            }
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        sign_of_life();
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => match self.wait(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            },
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.came(bytes);
                Poll::Ready(Some(self.take(bytes).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether the client of an answer is the one to be waited for, and since when.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU64);

impl Progress {
    /// Milliseconds since the boot of the machine, never 0.
    fn now() -> u64 {
        hull_sys::clock::monotonic_ns() / 1_000_000 + 1
    }

    fn waits_for_client(&self, waits: bool) {
        self.0
            .store(if waits { Self::now() } else { 0 }, Ordering::Relaxed);
    }

    /// Whether the client has taken nothing for so long.
    pub(crate) fn is_stalled(&self, limit: Duration) -> bool {
        let since = self.0.load(Ordering::Relaxed);
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        since != 0 && Self::now().saturating_sub(since) > limit
    }
}

/// One of the requests of a connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Requests>);

impl Counted {
    pub(crate) fn new(requests: &Arc<Requests>) -> Self {
        requests.begin();
        Self(Arc::clone(requests))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What an answer by the guest holds until it is over.
pub(crate) struct ByGuest {
    pub(crate) asking: Asking,
    #[expect(dead_code, reason = "the place of the request")]
    pub(crate) permit: Arc<Permit>,
}

/// What is answered.
pub(crate) struct Answer {
    body: WasiBody,
    progress: Arc<Progress>,
    _counted: Counted,
    /// Of answers by the guest.
    guest: Option<ByGuest>,
}

impl Answer {
    pub(crate) fn new(body: WasiBody, counted: Counted, guest: Option<ByGuest>) -> Self {
        Self {
            body,
            progress: Arc::default(),
            _counted: counted,
            guest,
        }
    }

    /// How it goes.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        sign_of_life();
        let frame = Pin::new(&mut self.body).poll_frame(context);
        self.progress.waits_for_client(frame.is_ready());
        // The end of the instance looks like the end of the body.
        if matches!(frame, Poll::Ready(None))
            && let Some(guest) = &self.guest
            && guest.asking.has_failed()
        {
            return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_sends_little_is_not_waited_for_without_end() {
        let seconds = Duration::from_secs;
        for (bytes, waited, left) in [
            (0, 0, 60),
            (1, 59, 60),
            (10, 590, 10),
            (11, 600, 0),
            (11, 10_000, 0),
            (1 << 20, 600, 60),
            (1 << 20, 1600, 24),
            (1 << 40, 1_000_000, 60),
        ] {
            assert_eq!(
                patience(bytes, seconds(waited)),
                seconds(left),
                "{bytes} {waited}"
            );
        }
    }
}
