//! What clients and guests cannot have more of.

use super::*;
use crate::guest::status;

#[test]
fn what_annotations_limit_holds_for_servers() {
    let mut limited = guest(P2);
    limited.config.settings.timeout_ms = Some(10_000);
    limited.config.settings.max_memory = Some(32 << 20);
    limited.config.settings.no_backtrace = true;
    limited.config.settings.stack = Some(256 << 10);
    let mut server = Server::start(limited);
    assert_eq!(server.get("/grow"), (200, "less".to_owned()));
    assert_eq!(server.get("/trap").0, 500);
    assert_eq!(server.exit_code(), Some(124));
    let said = server.said();
    assert!(
        said.ends_with("it has run for 10s, its time limit\n"),
        "{said}"
    );
    assert!(
        said.contains("hull-wasm: trap: wasm `unreachable`") && !said.contains("!handle"),
        "{said}"
    );
}

/// Last words that do not fit into the pipe, which nobody reads.
#[test]
fn the_end_of_its_time_does_not_wait_for_who_reads_what_it_says() {
    let mut limited = guest(P2);
    limited.config.settings.timeout_ms = Some(10_000);
    limited.config.program = "x".repeat(100_000);
    let mut server = Server::start(limited);
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = server.running.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < LIMIT, "it waits");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(status.code(), Some(124));
    assert_eq!(server.said().len(), 4096);
}

/// Each artifact is loaded twice, and kept once.
#[test]
fn a_server_has_its_guests_code_once() {
    let server = Server::start(guest(P2));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", server.running.id())).unwrap();
    let code = maps
        .lines()
        .filter(|line| line.contains(" r-xp ") && !line.contains("[v"))
        .filter(|line| !line.ends_with("/hull-wasm"));
    assert_eq!(code.count(), 1, "{maps}");
}

#[test]
fn bodies_have_a_limit() {
    let mut guest = guest(P2);
    guest.config.settings.http.max_body = Some(1000);
    let server = Server::start(guest);
    let post = |headers: &str, body: &str| {
        server.send(&format!(
            "POST /echo HTTP/1.1\r\nHost: test\r\n{headers}\r\n\r\n{body}"
        ))
    };
    let fits = "x".repeat(1000);
    assert_eq!(post("Content-Length: 1000", &fits), (200, fits.clone()));
    assert_eq!(post("Content-Length: 1001", &"x".repeat(1001)).0, 413);
}

#[test]
fn headers_have_a_limit() {
    let server = Server::start(guest(P2));
    let with = |headers: &str| {
        let mut tcp = server.connect();
        // It may be cut off before it has said everything.
        _ = tcp.write_all(format!("GET / HTTP/1.1\r\nHost: test\r\n{headers}\r\n").as_bytes());
        code(&answer(&mut BufReader::new(tcp)).0)
    };
    assert_eq!(with("A: b\r\n"), 200);
    assert_eq!(with(&"A: b\r\n".repeat(200)), 431);
    assert_eq!(with(&format!("A: {}\r\n", "b".repeat(70_000))), 431);
}

#[test]
fn requests_beyond_the_queue_are_sent_away() {
    let mut guest = guest(P2);
    guest.config.settings.http.max_concurrency = Some(1);
    guest.config.settings.http.drain_timeout_ms = Some(100);
    let server = Server::start(guest);
    let ask = || {
        let mut tcp = server.connect();
        tcp.write_all(b"GET /sleep HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        server.wait_until_taken(&tcp);
        tcp
    };
    // One has the place, two wait.
    let _there = [ask(), ask(), ask()];
    let tcp = ask();
    let (head, _) = answer(&mut BufReader::new(tcp));
    assert_eq!(code(&head), 503);
    assert!(
        head.to_ascii_lowercase().contains("retry-after: 1"),
        "{head}"
    );
}

/// A client that takes its time costs no more than the pieces that are on their way.
#[test]
fn a_gibibyte_passes_through_little_memory() {
    let server = Server::start(guest(P2));
    let mut tcp = server.connect();
    tcp.write_all(b"GET /big HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0_u64;
    let mut last = Vec::new();
    while !last.ends_with(b"0\r\n\r\n") {
        let count = tcp.read(&mut buffer).unwrap();
        assert_ne!(count, 0, "after {total} bytes");
        total += u64::try_from(count).unwrap();
        last.extend(&buffer[..count]);
        let keep = last.len().saturating_sub(5);
        last.drain(..keep);
    }
    assert!(total > 1 << 30, "{total}");
    let most = status(server.running.id(), "VmHWM");
    let kib: u64 = most.split_whitespace().next().unwrap().parse().unwrap();
    // Most of it is the debug binary and the artifact.
    assert!(kib < 100 << 10, "{most}");
}

#[test]
fn threads_are_as_many_as_processors_and_none_comes_later() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    for wanted in [1, 2] {
        let mut guest = guest(P2);
        guest.config.cpus = wanted;
        let server = Server::start(guest);
        let threads = || {
            status(server.running.id(), "Threads")
                .parse::<usize>()
                .unwrap()
        };
        // One that only waits beside those that work, where there are several.
        let expected = if wanted == 1 || cpus == 1 { 1 } else { 3 };
        assert_eq!(threads(), expected);
        for _ in 0..10 {
            assert_eq!(server.get("/echo").0, 200);
        }
        assert_eq!(threads(), expected);
        assert_eq!(status(server.running.id(), "Seccomp"), "2");
    }
}

#[test]
fn instances_share_the_memory_that_there_is() {
    let mut guest = guest(P2);
    guest.config.memory_limit = Some(96 << 20);
    let server = Server::start(guest);
    for _ in 0..3 {
        assert_eq!(server.get("/grow"), (200, "more".to_owned()));
    }
    drop(server);
    let mut guest = self::guest(P2);
    guest.config.memory_limit = Some(32 << 20);
    let server = Server::start(guest);
    assert_eq!(server.get("/grow"), (200, "less".to_owned()));
}

/// How many areas of memory a process has.
fn mappings(pid: u32) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().count()
}

/// The addresses for hundreds of instances, or as many as there are.
#[test]
fn a_limit_of_addresses_only_makes_it_slower() {
    let server = Server::start(guest(P2));
    let pooled = mappings(server.running.id());
    assert!((500..5000).contains(&pooled), "{pooled}");
    drop(server);
    let mut guest = guest(P2);
    // Some instances fit, but no pool of them.
    guest.prefix = vec!["prlimit".to_owned(), format!("--as={}", 40_u64 << 30)];
    let server = Server::start(guest);
    let single = mappings(server.running.id());
    assert!(single < 500, "{single}");
    for _ in 0..3 {
        assert_eq!(server.get("/count"), (200, "1".to_owned()));
    }
}

/// Longer than the head of one request may take.
#[test]
fn a_connection_stays_for_the_next_request() {
    let server = Server::start(guest(P2));
    let mut tcp = server.connect();
    let mut from = BufReader::new(tcp.try_clone().unwrap());
    for pause in [0, 6, 6] {
        std::thread::sleep(Duration::from_secs(pause));
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        assert_eq!(code(&answer(&mut from).0), 200);
    }
}

#[test]
fn a_slow_head_is_cut_off() {
    let server = Server::start(guest(P2));
    let mut tcp = server.connect();
    tcp.write_all(b"GET / HT").unwrap();
    let asked = Instant::now();
    let mut all = Vec::new();
    _ = tcp.read_to_end(&mut all);
    assert!(
        asked.elapsed() < Duration::from_secs(40),
        "{:?}",
        asked.elapsed()
    );
    wait_until("the server still answers", || server.get("/").0 == 200);
}

/// Bodies that the guest does not read, by HTTP/2: what a client may send of them, and how many clients there
/// may be, is bounded by the memory limit.
#[test]
fn bodies_that_nobody_reads_take_no_more_than_their_part() {
    use http_body_util::Full;
    use hyper::body::Bytes;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let mut guest = guest(P2);
    guest.config.memory_limit = Some(32 << 20);
    let server = Server::start(guest);
    assert_eq!(server.get("/").0, 200);
    let kib = |key| -> u64 {
        let value = status(server.running.id(), key);
        value.split_whitespace().next().unwrap().parse().unwrap()
    };
    let before = kib("VmHWM");
    let addr = server.addr;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let body = Bytes::from(vec![b'x'; 4 << 20]);
        for _ in 0..100 {
            let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
            let io = TokioIo::new(tcp);
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            // Not all of them get one.
            let body = body.clone();
            tokio::spawn(async move {
                let (mut sender, connection) = handshake.await.unwrap();
                tokio::spawn(connection);
                let request = hyper::Request::post(format!("http://{addr}/sleep"));
                sender
                    .send_request(request.body(Full::new(body)).unwrap())
                    .await
            });
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    });
    // With what the instances take; a mebibyte for each client was more than the limit.
    let most = kib("VmHWM");
    assert!(most - before < 20 << 10, "{before} {most}");
    drop(runtime);
    assert_eq!(server.get("/").0, 200);
}
