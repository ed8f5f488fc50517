//! How servers leave, and what they do about requests that take too long.

use super::*;

#[test]
fn an_idle_server_leaves_at_once() {
    for (signal, code) in [(15, 143), (2, 130)] {
        let mut guest = guest(P2);
        guest.config.settings.http.drain_timeout_ms = Some(600_000);
        let mut server = Server::start(guest);
        // An open connection without a request is idle too.
        let idle = server.connect();
        assert_eq!(server.get("/").0, 200);
        let asked = Instant::now();
        server.signal(signal);
        assert_eq!(server.exit_code(), Some(code));
        assert!(asked.elapsed() < LIMIT, "{:?}", asked.elapsed());
        drop(idle);
    }
}

#[test]
fn requests_in_flight_are_finished() {
    let mut server = Server::start(guest(P2));
    let mut tcp = server.connect();
    tcp.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    // The first byte of the body would be too late.
    server.wait_until_taken(&tcp);
    server.signal(15);
    let (head, body) = answer(&mut BufReader::new(tcp));
    assert_eq!((code(&head), body.as_str()), (200, HELLO));
    assert!(
        head.to_ascii_lowercase().contains("connection: close"),
        "{head}"
    );
    assert_eq!(server.exit_code(), Some(143));
    assert!(TcpStream::connect(server.addr).is_err());
}

#[test]
fn the_deadline_ends_what_does_not_end() {
    for (path, cpus) in [("/sleep", 1), ("/loop", 1), ("/loop", 2)] {
        let mut guest = guest(P2);
        guest.config.cpus = cpus;
        guest.config.settings.http.drain_timeout_ms = Some(500);
        let mut server = Server::start(guest);
        let mut tcp = server.connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        tcp.write_all(request.as_bytes()).unwrap();
        server.wait_until_taken(&tcp);
        let asked = Instant::now();
        server.signal(15);
        assert_eq!(server.exit_code(), Some(143), "{path}");
        let took = asked.elapsed();
        assert!(took > Duration::from_millis(400), "{path}: {took:?}");
        assert!(took < LIMIT, "{path}: {took:?}");
    }
}

#[test]
fn the_second_signal_ends_it_at_once() {
    let mut server = Server::start(guest(P2));
    let mut tcp = server.connect();
    tcp.write_all(b"GET /sleep HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    server.wait_until_taken(&tcp);
    server.signal(15);
    // From then on it takes no connections.
    wait_until("the first is heard", || {
        TcpStream::connect(server.addr).is_err()
    });
    server.signal(2);
    assert_eq!(server.exit_code(), Some(130));
}

#[test]
fn an_answer_that_is_late_is_a_504() {
    let mut guest = guest(P2);
    guest.config.settings.http.request_timeout_ms = Some(500);
    let mut server = Server::start(guest);
    assert_eq!(server.get("/sleep").0, 504);
    assert_eq!(server.get("/"), (200, HELLO.to_owned()));
    server.signal(15);
    assert_eq!(server.exit_code(), Some(143));
}

#[test]
fn a_guest_that_computes_for_ever_ends_the_server() {
    for cpus in [1, 2] {
        let mut guest = guest(P2);
        guest.config.cpus = cpus;
        guest.config.settings.http.request_timeout_ms = Some(100);
        guest.config.settings.http.drain_timeout_ms = Some(100);
        let mut server = Server::start(guest);
        let mut tcp = server.connect();
        tcp.write_all(b"GET /loop HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        if cpus == 2 {
            // Another thread still tells the client.
            let (head, _) = answer(&mut BufReader::new(tcp));
            assert_eq!(code(&head), 504);
            assert_eq!(server.get("/"), (200, HELLO.to_owned()));
        }
        assert_eq!(server.exit_code(), Some(124));
        let said = server.said();
        assert!(
            said.contains("has computed for 5 seconds without a pause"),
            "{said}"
        );
    }
}

#[test]
fn wasi_0_3_has_the_same_deadlines() {
    let mut guest = guest(P3);
    guest.config.settings.http.request_timeout_ms = Some(500);
    let mut server = Server::start(guest);
    assert_eq!(server.get("/sleep").0, 504);
    let mut tcp = server.connect();
    tcp.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    server.wait_until_taken(&tcp);
    server.signal(15);
    let (head, _) = answer(&mut BufReader::new(tcp));
    assert_eq!(code(&head), 504);
    assert_eq!(server.exit_code(), Some(143));
}
