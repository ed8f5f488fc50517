//! Requests that a guest makes: over connections of our own, to whom the network policy allows, with a time
//! limit on each step.

use super::settings::CHUNK;
use crate::net::{Resolver, Unresolved};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

use super::stream::Patience;

/// For a connection to be made, where the guest sets no limit.
const CONNECT: Duration = Duration::from_secs(30);
/// For the first byte of an answer, and between the pieces of its body.
const WAIT: Duration = Duration::from_secs(600);

/// What becomes of a request that was sent.
type Rest = Box<dyn Future<Output = Result<()>> + Send>;

/// A guest's way out.
#[derive(Debug)]
pub(crate) struct Outgoing {
    resolver: Arc<Resolver>,
}

impl Outgoing {
    pub(crate) fn new(resolver: &Arc<Resolver>) -> Self {
        Self {
            resolver: Arc::clone(resolver),
        }
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Rest)>> + Send> {
        let resolver = Arc::clone(&self.resolver);
        Box::new(send(resolver, request, options.unwrap_or_default()))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

async fn send(
    resolver: Arc<Resolver>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Rest)> {
    let limit = options.connect_timeout.unwrap_or(CONNECT);
    let tcp = timeout(limit, connect(&resolver, request.uri())).await;
    let tcp = tcp.map_err(|_| Error::ConnectionTimeout)??;
    _ = tcp.set_nodelay(true);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(CHUNK)
        .handshake(TokioIo::new(tcp))
        .await?;
    // Runs on while the body comes, and ends with whoever reads that.
    let connection = wasmtime_wasi::runtime::spawn(connection);
    *request.uri_mut() = origin_form(request.uri());
    let first_byte = options.first_byte_timeout.unwrap_or(WAIT);
    let response = timeout(first_byte, sender.send_request(request)).await;
    let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
    let patience = Patience::new(options.between_bytes_timeout.unwrap_or(WAIT));
    let response = response.map(|body| Received { body, patience }.boxed_unsync());
    let rest = async move { connection.await.map_err(Error::from) };
    Ok((response, Box::new(rest)))
}

/// A connection to the host that the address names, as far as the guest may have one.
async fn connect(resolver: &Resolver, uri: &Uri) -> Result<TcpStream> {
    if uri.scheme_str() == Some("https") {
        return Err(Error::InternalError(Some(
            "hull-wasm has no TLS: use http, or a proxy that speaks https".to_owned(),
        )));
    }
    let host = uri.host().ok_or(Error::HttpRequestUriInvalid)?;
    let port = port(uri, host)?;
    let mut failed = Error::DestinationIpProhibited;
    let addresses = resolver.resolve(host).await;
    for ip in addresses.map_err(|why| unresolved(host, why))? {
        let addr = SocketAddr::new(ip, port);
        if !resolver.network().reaches(addr) {
            continue;
        }
        match TcpStream::connect(addr).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failed = refused(error),
        }
    }
    Err(failed)
}

/// The port that an address names, or that of http. One that is no port is not the usual one instead.
fn port(uri: &Uri, host: &str) -> Result<u16> {
    let authority = uri.authority().map_or("", |all| all.as_str());
    let named = authority.rsplit('@').next().unwrap_or_default();
    match named.strip_prefix(host).unwrap_or_default() {
        "" | ":" => Ok(80),
        port => {
            let digits = port.strip_prefix(':').filter(|port| !port.starts_with('+'));
            let number = digits.and_then(|digits| digits.parse().ok());
            number.ok_or(Error::HttpRequestUriInvalid)
        }
    }
}

fn refused(error: std::io::Error) -> Error {
    let kind = error.kind();
    if kind == ErrorKind::ConnectionRefused {
        Error::ConnectionRefused
    } else if kind == ErrorKind::TimedOut {
        Error::ConnectionTimeout
    } else if kind == ErrorKind::HostUnreachable || kind == ErrorKind::NetworkUnreachable {
        Error::DestinationIpUnroutable
    } else {
        Error::Connect(error)
    }
}

fn unresolved(host: &str, why: Unresolved) -> Error {
    match why {
        Unresolved::Denied => Error::DestinationIpProhibited,
        Unresolved::Temporary => Error::DnsTimeout,
        Unresolved::Invalid => Error::HttpRequestUriInvalid,
        Unresolved::Unknown => Error::DnsError {
            rcode: Some(format!("no address of {host} is known")),
            info_code: None,
        },
        Unresolved::NoFiles => Error::DnsError {
            rcode: Some(format!(
                "no address of {host} is known: under the annotation net names are looked up as mounted \
                 files /etc/hosts and /etc/resolv.conf say, not the image's"
            )),
            info_code: None,
        },
    }
}

/// The path alone, as servers expect it.
fn origin_form(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned();
    path.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// The body of an answer.
struct Received {
    body: Incoming,
    patience: Patience,
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending => match self.patience.poll(context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) => Poll::Ready(Some(Err(Error::ConnectionReadTimeout))),
            },
            Poll::Ready(Some(frame)) => {
                self.patience.reset();
                Poll::Ready(Some(frame.map_err(Error::from)))
            }
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Network;
    use hull_abi::{NameFiles, Net, NetRule, Peer};

    async fn why(net: Net, uri: &str) -> String {
        let resolver = Resolver::load(Arc::new(Network::new(net)), NameFiles::default());
        let uri: Uri = uri.parse().unwrap();
        connect(&resolver, &uri).await.unwrap_err().to_string()
    }

    #[test]
    fn a_port_that_is_none_is_an_error() {
        let of = |uri: &str| {
            let uri: Uri = uri.parse().unwrap();
            port(&uri, uri.host().unwrap()).ok()
        };
        assert_eq!(of("http://host/"), Some(80));
        assert_eq!(of("http://host:/"), Some(80));
        assert_eq!(of("http://host:8080/"), Some(8080));
        assert_eq!(of("http://me:1@host:8080/"), Some(8080));
        assert_eq!(of("http://[::1]/"), Some(80));
        assert_eq!(of("http://[::1]:81/"), Some(81));
        assert_eq!(of("host:99999"), None);
        for port in ["65536", "99999", "-1", "+80", "x"] {
            if let Ok(uri) = format!("http://host:{port}/").parse::<Uri>() {
                assert_eq!(of(&uri.to_string()), None, "{uri}");
            }
        }
    }

    #[tokio::test]
    async fn who_cannot_be_asked_is_told_why() {
        let tls = why(Net::All, "https://127.0.0.1/").await;
        assert!(tls.contains("no TLS"), "{tls}");
        let other = Net::Only(vec![NetRule {
            peer: Peer::Name("other".to_owned()),
            port: None,
        }]);
        let prohibited = Error::DestinationIpProhibited.to_string();
        for (net, uri) in [
            (Net::None, "http://127.0.0.1/"),
            (Net::None, "http://localhost/"),
            (other.clone(), "http://[::1]/"),
            (other, "http://localhost/"),
        ] {
            assert_eq!(why(net, uri).await, prohibited, "{uri}");
        }
        let unknown = unresolved("web", Unresolved::Unknown).to_string();
        assert!(unknown.contains("web"), "{unknown}");
        let web = Net::Only(vec![NetRule {
            peer: Peer::Name("web".to_owned()),
            port: None,
        }]);
        let unmounted = why(web, "http://web/").await;
        assert!(unmounted.contains("not the image's"), "{unmounted}");
    }
}
