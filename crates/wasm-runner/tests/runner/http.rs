//! Servers: what clients get, what a guest can do to them, and how they leave.

mod limits;
mod server;
mod stop;

use crate::guest::wait_until;
use server::{Server, answer, code, guest};
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Longer than anything here takes, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);

/// wasi:http 0.2; the paths are explained there.
const P2: &str = include_str!("../../../../test-images/guests/http.wat");

/// wasi:http 0.3, likewise.
const P3: &str = include_str!("../../../../test-images/guests/http3.wat");

const HELLO: &str = "hello from wasi:http 0.2\n";

#[test]
fn requests_of_one_connection_get_fresh_instances() {
    let server = Server::start(guest(P2));
    let mut tcp = server.connect();
    let mut from = BufReader::new(tcp.try_clone().unwrap());
    for _ in 0..3 {
        tcp.write_all(b"GET /count HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        let (head, body) = answer(&mut from);
        assert_eq!((code(&head), body.as_str()), (200, "1"));
    }
}

#[test]
fn the_answer_is_the_guests() {
    let server = Server::start(guest(P2));
    assert_eq!(server.get("/"), (200, HELLO.to_owned()));
    let text = "some text ".repeat(20_000);
    let request = format!(
        "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    );
    assert_eq!(server.send(&request), (200, text));
}

#[test]
fn http_1_0_and_what_is_no_http() {
    let server = Server::start(guest(P2));
    let mut tcp = server.connect();
    tcp.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut all = String::new();
    tcp.read_to_string(&mut all).unwrap();
    assert!(
        all.starts_with("HTTP/1.0 200") && all.ends_with(HELLO),
        "{all}"
    );
    assert_eq!(server.send("GET / HTTP/1.1\r\n\r\n").0, 400);
    assert_eq!(server.send("nonsense\r\n\r\n").0, 400);
}

#[test]
fn a_trap_is_one_requests_affair() {
    let mut server = Server::start(guest(P2));
    assert_eq!(server.get("/trap").0, 500);
    assert_eq!(server.get("/silent").0, 500);
    // What it says of that it says a little later.
    let mut said = server.said_until(2);
    assert_eq!(server.get("/"), (200, HELLO.to_owned()));
    server.signal(15);
    assert_eq!(server.exit_code(), Some(143));
    said += &server.said();
    assert_eq!(
        said.matches("hull-wasm: trap: wasm `unreachable`").count(),
        1,
        "{said}"
    );
    assert!(said.contains("!handle"), "{said}");
    assert_eq!(said.matches("guest never invoked").count(), 1, "{said}");
    assert_eq!(said.matches("hull-wasm").count(), 2, "{said}");
}

/// The answer has begun, so all that is left is to end it.
#[test]
fn a_trap_in_the_midst_of_an_answer_cuts_it() {
    let mut server = Server::start(guest(P2));
    let mut tcp = server.connect();
    tcp.write_all(b"GET /late HTTP/1.1\r\nHost: test\r\n\r\n")
        .unwrap();
    let mut all = Vec::new();
    // An end or a reset, but no last chunk.
    _ = tcp.read_to_end(&mut all);
    assert!(
        !all.ends_with(b"0\r\n\r\n"),
        "{}",
        String::from_utf8_lossy(&all)
    );
    assert_eq!(server.get("/"), (200, HELLO.to_owned()));
    server.signal(15);
    assert_eq!(server.exit_code(), Some(143));
    let said = server.said();
    assert_eq!(
        said.matches("hull-wasm: trap: wasm `unreachable`").count(),
        1,
        "{said}"
    );
}

#[test]
fn a_port_in_use_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut guest = guest(P2);
    guest.config.settings.http.addr = Some(taken.local_addr().unwrap());
    let output = guest.run();
    assert_eq!(output.status.code(), Some(126));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "hull-wasm: /guest.wasm: cannot listen on {}: the port is in use\n",
        taken.local_addr().unwrap()
    );
    assert_eq!(said, expected);
}

#[test]
fn what_a_handler_writes_is_there_with_its_answer() {
    let mut guest = guest(P2);
    guest.config.env.insert(0, "FIRST=of all".to_owned());
    let mut server = Server::start(guest);
    assert_eq!(server.get("/env"), (200, "of all".to_owned()));
    assert_eq!(server.get("/log").0, 200);
    let mut line = [0; 10];
    server
        .running
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut line)
        .unwrap();
    assert_eq!(&line, b"a request\n");
}

#[test]
fn a_guest_may_ask_others() {
    let other = Server::start(guest(P2));
    let server = Server::start(guest(P2));
    let ask = |path: &str| server.get(&format!("/out?{}{path}", other.addr));
    assert_eq!(ask("/"), (200, "200".to_owned()));
    assert_eq!(ask("/trap"), (200, "500".to_owned()));
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // connection-refused is case 6.
    assert_eq!(
        server.get(&format!("/out?{nobody}/")),
        (200, "606".to_owned())
    );
    let mut alone = guest(P2);
    alone.config.settings.net = hull_abi::Net::None;
    let alone = Server::start(alone);
    // destination-IP-prohibited is case 4.
    assert_eq!(
        alone.get(&format!("/out?{}/", other.addr)),
        (200, "604".to_owned())
    );
}

#[test]
fn requests_of_wasi_0_3_share_an_instance_up_to_a_number() {
    let mut guest = guest(P3);
    guest.config.settings.http.max_reuse = Some(3);
    let server = Server::start(guest);
    let mut tcp = server.connect();
    let mut from = BufReader::new(tcp.try_clone().unwrap());
    // An instance that has nothing to do for a second is given up.
    let mut get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
        tcp.write_all(request.as_bytes()).unwrap();
        let (head, body) = answer(&mut from);
        assert_eq!(code(&head), 200);
        body
    };
    assert_eq!(get("/"), "hello from wasi:http 0.3\n");
    let counts: String = (0..5).map(|_| get("/count")).collect();
    assert_eq!(counts, "23123");
}

#[test]
fn requests_of_wasi_0_3_overlap() {
    let server = Server::start(guest(P3));
    let asked = Instant::now();
    let slow: Vec<_> = (0..12)
        .map(|_| {
            let mut tcp = server.connect();
            tcp.write_all(b"GET /slow HTTP/1.1\r\nHost: test\r\n\r\n")
                .unwrap();
            tcp
        })
        .collect();
    // Others are answered before.
    assert_eq!(server.get("/").0, 200);
    for tcp in slow {
        let (head, body) = answer(&mut BufReader::new(tcp));
        assert_eq!(
            (code(&head), body.as_str()),
            (200, "hello from wasi:http 0.3\n")
        );
    }
    // One after the other they would take 18 s.
    assert!(
        asked.elapsed() < Duration::from_secs(15),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_trap_of_wasi_0_3_ends_its_instance_only() {
    let mut server = Server::start(guest(P3));
    assert_eq!(server.get("/count").1, "1");
    assert_eq!(server.get("/trap").0, 500);
    assert_eq!(server.get("/count").1, "1");
    assert_eq!(server.get("/error").0, 500);
    let mut said = server.said_until(2);
    server.signal(15);
    assert_eq!(server.exit_code(), Some(143));
    said += &server.said();
    assert_eq!(
        said.matches("hull-wasm: trap: wasm `unreachable`").count(),
        1,
        "{said}"
    );
    assert_eq!(said.matches("hull-wasm").count(), 2, "{said}");
}

/// What HTTP/2 answers to these paths at once, over one connection.
fn get_by_http_2(addr: SocketAddr, paths: &[&str]) -> Vec<(u16, String)> {
    use http_body_util::{BodyExt as _, Empty};
    use hyper::body::Bytes;
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let asked = async {
        let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
        let io = TokioIo::new(tcp);
        let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        let requests: Vec<_> = paths
            .iter()
            .map(|path| {
                let mut sender = sender.clone();
                let uri = format!("http://{addr}{path}");
                tokio::spawn(async move {
                    let request = hyper::Request::get(uri)
                        .body(Empty::<Bytes>::new())
                        .unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    let status = response.status().as_u16();
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    (status, String::from_utf8(body.to_vec()).unwrap())
                })
            })
            .collect();
        let mut answers = Vec::new();
        for request in requests {
            answers.push(request.await.unwrap());
        }
        answers
    };
    runtime.block_on(async { tokio::time::timeout(LIMIT, asked).await.unwrap() })
}

#[test]
fn http_2_with_prior_knowledge_has_many_requests_at_once() {
    for (text, hello) in [(P2, HELLO), (P3, "hello from wasi:http 0.3\n")] {
        let mut server = Server::start(guest(text));
        let mut paths = vec!["/slow"; 20];
        paths.extend(["/", "/trap"]);
        let asked = Instant::now();
        let mut answers = get_by_http_2(server.addr, &paths);
        // One after the other they would take 30 s.
        assert!(
            asked.elapsed() < Duration::from_secs(27),
            "{:?}",
            asked.elapsed()
        );
        let (trapped, _) = answers.pop().unwrap();
        assert_eq!(trapped, 500);
        assert_eq!(answers.len(), 21);
        for answer in &answers {
            // Those of WASI 0.3 share an instance, so the trap may be theirs too.
            let shares_trap = text == P3 && answer.0 == 500;
            assert!(
                shares_trap || *answer == (200, hello.to_owned()),
                "{answers:?}"
            );
        }
        // And HTTP/1 on the same port.
        assert_eq!(server.get("/"), (200, hello.to_owned()));
        server.signal(15);
        assert_eq!(server.exit_code(), Some(143));
    }
}
