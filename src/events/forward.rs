//! Sending events, one after the other.
//!
//! containerd's `Forward` has no number by which it could tell a repetition from a new event, and it
//! handles the calls of one connection at the same time. So an event is sent when the one before it was
//! answered, and what happens without an answer depends on what can have become of it:
//!
//! | what happened | did it arrive? | what is done |
//! |---|---|---|
//! | nobody listens | no | it is sent when somebody does, however long that takes |
//! | the connection stands, no answer | it did or will | the answer is waited for; it is never sent again |
//! | the connection broke | perhaps, at a containerd that is gone | it is sent again, a few times |
//! | the answer is an error | no | it is sent again, a few times |
//!
//! An event thus comes twice only if containerd ended between taking it and saying so, and then it comes
//! to two different containerds. A lost exit would be worse: a container that runs for ever in the eyes of
//! whoever waits for it.

use super::Item;
use containerd_shim_protos::api::ForwardRequest;
use containerd_shim_protos::shim::event::Envelope;
use containerd_shim_protos::shim_async::{Client, EventsClient};
use protobuf::{EnumOrUnknown, MessageField};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use ttrpc::asynchronous::transport::Socket;

/// Most time for making one connection.
const DIAL: Duration = Duration::from_secs(5);

/// Most time for the answer on a connection that stands. A containerd that is stopped, or swapped out, is
/// slow for all of its clients and goes on where it was; beyond this it is taken to have lost the call.
pub(super) const ANSWER: Duration = Duration::from_secs(120);

/// How the words begin of what the ttrpc client says on a connection that has ended: before it sends anything.
const NOT_SENT: &str = "reserve channel";

/// Most tries of one event that may each have reached a containerd.
pub(super) const ATTEMPTS: u32 = 5;

/// Pause before the second try; each further one is twice as long, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Most time from the return of containerd to the next try.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The task that sends.
pub(super) struct Forwarder {
    /// Path of containerd's ttrpc socket.
    path: String,
    client: Option<EventsClient>,
    /// Ends a pause.
    hurry: Arc<Notify>,
}

/// Why an event was not acknowledged.
#[derive(Debug)]
enum Failure {
    /// Nobody listens: it was not sent.
    Away(String),
    /// The connection broke before the answer.
    Broken(String),
    /// containerd says that it did not take it.
    Refused {
        error: String,
        /// The answer would be the same every time.
        is_final: bool,
    },
    /// There was no answer in time, though the connection stands.
    Unanswered,
}

impl Forwarder {
    pub(super) fn new(path: String, hurry: Arc<Notify>) -> Self {
        Self {
            path,
            client: None,
            hurry,
        }
    }

    /// Sends what comes until nothing can come any more.
    pub(super) async fn run(mut self, mut items: mpsc::Receiver<Item>, dropped: Arc<AtomicU64>) {
        while let Some(item) = items.recv().await {
            let count = dropped.swap(0, Ordering::Relaxed);
            if count > 0 {
                log::error!("{count} events were dropped: too many wait already");
            }
            match item {
                Item::Event(envelope) => self.deliver(&envelope).await,
                // Who asked may have given up.
                Item::Flush(done) => drop(done.send(())),
            }
        }
    }

    /// Sends one event until it was answered, or another try would do no good.
    async fn deliver(&mut self, envelope: &Envelope) {
        let topic = &envelope.topic;
        let mut pause = FIRST_PAUSE;
        let mut attempts = 0;
        let mut is_told = false;
        loop {
            let Err(failure) = self.send(envelope).await else {
                if is_told {
                    log::info!("events are taken again");
                }
                return;
            };
            let (error, is_final) = match failure {
                Failure::Away(error) => {
                    if !is_told {
                        log::warn!("events wait for containerd: {error}");
                        is_told = true;
                    }
                    (error, false)
                }
                Failure::Broken(error) => {
                    attempts += 1;
                    (error, false)
                }
                Failure::Refused { error, is_final } => {
                    attempts += 1;
                    (error, is_final)
                }
                Failure::Unanswered => {
                    let seconds = ANSWER.as_secs();
                    return log::error!(
                        "event {topic} was sent, and not answered in {seconds} s: \
                         it is not sent again"
                    );
                }
            };
            if is_final || attempts == ATTEMPTS {
                return log::error!("event {topic} is given up after {attempts} tries: {error}");
            }
            log::debug!("event {topic}: {error}");
            let hurried = timeout(pause, self.hurry.notified()).await.is_ok();
            pause = if hurried {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
    }

    /// One try, on the connection that there is, if it stands, else on a new one.
    async fn send(&mut self, envelope: &Envelope) -> Result<(), Failure> {
        let request = ForwardRequest {
            envelope: MessageField::some(envelope.clone()),
            ..Default::default()
        };
        if let Some(client) = self.client.take()
            && let Some(done) = self.call(client, &request).await
        {
            return done;
        }
        let client = EventsClient::new(dial(&self.path).await?);
        let closed = || Failure::Broken("the connection was closed at once".to_owned());
        self.call(client, &request)
            .await
            .unwrap_or_else(|| Err(closed()))
    }

    /// `None` when the connection had been closed before: then nothing was sent.
    async fn call(
        &mut self,
        client: EventsClient,
        request: &ForwardRequest,
    ) -> Option<Result<(), Failure>> {
        // No time limit for containerd: it would not take the event back then.
        let answer = timeout(
            ANSWER,
            client.forward(ttrpc::context::Context::default(), request),
        );
        let failure = match answer.await {
            Ok(Ok(_)) => {
                self.client = Some(client);
                return Some(Ok(()));
            }
            Ok(Err(ttrpc::Error::Others(text))) if text.starts_with(NOT_SENT) => return None,
            Ok(Err(ttrpc::Error::RpcStatus(status))) => {
                // An answer, so the connection is good.
                self.client = Some(client);
                let refusals = [ttrpc::Code::INVALID_ARGUMENT, ttrpc::Code::UNIMPLEMENTED];
                Failure::Refused {
                    is_final: refusals.map(EnumOrUnknown::new).contains(&status.code),
                    error: status.message,
                }
            }
            Ok(Err(e)) => Failure::Broken(e.to_string()),
            Err(_) => {
                // On another connection the next event would all the more overtake this one.
                self.client = Some(client);
                Failure::Unanswered
            }
        };
        Some(Err(failure))
    }
}

/// Connects to a path only: name resolution has no place in this program.
async fn dial(path: &str) -> Result<Client, Failure> {
    let failed = |cause: String| Failure::Away(format!("connect to {path:?}: {cause}"));
    match timeout(DIAL, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Client::new(Socket::from(stream))),
        Ok(Err(e)) => Err(failed(e.to_string())),
        Err(_) => Err(failed(format!("no answer in {} s", DIAL.as_secs()))),
    }
}
