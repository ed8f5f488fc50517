//! Taking connections, and leaving.

use super::connection;
use super::metrics::Metrics;
use super::service::Service;
use hull_sys::eventfd::EventFd;
use hull_sys::last_call;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long to wait where a connection cannot be taken, for want of descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// How often to look whether what guests do after their answers is done.
const LOOK: Duration = Duration::from_millis(5);

/// Serves until it is told to leave, then until all that was begun is done; the exit code. That it does not
/// take too long is [`last_call`]'s business.
pub(crate) async fn run(
    listeners: Vec<TcpListener>,
    service: Arc<Service>,
    wake: &'static EventFd,
    busy: Arc<AtomicUsize>,
) -> i32 {
    let (leave, leaving) = watch::channel(false);
    let places = Arc::new(Semaphore::new(service.settings.connections));
    let mut accepting = Vec::new();
    for listener in listeners {
        let (service, places, leaving) =
            (Arc::clone(&service), Arc::clone(&places), leaving.clone());
        accepting.push(tokio::spawn(accept(listener, service, places, leaving)));
    }
    drop(leaving);
    told_to_leave(wake).await;
    // Listeners close, idle connections end, others end with their requests.
    leave.send_replace(true);
    for task in accepting {
        // Then all that was accepted is counted.
        _ = task.await;
    }
    let metrics = &service.metrics;
    while metrics.connections.load(Ordering::SeqCst) > 0 || busy.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(LOOK).await;
    }
    last_call::leave_with().unwrap_or_default()
}

/// Waits for SIGTERM, SIGINT, or a guest that does not come back.
async fn told_to_leave(wake: &'static EventFd) {
    match watch_descriptor(wake.as_fd()) {
        Some(watched) => {
            while last_call::leave_with().is_none() {
                match watched.readable().await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => return,
                }
            }
        }
        None => {
            while last_call::leave_with().is_none() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe: the descriptor has to stay open, and this one is never closed"
)]
fn watch_descriptor(wake: BorrowedFd<'static>) -> Option<AsyncFd<BorrowedFd<'static>>> {
    AsyncFd::with_interest(wake, Interest::READABLE).ok()
}

/// Takes connections.
async fn accept(
    listener: TcpListener,
    service: Arc<Service>,
    places: Arc<Semaphore>,
    mut leaving: watch::Receiver<bool>,
) {
    let for_connections = leaving.clone();
    loop {
        let taken = tokio::select! {
            biased;
            _ = leaving.wait_for(|leaving| *leaving) => return,
            taken = take(&listener, &places) => taken,
        };
        let Some((tcp, place)) = taken else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let counted = Connection::new(&service.metrics);
        let (service, leaving) = (Arc::clone(&service), for_connections.clone());
        tokio::spawn(async move {
            connection::serve(tcp, service, leaving).await;
            drop((counted, place));
        });
    }
}

/// A connection, when there is a place for one.
async fn take(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    let (tcp, _) = listener.accept().await.ok()?;
    Some((tcp, place))
}

/// A connection in the counters.
struct Connection(Arc<Metrics>);

impl Connection {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}
