//! Clients that ask again as soon as they have their answer, each on a connection that stays.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::Result;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer.
const LONGEST: usize = 4096;

/// How it went.
#[derive(Debug)]
pub(super) struct Told {
    took: Duration,
    latencies: Vec<Duration>,
}

impl Told {
    pub(super) fn per_second(&self) -> f64 {
        let requests = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        f64::from(requests) / self.took.as_secs_f64()
    }

    /// The latency that all but one in a hundred stay below.
    pub(super) fn p99(&self) -> Duration {
        let at = (self.latencies.len() * 99 / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}

/// Sends so many requests over so many connections.
pub(super) async fn run(addr: SocketAddr, connections: usize, requests: usize) -> Result<Told> {
    let began = Instant::now();
    let each = requests.div_ceil(connections);
    let clients: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(client(addr, each)))
        .collect();
    let mut latencies = Vec::with_capacity(requests);
    for client in clients {
        latencies.extend(client.await??);
    }
    let took = began.elapsed();
    latencies.sort_unstable();
    Ok(Told { took, latencies })
}

async fn client(addr: SocketAddr, requests: usize) -> std::io::Result<Vec<Duration>> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::with_capacity(requests);
    for _ in 0..requests {
        let began = Instant::now();
        timeout(LIMIT, ask(&stream)).await??;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// One request, and its answer to the end.
async fn ask(stream: &TcpStream) -> std::io::Result<()> {
    let mut sent = 0;
    while let Some(rest) = REQUEST.get(sent..).filter(|rest| !rest.is_empty()) {
        stream.writable().await?;
        match stream.try_write(rest) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    let mut buffer = [0; LONGEST];
    let mut filled = 0;
    loop {
        stream.readable().await?;
        let rest = buffer.get_mut(filled..).unwrap_or_default();
        match stream.try_read(rest) {
            Ok(0) => return Err(std::io::Error::other("the answer has no end")),
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if is_whole(buffer.get(..filled).unwrap_or_default())? {
            return Ok(());
        }
    }
}

/// Whether this is a whole answer, with a length or in chunks; one that is not 200 is an error.
fn is_whole(answer: &[u8]) -> std::io::Result<bool> {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = answer.split_at(end + 4);
    if !head.starts_with(b"HTTP/1.1 200 ") {
        let line = String::from_utf8_lossy(head.split(|b| *b == b'\r').next().unwrap_or_default());
        return Err(std::io::Error::other(format!("the answer is {line:?}")));
    }
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    Ok(match length.and_then(|length| length.trim().parse().ok()) {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_by_its_length_or_its_last_chunk() {
        let whole = |text: &str| is_whole(text.as_bytes()).unwrap();
        assert!(!whole("HTTP/1.1 200 OK\r\nContent-Len"));
        assert!(!whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na"));
        assert!(whole("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"));
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n";
        assert!(!whole(chunked));
        assert!(whole(&format!("{chunked}0\r\n\r\n")));
        assert!(is_whole(b"HTTP/1.1 503 Busy\r\n\r\n").is_err());
    }
}
