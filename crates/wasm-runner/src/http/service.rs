//! From a request to an answer.

use super::admission::{Admission, Full};
use super::body::{Answer, ByGuest, Counted, Sent, TooLarge};
use super::instances::{Guest, NoRoom, Ticket};
use super::life::{Asking, Exchange};
use super::metrics::Metrics;
use super::settings::Settings;
use super::stream::Requests;
use super::threads::sign_of_life;
use crate::failure::report_request;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full as Whole};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use wasmtime::Error;
use wasmtime_wasi_http::handler::{
    ExpirationError, InstantiationError, ProxyHandler, Response as HandlerResponse,
};

/// How long an instance may take to say why it failed.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// What all connections share.
pub(crate) struct Service {
    pub(crate) guest: ProxyHandler<Guest>,
    pub(crate) admission: Admission,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
}

/// Why the guest does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The request names no host.
    NoHost,
    /// Its body is larger than allowed.
    TooLarge,
    /// There is no place for it, or no memory for an instance.
    NoRoom,
    /// The guest failed.
    Failed,
    /// The guest did not answer in time.
    Late,
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Late => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NoHost => "the request names no host\n",
            Self::TooLarge => "the request is too large\n",
            Self::NoRoom => "the server is busy\n",
            Self::Failed => "the server failed\n",
            Self::Late => "the server took too long\n",
        }
    }
}

impl Service {
    /// Answers a request of a connection with these `requests`.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        requests: &Arc<Requests>,
    ) -> Response<Answer> {
        sign_of_life();
        let came = Instant::now();
        let counted = Counted::new(requests);
        let answer = match self.ask(request, came).await {
            Ok((response, guest)) => response.map(|body| Answer::new(body, counted, Some(guest))),
            Err(refusal) => self.refuse(refusal, counted),
        };
        let status = answer.status().as_u16();
        self.metrics.answered(status, came.elapsed());
        answer
    }

    async fn ask(
        &self,
        mut request: Request<Incoming>,
        came: Instant,
    ) -> Result<(HandlerResponse, ByGuest), Refusal> {
        name_host(&mut request)?;
        let limit = self.settings.max_body;
        // What is announced; what is not is counted on its way.
        if limit.is_some_and(|limit| request.body().size_hint().lower() > limit) {
            return Err(Refusal::TooLarge);
        }
        let deadline = came + self.settings.request_timeout;
        let permit = self.admission.admit(head_bytes(&request), deadline).await;
        let permit = Arc::new(permit.map_err(|Full| Refusal::NoRoom)?);
        let too_large = TooLarge::default();
        let sent = Arc::clone(&too_large);
        let request = request.map(|body| Sent::new(body, limit, sent).boxed_unsync());
        let exchange = Arc::new(Exchange::default());
        let asking = Asking::new(&exchange);
        let ticket = Ticket {
            exchange: Arc::clone(&exchange),
            permit: Arc::clone(&permit),
        };
        let answer = timeout_at(deadline, self.guest.handle(ticket, request)).await;
        let is_too_large = too_large.load(Ordering::SeqCst);
        match answer {
            Err(_) => Err(Refusal::Late),
            Ok(_) if is_too_large => Err(Refusal::TooLarge),
            Ok(Ok(response)) => {
                asking.answered();
                Ok((response, ByGuest { asking, permit }))
            }
            // Its instance was given up for that, a moment before we heard of the time.
            Ok(Err(_)) if Instant::now() >= deadline => Err(Refusal::Late),
            Ok(Err(error)) => {
                let says_where = self.guest.state().says_where;
                Err(refusal(error, exchange, says_where))
            }
        }
    }

    fn refuse(&self, refusal: Refusal, counted: Counted) -> Response<Answer> {
        match refusal {
            Refusal::NoRoom => self.metrics.refused.fetch_add(1, Ordering::Relaxed),
            Refusal::Late => self.metrics.timeouts.fetch_add(1, Ordering::Relaxed),
            Refusal::NoHost | Refusal::TooLarge | Refusal::Failed => 0,
        };
        let text = Whole::new(Bytes::from_static(refusal.text().as_bytes()));
        let body = text.map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(Answer::new(body, counted, None));
        *response.status_mut() = refusal.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if refusal == Refusal::NoRoom {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What the client is told of an error of the guest.
fn refusal(error: Error, exchange: Arc<Exchange>, says_where: bool) -> Refusal {
    if error.is::<ExpirationError>() {
        return Refusal::Late;
    }
    // Where it comes from, it was said why.
    if let Some(failed) = error.downcast_ref::<InstantiationError<Ticket>>() {
        return if failed.error.is::<NoRoom>() {
            Refusal::NoRoom
        } else {
            Refusal::Failed
        };
    }
    tokio::spawn(async move {
        // Of a trap its instance says more than what comes here, a moment later.
        tokio::time::sleep(LAST_WORDS).await;
        if !exchange.has_failed() {
            report_request(&error, says_where);
        }
    });
    Refusal::Failed
}

/// What the head of a request takes, as HTTP/2 counts it (RFC 9113, 6.5.2).
fn head_bytes(request: &Request<Incoming>) -> u32 {
    const EACH: usize = 32;
    let path = request
        .uri()
        .path_and_query()
        .map_or("", |path| path.as_str());
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + EACH);
    u32::try_from(path.len() + headers.sum::<usize>()).unwrap_or(u32::MAX)
}

/// A request of HTTP/1.0 need not name a host; a guest always hears of one.
fn name_host(request: &mut Request<Incoming>) -> Result<(), Refusal> {
    if request.uri().authority().is_some() || request.headers().contains_key(HOST) {
        return Ok(());
    }
    if request.version() > hyper::Version::HTTP_10 {
        return Err(Refusal::NoHost);
    }
    let unnamed = HeaderValue::from_static("localhost");
    request.headers_mut().insert(HOST, unnamed);
    Ok(())
}
