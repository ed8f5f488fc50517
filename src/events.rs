//! Telling containerd what happens to containers.
//!
//! One task sends one event after the other in the order of [`Publisher::publish`], which never
//! waits. The connection is made when the first event needs it and again after it broke, so a shim
//! starts and goes on without containerd. An event that cannot be delivered is tried again in its
//! place, so that none overtakes it, and given up after a while; events beyond a bound are dropped,
//! those about the end of processes last. Both are counted and logged.

mod event;

pub(crate) use event::{Event, Io, timestamp};

use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use protobuf::{EnumOrUnknown, MessageField};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use ttrpc::asynchronous::transport::Socket;

/// Most events that wait; at some 300 bytes each they stay below 1 MiB while containerd is down.
const QUEUE: usize = 2048;

/// Places in the queue that only exits and deletes take. Clients can do without news of a start, but
/// a container whose exit is lost runs for ever in their eyes.
const RESERVED: usize = QUEUE / 2;

/// Most time for one connection or one call.
const CALL: Duration = Duration::from_secs(5);

/// Most tries for one event.
const ATTEMPTS: u32 = 5;

/// Most time for one event, counted from its first try.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pause before the second try; each further one is three times as long: 13 s in all, in which a
/// containerd that restarts comes back.
const FIRST_PAUSE: Duration = Duration::from_millis(333);

/// Where events are handed in. Clones share one queue.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    namespace: Arc<str>,
    queue: mpsc::Sender<Item>,
    dropped: Arc<AtomicU64>,
}

enum Item {
    Event(Envelope),
    /// Answered once everything before it was sent or given up.
    Flush(oneshot::Sender<()>),
}

/// The task that sends.
struct Forwarder {
    /// Path of containerd's ttrpc socket.
    path: String,
    client: Option<EventsClient>,
}

/// Why an event was not delivered.
struct Unsent {
    error: String,
    /// The answer would be the same every time.
    is_final: bool,
}

impl From<String> for Unsent {
    fn from(error: String) -> Self {
        Self {
            error,
            is_final: false,
        }
    }
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
        tokio::spawn(Forwarder { path, client: None }.run(items, Arc::clone(&dropped)));
        Self {
            namespace: namespace.into(),
            queue,
            dropped,
        }
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

// === impl Forwarder ===

impl Forwarder {
    async fn run(mut self, mut items: mpsc::Receiver<Item>, dropped: Arc<AtomicU64>) {
        while let Some(item) = items.recv().await {
            let count = dropped.swap(0, Ordering::Relaxed);
            if count > 0 {
                log::error!("{count} events were dropped: {QUEUE} wait already");
            }
            match item {
                Item::Event(envelope) => self.deliver(&envelope).await,
                // Who asked may have given up.
                Item::Flush(done) => drop(done.send(())),
            }
        }
    }

    /// Sends one event, again and again for a while.
    async fn deliver(&mut self, envelope: &Envelope) {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            let Err(Unsent { error, is_final }) = self.send(envelope).await else {
                return;
            };
            let topic = &envelope.topic;
            if is_final || attempt == ATTEMPTS || Instant::now() + pause > deadline {
                log::error!("event {topic} is given up after {attempt} tries: {error}");
                return;
            }
            log::debug!("event {topic}, try {attempt}: {error}");
            sleep(pause).await;
            pause *= 3;
        }
    }

    async fn send(&mut self, envelope: &Envelope) -> Result<(), Unsent> {
        let client = match self.client.take() {
            Some(client) => client,
            None => EventsClient::new(dial(&self.path).await?),
        };
        let request = ForwardRequest {
            envelope: MessageField::some(envelope.clone()),
            ..Default::default()
        };
        let call = client.forward(ttrpc::context::with_duration(CALL), &request);
        // ttrpc's own limit ends the wait on the other side; ours holds whatever ttrpc does.
        let sent = match timeout(CALL, call).await {
            Err(_) => return Err(format!("no answer in {} s", CALL.as_secs()).into()),
            Ok(sent) => sent,
        };
        match sent {
            Ok(_) => {
                self.client = Some(client);
                Ok(())
            }
            Err(ttrpc::Error::RpcStatus(status)) => {
                // An answer, so the connection is good, unless ttrpc made it up at its time limit.
                if status.code != EnumOrUnknown::new(ttrpc::Code::DEADLINE_EXCEEDED) {
                    self.client = Some(client);
                }
                let refusals = [ttrpc::Code::INVALID_ARGUMENT, ttrpc::Code::UNIMPLEMENTED];
                Err(Unsent {
                    is_final: refusals.map(EnumOrUnknown::new).contains(&status.code),
                    error: status.message,
                })
            }
            Err(e) => Err(e.to_string().into()),
        }
    }
}

/// Connects to a path only: name resolution has no place in this program.
async fn dial(path: &str) -> Result<Client, String> {
    match timeout(CALL, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Client::new(Socket::from(stream))),
        Ok(Err(e)) => Err(format!("connect to {path:?}: {e}")),
        Err(_) => Err(format!(
            "connect to {path:?}: no answer in {} s",
            CALL.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests;
