//! How many requests are worked on at once, and how many may wait for that.

use super::metrics::Metrics;
use super::threads;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The places and the queue for them.
#[derive(Debug)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
    /// Bytes of heads that there is room for.
    heads: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
    _head: OwnedSemaphorePermit,
    metrics: Arc<Metrics>,
}

/// There is no place, and none in the queue or none in time; or there are too many large heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl Admission {
    /// `heads` is how many bytes those of all requests may have.
    pub(crate) fn new(places: usize, queue: usize, heads: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            heads: Arc::new(Semaphore::new(heads.min(Semaphore::MAX_PERMITS))),
            places: Arc::new(Semaphore::new(places)),
            waiting: AtomicUsize::new(0),
            queue,
            metrics,
        }
    }

    /// A place for a request with a head of so many bytes, waiting for it if the queue is not full.
    pub(crate) async fn admit(&self, head: u32, deadline: Instant) -> Result<Permit, Full> {
        let head = Arc::clone(&self.heads).try_acquire_many_owned(head);
        let head = head.map_err(|_| Full)?;
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(self.permit(place, head));
        }
        let _waiting = Waiting::queue_up(&self.waiting, self.queue)?;
        let place = Arc::clone(&self.places).acquire_owned();
        match timeout_at(deadline, place).await {
            Ok(Ok(place)) => Ok(self.permit(place, head)),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    fn permit(&self, place: OwnedSemaphorePermit, head: OwnedSemaphorePermit) -> Permit {
        if self.metrics.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            threads::look();
        }
        Permit {
            _place: place,
            _head: head,
            metrics: Arc::clone(&self.metrics),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn queue_up(waiting: &'a AtomicUsize, queue: usize) -> Result<Self, Full> {
        // From here on it is given back.
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) < queue {
            Ok(place)
        } else {
            Err(Full)
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[tokio::test]
    async fn whoever_finds_the_queue_full_is_sent_away() {
        let admission = Admission::new(1, 1, 100, Arc::default());
        let first = admission.admit(1, soon()).await.unwrap();
        let long = Instant::now() + Duration::from_secs(600);
        let second = admission.admit(1, long);
        tokio::pin!(second);
        assert!(
            tokio::time::timeout(Duration::from_millis(20), second.as_mut())
                .await
                .is_err()
        );
        assert_eq!(admission.admit(1, long).await.unwrap_err(), Full);
        drop(first);
        drop(second.await.unwrap());
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(admission.metrics.in_flight.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let admission = Admission::new(1, 1, 100, Arc::default());
        let _first = admission.admit(1, soon()).await.unwrap();
        assert_eq!(admission.admit(1, soon()).await.unwrap_err(), Full);
        assert_eq!(admission.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn large_heads_are_sent_away_while_there_are_places() {
        let admission = Admission::new(9, 9, 100, Arc::default());
        let first = admission.admit(60, soon()).await.unwrap();
        assert_eq!(admission.admit(41, soon()).await.unwrap_err(), Full);
        drop(admission.admit(40, soon()).await.unwrap());
        drop(first);
        drop(admission.admit(100, soon()).await.unwrap());
    }
}
