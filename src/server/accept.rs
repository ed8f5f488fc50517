//! Accepting connections, and counting the open ones.

use crate::daemon::{Connected, Shared};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::sleep;

/// Pause after a failure: a connection that cannot be accepted for want of descriptors stays in the
/// queue, and the next try would come at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections of our own user only. The socket's mode says the same; this holds even when
/// somebody changed that (CVE-2020-15257).
pub(super) struct OwnUser {
    listener: UnixListener,
    shared: Arc<Shared>,
}

/// A connection that is counted as open.
pub(super) struct Accepted {
    pub(super) stream: UnixStream,
    pub(super) connected: Connected,
}

impl OwnUser {
    pub(super) fn new(listener: UnixListener, shared: &Arc<Shared>) -> Self {
        Self {
            listener,
            shared: Arc::clone(shared),
        }
    }

    /// The next connection. Dropping the future loses none.
    pub(super) async fn accept(&mut self) -> Accepted {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(e) => {
                    log::warn!("accept: {e}");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => {
                    self.shared.publisher.hurry();
                    let connected = self.shared.leave.connected();
                    return Accepted { stream, connected };
                }
                Ok(peer) => log::warn!("refused a connection of user {}", peer.uid()),
                Err(e) => log::warn!("refused a connection: {e}"),
            }
        }
    }
}
