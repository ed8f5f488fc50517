//! One client's connection.

use super::body::{Answer, Progress};
use super::service::Service;
use super::settings::{CHUNK, HEAD_BYTES, HEADERS, IDLE, STALL, STREAMS, WINDOW};
use super::stream::{Requests, Stream, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often a connection with several streams is looked at.
const LOOK: Duration = Duration::from_secs(15);

/// Serves a connection to its end. Once `leaving` is true, it takes no further requests.
pub(crate) async fn serve(
    tcp: TcpStream,
    service: Arc<Service>,
    mut leaving: watch::Receiver<bool>,
) {
    // Guests write small pieces; those must not wait for the client's acknowledgements.
    _ = tcp.set_nodelay(true);
    let requests = Arc::new(Requests::default());
    let opened = tokio::select! {
        opened = Stream::open(tcp, Arc::clone(&requests)) => opened,
        _ = leaving.wait_for(|leaving| *leaving) => None,
    };
    match opened {
        Some((stream, Version::Http1)) => http1(stream, service, requests, leaving).await,
        Some((stream, Version::Http2)) => http2(stream, service, requests, leaving).await,
        None => {}
    }
}

async fn http1(
    stream: Stream,
    service: Arc<Service>,
    requests: Arc<Requests>,
    mut leaving: watch::Receiver<bool>,
) {
    let answer = service_fn(|request: Request<Incoming>| async {
        Ok::<Response<Answer>, Infallible>(service.answer(request, &requests).await)
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            // From one request to the next; from its first byte on it is the stream's affair.
            .header_read_timeout(IDLE)
            .max_headers(HEADERS)
            .max_buf_size(HEAD_BYTES)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), answer)
    );
    // Errors are the client's: it went away, or what it sent was no HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
    }
    _ = connection.await;
}

async fn http2(
    stream: Stream,
    service: Arc<Service>,
    requests: Arc<Requests>,
    mut leaving: watch::Receiver<bool>,
) {
    let answers = Arc::new(Answers::default());
    let count = Arc::clone(&requests);
    let kept = Arc::clone(&answers);
    let answer = service_fn(move |request: Request<Incoming>| {
        let (service, requests, kept) =
            (Arc::clone(&service), Arc::clone(&count), Arc::clone(&kept));
        async move {
            let answer = service.answer(request, &requests).await;
            kept.add(answer.body().progress());
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(
        http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(IDLE)
            .keep_alive_timeout(STALL)
            .max_concurrent_streams(STREAMS)
            // What has come and was not read is in memory of ours.
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .max_send_buf_size(CHUNK)
            .serve_connection(TokioIo::new(stream), answer)
    );
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_used = Instant::now();
    let mut stays = true;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = leaving.wait_for(|leaving| *leaving), if stays => {
                connection.as_mut().graceful_shutdown();
                stays = false;
            }
            _ = looks.tick() => {
                if answers.is_one_stalled() {
                    return;
                }
                if requests.is_busy() {
                    last_used = Instant::now();
                } else if stays && last_used.elapsed() > IDLE {
                    connection.as_mut().graceful_shutdown();
                    stays = false;
                }
            }
        }
    }
}

/// The answers of a connection that are on their way: a client can take nothing of one of them, and of the
/// others all.
#[derive(Debug, Default)]
struct Answers(Mutex<Vec<Weak<Progress>>>);

impl Answers {
    fn add(&self, progress: &Arc<Progress>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|answer| answer.strong_count() > 0);
        all.push(Arc::downgrade(progress));
    }

    fn is_one_stalled(&self) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut there = all.iter().filter_map(Weak::upgrade);
        there.any(|answer| answer.is_stalled(STALL))
    }
}
