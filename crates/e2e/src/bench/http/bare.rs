//! hyper and nothing else: what is left for a guest to spend.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::bench::Result;

/// The argument that makes this program such a server; the address follows.
pub(in crate::bench) const VERB: &str = "--bare-http-server";

/// Serves until it is killed.
pub(in crate::bench) fn serve(addr: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let hello = service_fn(|_| {
                    let body = Full::new(Bytes::from_static(b"hello from hyper itself\n"));
                    std::future::ready(Ok::<_, Infallible>(hyper::Response::new(body)))
                });
                let connection = http1::Builder::new();
                // The client ends it, when it has what it wants.
                drop(
                    connection
                        .serve_connection(TokioIo::new(stream), hello)
                        .await,
                );
            });
        }
    })
}
