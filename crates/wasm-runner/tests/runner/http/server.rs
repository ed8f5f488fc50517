//! A server under test, and what comes back from it.

use super::LIMIT;
use crate::guest::{Guest, Running, wait_until};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// A server that listens.
pub(super) struct Server {
    pub(super) running: Running,
    pub(super) addr: SocketAddr,
    stderr: BufReader<std::process::ChildStderr>,
}

pub(super) fn guest(text: &str) -> Guest {
    let mut guest = Guest::new(text);
    guest.config.env = vec!["PORT=0".to_owned()];
    guest.config.cpus = 1;
    guest.config.entry = hull_abi::Entry::Http;
    guest
}

impl Server {
    pub(super) fn start(guest: Guest) -> Self {
        let mut running = guest.spawn();
        let mut stderr = BufReader::new(running.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let shown = line.strip_prefix("hull-wasm: listening on http://");
        let shown = shown.expect(&line);
        let addr: SocketAddr = shown.split_whitespace().next().unwrap().parse().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], addr.port()));
        Self {
            running,
            addr,
            stderr,
        }
    }

    pub(super) fn connect(&self) -> TcpStream {
        let tcp = TcpStream::connect(self.addr).unwrap();
        tcp.set_read_timeout(Some(LIMIT)).unwrap();
        tcp.set_write_timeout(Some(LIMIT)).unwrap();
        tcp
    }

    pub(super) fn get(&self, path: &str) -> (u16, String) {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// Sends this on a connection of its own; status and body of the answer.
    pub(super) fn send(&self, request: &str) -> (u16, String) {
        let mut tcp = self.connect();
        tcp.write_all(request.as_bytes()).unwrap();
        let (head, body) = answer(&mut BufReader::new(tcp));
        (code(&head), body)
    }

    pub(super) fn signal(&self, signal: i32) {
        let pid = self.running.id().to_string();
        let sent = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(super) fn exit_code(&mut self) -> Option<i32> {
        self.running.wait().unwrap().code()
    }

    /// What it says until it has said so many things of its own.
    pub(super) fn said_until(&mut self, count: usize) -> String {
        let mut text = String::new();
        while text.matches("hull-wasm").count() < count {
            let read = self.stderr.read_line(&mut text).unwrap();
            assert_ne!(read, 0, "{text}");
        }
        text
    }

    /// Waits until the server has read all that was sent over this connection.
    pub(super) fn wait_until_taken(&self, tcp: &TcpStream) {
        let hex = |addr: SocketAddr| format!(":{:04X}", addr.port());
        let (own, client) = (hex(self.addr), hex(tcp.local_addr().unwrap()));
        let path = |file| format!("/proc/{}/net/{file}", self.running.id());
        let is_taken = || {
            let read = |file| std::fs::read_to_string(path(file)).unwrap_or_default();
            let sockets = read("tcp") + &read("tcp6");
            sockets.lines().any(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                // Established, and nothing in the queue of what came.
                words[1].ends_with(&own)
                    && words[2].ends_with(&client)
                    && words[3] == "01"
                    && words[4].ends_with(":00000000")
            })
        };
        wait_until("the server has the request", is_taken);
    }

    pub(super) fn said(&mut self) -> String {
        let mut text = String::new();
        self.stderr.read_to_string(&mut text).unwrap();
        text
    }
}

pub(super) fn code(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Reads one answer of HTTP/1.1: its head, and its body by length or in chunks.
pub(super) fn answer(from: &mut impl std::io::BufRead) -> (String, String) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(from.read_line(&mut head).unwrap(), 0, "{head:?}");
    }
    let header = |name: &str| {
        let lower = head.to_ascii_lowercase();
        let line = lower
            .lines()
            .find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.map(|value| value.trim().to_owned())
    };
    let mut body = Vec::new();
    if let Some(length) = header("content-length:") {
        body.resize(length.parse().unwrap(), 0);
        from.read_exact(&mut body).unwrap();
    } else if header("transfer-encoding:").is_some() {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk).unwrap();
            body.extend(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    (head, String::from_utf8(body).unwrap())
}
