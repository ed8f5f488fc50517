//! Events, published in their order by a thread of their own: a client is not kept waiting for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use containerd_shim::event::Event;
use containerd_shim::publisher::RemotePublisher;

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) struct Events(Sender<Box<dyn Event>>);

impl Events {
    /// Starts the thread; it ends with the last clone of this.
    pub(crate) fn publish_with(publisher: RemotePublisher, namespace: String) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || forward(&receiver, &publisher, &namespace));
        Self(sender)
    }

    /// Queues an event.
    pub(crate) fn push(&self, event: impl Event) {
        // The thread only ends after all senders.
        let _sent = self.0.send(Box::new(event));
    }
}

fn forward(events: &Receiver<Box<dyn Event>>, publisher: &RemotePublisher, namespace: &str) {
    for event in events {
        let topic = event.topic();
        // Where containerd is gone nobody is left to be told.
        let _forwarded = publisher.publish(Default::default(), &topic, namespace, event);
    }
}
