//! The connection below the task API: what is no request of it, too large, too much or broken gets a
//! clear answer, and neither that connection nor any other suffers.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use containerd_shim_protos::api::{
    CloseIORequest, ExecProcessRequest, StartRequest, StateRequest, Status, WaitRequest,
};
use hull_e2e::{Code, Container, Lab, Spec, Task, Version, block, limit, procfs, target, time};
use protobuf::Message;

const REQUEST: u8 = 1;
const RESPONSE: u8 = 2;
const DATA: u8 = 3;
/// The largest message of ttrpc.
const LARGEST: usize = 4 << 20;

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// A connection on which a test may write anything.
struct Wire(UnixStream);

impl Wire {
    fn open(c: &Container<'_>) -> Self {
        let path = c.address.strip_prefix("unix://").unwrap();
        let socket = UnixStream::connect(path).unwrap();
        socket.set_read_timeout(Some(limit())).unwrap();
        socket.set_write_timeout(Some(limit())).unwrap();
        Self(socket)
    }

    fn frame(&mut self, stream: u32, kind: u8, body: &[u8]) {
        self.head(body.len(), stream, kind);
        self.0.write_all(body).unwrap();
    }

    fn head(&mut self, length: usize, stream: u32, kind: u8) {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        let head = [&length[..], &stream.to_be_bytes(), &[kind, 0]].concat();
        self.0.write_all(&head).unwrap();
    }

    fn send(&mut self, stream: u32, method: &str, payload: Vec<u8>) {
        self.frame(stream, REQUEST, &request(method, payload, Duration::ZERO));
    }

    /// The stream, the code and the text of the next answer.
    fn answer(&mut self) -> (u32, Code, String) {
        let mut head = [0; 10];
        self.0.read_exact(&mut head).unwrap();
        let (length, rest) = head.split_first_chunk::<4>().unwrap();
        let (stream, kind) = rest.split_first_chunk::<4>().unwrap();
        assert_eq!(kind, [RESPONSE, 0]);
        let mut body = vec![0; usize::try_from(u32::from_be_bytes(*length)).unwrap()];
        self.0.read_exact(&mut body).unwrap();
        let response = ttrpc::Response::parse_from_bytes(&body).unwrap();
        let status = response.status.unwrap_or_default();
        let stream = u32::from_be_bytes(*stream);
        (stream, status.code(), status.message().to_owned())
    }

    #[track_caller]
    fn refuses(&mut self, stream: u32, code: Code, text: &str) {
        let (answered, found, message) = self.answer();
        assert_eq!((answered, found), (stream, code), "{message}");
        assert!(message.contains(text), "{message}");
    }

    /// Whether the connection is as good as new.
    #[track_caller]
    fn works(&mut self, stream: u32) {
        self.send(stream, "Connect", Vec::new());
        assert_eq!(self.answer(), (stream, Code::OK, String::new()));
    }
}

fn request(method: &str, payload: Vec<u8>, timeout: Duration) -> Vec<u8> {
    let mut request = ttrpc::Request::new();
    request.service = Version::V2.service().to_owned();
    request.method = method.to_owned();
    request.payload = payload;
    request.timeout_nano = i64::try_from(timeout.as_nanos()).unwrap();
    request.write_to_bytes().unwrap()
}

fn bytes(message: &impl Message) -> Vec<u8> {
    message.write_to_bytes().unwrap()
}

fn wait_request(c: &Container<'_>) -> Vec<u8> {
    let mut request = WaitRequest::new();
    request.id.clone_from(&c.id);
    bytes(&request)
}

#[test]
fn unknown_services_and_methods_are_unimplemented() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let task = Version::V2.service();
    let long = "x".repeat(65_536);
    for (service, method) in [
        ("containerd.task.v4.Task", "State"),
        ("containerd.runtime.sandbox.v2.Sandbox", "CreateSandbox"),
        ("", ""),
        (&long, "State"),
        (task, "Snapshot"),
        (task, ""),
        (Version::V3.service(), "state"),
        (task, &long),
    ] {
        let answer = block(c.task.raw(service, method, Vec::new(), Some(limit())));
        let error = answer.unwrap_err();
        assert_eq!(error.code(), Some(Code::UNIMPLEMENTED), "{error:?}");
        assert!(error.message().len() < 200, "{error:?}");
    }
    // Both names of the task API are served.
    for version in [Version::V2, Version::V3] {
        block(c.task.with_version(version).connect_task(&c.id)).unwrap();
    }
}

#[test]
fn message_above_four_megabytes_is_refused_and_the_connection_goes_on() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let mut wire = Wire::open(&c);
    for (stream, length) in [(1, LARGEST + 1), (3, 3 * LARGEST)] {
        wire.frame(stream, REQUEST, &vec![0; length]);
        wire.refuses(stream, Code::RESOURCE_EXHAUSTED, "4194304");
        wire.works(stream + 100);
    }
    // Just below it counts as any other.
    let mut state = StateRequest::new();
    state.id = "x".repeat(LARGEST - 200);
    wire.send(5, "State", bytes(&state));
    wire.refuses(5, Code::NOT_FOUND, "container not created");
    wire.works(7);
}

/// Ids that no container can have.
fn impossible_ids() -> [String; 8] {
    let long = "x".repeat(65_536);
    [
        &long, "..", "../..", "a/b", "a\0b", "a\nb", "%s%n", "\u{202e}",
    ]
    .map(str::to_owned)
}

/// Calls a method with this message; it must be refused in a few words.
#[track_caller]
fn refuses_id(c: &Container<'_>, method: &str, request: &impl Message, code: Code) {
    let call = c
        .task
        .raw(Version::V2.service(), method, bytes(request), Some(limit()));
    let error = block(call).unwrap_err();
    assert_eq!(error.code(), Some(code), "{method}: {error:.200}");
    let text = error.message();
    assert!(text.len() < 400 && !text.contains('\n'), "{method}: {text}");
}

#[test]
fn container_ids_of_any_length_and_content_get_a_short_answer() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for id in impossible_ids().into_iter().chain([String::new()]) {
        let mut state = StateRequest::new();
        state.id.clone_from(&id);
        for method in [
            "State", "Start", "Delete", "Pids", "Pause", "Resume", "Stats", "Wait", "Kill",
        ] {
            refuses_id(&c, method, &state, Code::NOT_FOUND);
        }
        let mut create = c.create_request();
        create.id.clone_from(&id);
        refuses_id(&c, "Create", &create, Code::INVALID_ARGUMENT);
        assert_eq!(block(c.task.connect_task(&id)).unwrap().task_pid, 0);
    }
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn exec_ids_of_any_length_and_content_get_a_short_answer() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for exec_id in impossible_ids() {
        let mut start = StartRequest::new();
        start.id.clone_from(&c.id);
        start.exec_id.clone_from(&exec_id);
        for method in ["Start", "Delete", "State", "Wait", "Kill"] {
            refuses_id(&c, method, &start, Code::NOT_FOUND);
        }
        let mut close = CloseIORequest::new();
        close.id.clone_from(&c.id);
        close.exec_id.clone_from(&exec_id);
        for stdin in [false, true] {
            close.stdin = stdin;
            refuses_id(&c, "CloseIO", &close, Code::NOT_FOUND);
        }
        let mut exec = ExecProcessRequest::new();
        exec.id.clone_from(&c.id);
        exec.exec_id = exec_id;
        refuses_id(&c, "Exec", &exec, Code::INVALID_ARGUMENT);
    }
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn broken_frames_harm_nobody() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let mut wire = Wire::open(&c);
    wire.frame(1, REQUEST, b"\xff\xff\xff");
    wire.refuses(1, Code::INVALID_ARGUMENT, "request");
    wire.frame(2, REQUEST, b"");
    wire.refuses(2, Code::INVALID_ARGUMENT, "odd");
    wire.frame(3, DATA, b"x");
    wire.refuses(3, Code::INVALID_ARGUMENT, "no longer active");
    // What nobody knows yet is passed over.
    wire.frame(5, 77, b"x");
    // A message of the task API that does not decode.
    for method in ["State", "Create", "Exec", "Kill"] {
        wire.send(7, method, b"\xff\xff".to_vec());
        wire.refuses(7, Code::INVALID_ARGUMENT, "");
    }
    wire.works(9);
    // Connections that end in the middle of a frame, or begin with something else.
    for part in [
        &b"\0"[..],
        b"\0\0\0\x10\0\0\0\x01\x01\0half",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        Wire::open(&c).0.write_all(part).unwrap();
    }
    let mut half = Wire::open(&c);
    half.head(100, 1, REQUEST);
    wire.works(11);
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn request_has_the_deadline_that_it_names() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let mut wire = Wire::open(&c);
    let wait = request("Wait", wait_request(&c), Duration::from_millis(50));
    wire.frame(1, REQUEST, &wait);
    wire.refuses(1, Code::DEADLINE_EXCEEDED, "deadline");
    wire.works(3);
}

/// One connection has a bounded number of open requests; the next ones are refused and the others wait on.
#[test]
fn thousands_of_open_requests_are_bounded() {
    if !target::is_hull() {
        eprintln!("the number is hull's: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let mut wire = Wire::open(&c);
    for number in 0..4096 {
        wire.send(2 * number + 1, "Wait", wait_request(&c));
    }
    wire.send(10_001, "Connect", Vec::new());
    wire.refuses(10_001, Code::RESOURCE_EXHAUSTED, "4096");
    assert_eq!(c.status(), Status::RUNNING);
    c.kill_and_wait();
    for _ in 0..4096 {
        let (_, code, text) = wire.answer();
        assert_eq!(code, Code::OK, "{text}");
    }
    wire.works(10_003);
}

/// A client that asks and asks and never reads holds up itself alone, and costs bounded memory.
#[test]
fn client_that_never_reads_is_bounded() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let before = resident(c.shim_pid());
    let mut wire = Wire::open(&c);
    wire.0.set_nonblocking(true).unwrap();
    let mut state = StateRequest::new();
    state.id.clone_from(&c.id);
    let body = request("State", bytes(&state), Duration::ZERO);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let frame = [&length[..], &[0, 0, 0, 1, REQUEST, 0], &body].concat();
    let flood = frame.repeat(512);
    let mut sent = 0;
    // Until nothing more was taken for a while: then the daemon has stopped to read.
    let mut idle = 0;
    while idle < 100 {
        match wire.0.write(flood.get(sent % frame.len()..).unwrap()) {
            Ok(more) => {
                sent += more;
                idle = 0;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                idle += 1;
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(sent < 64 << 20, "everything is taken");
    }
    let other = block(Task::connect(&c.address, lab.tag(), Version::V2)).unwrap();
    let state = time::within_limit("State", other.state(&c.id, "")).unwrap();
    assert_eq!(state.status(), Status::RUNNING);
    let grown = resident(c.shim_pid()).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB for {sent} bytes");
    drop(wire);
    assert_eq!(c.status(), Status::RUNNING);
}

/// KiB in memory.
fn resident(pid: u32) -> u64 {
    let field = procfs::field(pid, "VmRSS").unwrap();
    field.trim_end_matches(" kB").trim().parse().unwrap()
}
