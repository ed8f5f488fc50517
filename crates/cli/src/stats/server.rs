//! One server: whose it is, what it says, and what its cgroup says.

use crate::error::Error;
use hull_abi::CgroupPaths;
use hull_cgroup::{Stats, stats};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a server may take to answer. It may be computing.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest answer that is read. What answers is in the container's hands.
const LONGEST: u64 = 256 << 10;

/// A server.
#[derive(Debug, Serialize)]
pub(super) struct Server {
    pub(super) namespace: String,
    pub(super) id: String,
    /// What it counts, by the names of its metrics.
    pub(super) metrics: BTreeMap<String, f64>,
    /// What its container uses.
    pub(super) cgroup: Option<Usage>,
    /// Why it does not say how it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) silent_because: Option<String>,
    /// What it said.
    #[serde(skip)]
    pub(super) text: String,
    #[serde(skip)]
    socket: PathBuf,
    #[serde(skip)]
    paths: CgroupPaths,
}

/// What a container uses, as far as there are controllers that count it.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    pub(super) memory_bytes: Option<u64>,
    pub(super) cpu_nanoseconds: Option<u64>,
    pub(super) tasks: Option<u64>,
}

/// What the shim has written beside the socket.
#[derive(Debug, Deserialize)]
struct About {
    namespace: String,
    id: String,
    cgroup: CgroupPaths,
}

/// Every server of this machine, not yet asked.
///
/// # Errors
/// When the directory cannot be read.
pub(super) fn all(directory: &Path) -> Result<Vec<Server>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| Error::new(format!("read {}", directory.display()), e))?,
    };
    // One that ends while we look is none.
    Ok(entries
        .filter_map(|entry| Server::at(&entry.ok()?.path()).ok())
        .collect())
}

impl Server {
    fn at(directory: &Path) -> io::Result<Self> {
        let about: About = serde_json::from_slice(&fs::read(directory.join("about"))?)?;
        Ok(Self {
            namespace: about.namespace,
            id: about.id,
            metrics: BTreeMap::new(),
            cgroup: None,
            silent_because: None,
            text: String::new(),
            socket: directory.join("socket"),
            paths: about.cgroup,
        })
    }

    /// Asks the server and its cgroup.
    pub(super) fn ask(&mut self) {
        match fetch(&self.socket) {
            Ok(text) => {
                self.metrics = parse(&text);
                self.text = text;
            }
            Err(error) => self.silent_because = Some(error.to_string()),
        }
        self.cgroup = stats(&self.paths).ok().map(|stats| match stats {
            Stats::V1(v1) => Usage {
                memory_bytes: v1.memory.map(|memory| memory.usage.usage),
                cpu_nanoseconds: v1.cpu.map(|cpu| cpu.total_ns),
                tasks: v1.pids.map(|pids| pids.current),
            },
            Stats::V2(v2) => Usage {
                memory_bytes: v2.memory.map(|memory| memory.usage),
                cpu_nanoseconds: Some(v2.cpu.usage_usec.saturating_mul(1000)),
                tasks: v2.pids.map(|pids| pids.current),
            },
        });
    }

    /// A counter, or the sum of those that differ by their labels.
    pub(super) fn count(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let fits = |key: &str| key == name || key.starts_with(&labelled);
        let values = self.metrics.iter().filter(|(key, _)| fits(key));
        values.map(|(_, value)| value).sum()
    }
}

/// Asks over HTTP/1.0. The whole takes no longer than the limit, however slowly it comes.
fn fetch(socket: &Path) -> io::Result<String> {
    let deadline = Instant::now() + LIMIT;
    let mut stream = connect(socket)?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: hull\r\n\r\n")?;
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = match stream.read(&mut piece) {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(ErrorKind::TimedOut.into()),
            other => other,
        }?;
        bytes.extend(piece.get(..count).unwrap_or_default());
        let is_too_long = u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST;
        if is_too_long {
            return Err(io::Error::other("its answer is too long"));
        }
        if count == 0 {
            break;
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(ErrorKind::InvalidData)?;
    if !head.contains(" 200 ") || body.chars().any(|c| c.is_control() && c != '\n') {
        return Err(ErrorKind::InvalidData.into());
    }
    Ok(body.to_owned())
}

/// Connects without waiting: a server whose backlog is full is one that does not answer.
fn connect(socket: &Path) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connection = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match nix::sys::socket::connect(connection.as_raw_fd(), &UnixAddr::new(socket)?) {
        Err(Errno::EAGAIN) => return Err(ErrorKind::TimedOut.into()),
        other => other?,
    }
    let stream = UnixStream::from(connection);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// The samples of an OpenMetrics text.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let value = value.parse().ok().filter(|value: &f64| value.is_finite())?;
            Some((name.to_owned(), value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn server_that_takes_no_connection_is_silent_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        // It never accepts one.
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(&socket) {
            waiting.push(stream);
        }
        let began = Instant::now();
        let error = fetch(&socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < LIMIT);
        // One that took it and says nothing has its time.
        let other = directory.path().join("other");
        let _listener = UnixListener::bind(&other).unwrap();
        assert_eq!(fetch(&other).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() < LIMIT * 2);
    }

    #[test]
    fn samples_are_summed_over_their_labels() {
        let mut server = Server {
            namespace: String::new(),
            id: String::new(),
            metrics: parse("# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\nbad\nc NaN\n"),
            cgroup: None,
            silent_because: None,
            text: String::new(),
            socket: PathBuf::new(),
            paths: CgroupPaths::default(),
        };
        assert!((server.count("a") - 5.0).abs() < 1e-9);
        assert!((server.count("ab") - 7.0).abs() < 1e-9);
        assert_eq!(server.metrics.len(), 3);
        server.socket = PathBuf::from("/no/such/socket");
        server.ask();
        assert!(server.silent_because.is_some());
    }
}
