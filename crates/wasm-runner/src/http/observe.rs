//! Telling how the server does: OpenMetrics over HTTP/1 on a Unix socket, which only root of the host reaches.

use super::service::Service;
use super::settings::HEAD_TIMEOUT;
use crate::failure::Failure;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;

/// How long one who asks may take in all.
const LIMIT: Duration = Duration::from_secs(10);
/// How long to wait where nobody can be taken, for want of descriptors mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// The type of the answer.
const TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The socket that came with the config. Has to be called in the event loop.
pub(crate) fn listener(socket: OwnedFd) -> Result<UnixListener, Failure> {
    let socket = StdUnixListener::from(socket);
    socket
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(socket))
        .map_err(|error| Failure::internal("cannot use the metrics socket", error))
}

/// Answers one after the other: those who ask are few, and a slow one has a time limit.
pub(crate) async fn run(listener: UnixListener, service: Arc<Service>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let answer = service_fn(|_| {
            let text = service
                .metrics
                .text(service.guest.state().template.memory());
            let mut response = hyper::Response::new(Full::new(Bytes::from(text)));
            let kind = HeaderValue::from_static(TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), answer);
        // Whoever asks in another language, or goes, gets no answer.
        _ = tokio::time::timeout(LIMIT, connection).await;
    }
}
