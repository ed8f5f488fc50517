//! Telling containerd what happens to containers.
//!
//! One task sends one event after the other in the order of [`Publisher::publish`], which never
//! waits. The connection is made when the first event needs it and again after it broke, so a shim
//! starts and goes on without containerd, and what happened meanwhile is told when it is back
//! ([`forward`]). Events beyond a bound are dropped, those about the end of processes last; they are
//! counted and logged.

mod event;
mod forward;

pub(crate) use event::{Event, Io, timestamp};

use crate::turn;
use containerd_shim_protos::shim::event::Envelope;
use forward::Forwarder;
use protobuf::MessageField;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// Most events that wait; at some 300 bytes each they stay below 1 MiB, however long containerd is away.
const QUEUE: usize = 2048;

/// Places in the queue that only exits and deletes take. Clients can do without news of a start, but
/// a container whose exit is lost runs for ever in their eyes.
const RESERVED: usize = QUEUE / 2;

/// Where events are handed in. Clones share one queue.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    namespace: Arc<str>,
    queue: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
    /// Ends the pause before the next try.
    hurry: Arc<Notify>,
}

enum Item {
    Event(Envelope),
    /// Answered once everything before it was sent or given up.
    Flush(oneshot::Sender<()>),
}

/// The path to dial: `TTRPC_ADDRESS`, else what containerd makes of its gRPC address.
pub(crate) fn address(ttrpc_address: Option<&str>, grpc_address: &str) -> String {
    let address = match ttrpc_address {
        Some(address) if !address.is_empty() => address.to_owned(),
        _ => format!("{grpc_address}.ttrpc"),
    };
    address
        .strip_prefix("unix://")
        .unwrap_or(&address)
        .to_owned()
}

// === impl Publisher ===

impl Publisher {
    /// Starts the sending task on the present runtime. `path` is what [`address`] gives.
    pub(crate) fn spawn(namespace: &str, path: String) -> Self {
        let (queue, items) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let hurry = Arc::new(Notify::new());
        let forwarder = Forwarder::new(path, Arc::clone(&hurry));
        turn::spawn("events", forwarder.run(items, Arc::clone(&dropped)));
        Self {
            namespace: namespace.into(),
            queue,
            dropped,
            hurry,
        }
    }

    /// Tries at once what waits for its next try: somebody has connected to us, so containerd seems to be
    /// back, and its clients should hear of what happened before they act.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_waiters();
    }

    /// Queues an event with the present time. Never waits; an event that finds the queue full is
    /// dropped and counted.
    pub(crate) fn publish(&self, event: Event) {
        let is_end = matches!(event, Event::Exit { .. } | Event::Delete { .. });
        let (topic, event) = match event.pack() {
            Ok(packed) => packed,
            Err(e) => return log::error!("cannot encode an event: {e}"),
        };
        let envelope = Envelope {
            timestamp: MessageField::some(timestamp(SystemTime::now())),
            namespace: self.namespace.to_string(),
            topic: topic.to_owned(),
            event: MessageField::some(event),
            ..Default::default()
        };
        let has_room = is_end || self.queue.capacity() > RESERVED;
        if !has_room || self.queue.try_send(Item::Event(envelope)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many events wait in the queue.
    pub(crate) fn waiting(&self) -> usize {
        QUEUE - self.queue.capacity()
    }

    /// Waits until everything published so far was sent or given up, at most for `deadline`.
    /// Returns whether it was.
    pub(crate) async fn flush(&self, deadline: Duration) -> bool {
        let (done, wait) = oneshot::channel();
        let flushed =
            async { self.queue.send(Item::Flush(done)).await.is_ok() && wait.await.is_ok() };
        timeout(deadline, flushed).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
