//! A place for a shim's events where no containerd is: a socket with containerd's events service.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use containerd_shim_protos::api::{Empty, ForwardRequest};
use containerd_shim_protos::shim_async::{Events as Service, create_events};
use tokio::sync::mpsc;
use ttrpc::asynchronous::{Server, TtrpcContext};

use crate::error::RpcError;

/// Receives the events of shims and gives their topics, e.g. `/tasks/exit`.
pub struct Events {
    topics: mpsc::UnboundedReceiver<String>,
    server: Server,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

struct Receiver(mpsc::UnboundedSender<String>);

#[async_trait]
impl Service for Receiver {
    async fn forward(
        &self,
        _context: &TtrpcContext,
        request: ForwardRequest,
    ) -> ttrpc::Result<Empty> {
        if let Some(envelope) = request.envelope.into_option() {
            // Nobody may be interested any more.
            drop(self.0.send(envelope.topic));
        }
        Ok(Empty::new())
    }
}

impl Events {
    /// Listens on `socket`, whose path is what a shim gets as `TTRPC_ADDRESS`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be bound; its path may have 107 bytes.
    pub async fn listen(socket: &Path) -> Result<Self, RpcError> {
        let (sender, topics) = mpsc::unbounded_channel();
        let service = create_events(Arc::new(Receiver(sender)));
        let address = format!("unix://{}", socket.display());
        let mut server = Server::new().bind(&address)?.register_service(service);
        server.start().await?;
        Ok(Self { topics, server })
    }

    /// The topic of the next event that came, without waiting.
    pub fn take(&mut self) -> Option<String> {
        self.topics.try_recv().ok()
    }

    /// Closes the socket.
    pub async fn close(mut self) {
        // A server that is down already is as good.
        drop(self.server.shutdown().await);
    }
}
