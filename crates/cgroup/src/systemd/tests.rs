//! Against a manager that answers as the test says.

use super::message::length_of;
use super::message::tests::{call, error, reply, signal};
use super::*;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen,
};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// What a manager says to a call, given its number; `None` for nothing at all.
type Answers = fn(serial: u32, method: &str) -> Option<Vec<u8>>;

/// A manager for one connection.
struct Fake {
    socket: PathBuf,
    thread: JoinHandle<Vec<String>>,
}

impl Fake {
    fn new(answers: Answers) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("hull-systemd-{}-{number}", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = thread::spawn(move || serve(listener.accept().unwrap().0, answers));
        Self { socket, thread }
    }

    fn manager(&self) -> Manager<'_> {
        let socket = self.socket.to_str().unwrap();
        Manager { socket }
    }

    /// What it was asked for.
    fn calls(self) -> Vec<String> {
        std::fs::remove_file(&self.socket).unwrap();
        self.thread.join().unwrap()
    }
}

fn serve(mut stream: UnixStream, answers: Answers) -> Vec<String> {
    let (mut read, mut calls) = (Vec::new(), Vec::new());
    let mut is_authenticated = false;
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).unwrap_or(0);
        if count == 0 {
            return calls;
        }
        read.extend(&chunk[..count]);
        if !is_authenticated && read.ends_with(b"BEGIN\r\n") {
            assert!(read.starts_with(b"\0AUTH EXTERNAL "), "{read:?}");
            read.clear();
            is_authenticated = true;
            // In two parts, as it may come.
            stream.write_all(b"OK 0123").unwrap();
            stream.write_all(b"4567\r\n").unwrap();
        }
        while is_authenticated && let Ok(Some(length)) = length_of(&read) {
            if read.len() < length {
                break;
            }
            let bytes: Vec<u8> = read.drain(..length).collect();
            let (serial, method, texts) = call(&bytes);
            calls.push(
                format!("{method} {}", texts.join(" "))
                    .trim_end()
                    .to_owned(),
            );
            if let Some(answer) = answers(serial, &method) {
                stream.write_all(&answer).unwrap();
            }
        }
    }
}

fn scope() -> Scope {
    Scope {
        unit: "p-n.scope".to_owned(),
        slice: "a.slice".to_owned(),
    }
}

/// The end of a job, as the manager announces it; the number at its front is no text.
fn removed(job: &str, result: &str) -> Vec<u8> {
    signal("JobRemoved", &[job, "p-n.scope", result])
}

#[test]
fn start_waits_for_its_own_job() {
    let fake = Fake::new(|serial, _| {
        let messages = [
            removed("/job/6", "failed"),
            signal("UnitNew", &["x"]),
            // Before the answer that names it.
            removed("/job/7", "done"),
            reply(serial, &["/job/7"]),
        ];
        Some(messages.concat())
    });
    fake.manager().start(&scope(), Vec::new()).unwrap();
    assert_eq!(fake.calls(), ["StartTransientUnit p-n.scope replace"]);
}

#[test]
fn start_names_what_the_job_came_to() {
    let fake = Fake::new(|serial, _| {
        let messages = [reply(serial, &["/job/7"]), removed("/job/7", "canceled")];
        Some(messages.concat())
    });
    let error = fake.manager().start(&scope(), Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "start unit p-n.scope in a.slice: the job of systemd ended with \"canceled\""
    );
    drop(fake.calls());
}

#[test]
fn failed_unit_of_the_name_is_forgotten_once() {
    let fake = Fake::new(|serial, method| {
        Some(match method {
            "StartTransientUnit" => error(serial, UNIT_EXISTS),
            _ => reply(serial, &[]),
        })
    });
    let error = fake.manager().start(&scope(), Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "start unit p-n.scope in a.slice: It is so (org.freedesktop.systemd1.UnitExists)"
    );
    assert_eq!(error.blame(), Blame::Caller);
    assert_eq!(
        fake.calls(),
        [
            "StartTransientUnit p-n.scope replace",
            "ResetFailedUnit p-n.scope",
            "StartTransientUnit p-n.scope replace"
        ]
    );
}

#[test]
fn change_comes_back_when_the_manager_has_done_it() {
    let fake = Fake::new(|serial, _| Some(reply(serial, &[])));
    let limits = [("TasksMax", Value::Number(3))];
    fake.manager().change(&scope(), &limits).unwrap();
    assert_eq!(fake.calls(), ["SetUnitProperties p-n.scope", "Ping"]);
}

#[test]
fn stop_of_a_unit_that_is_gone_is_none() {
    let fake = Fake::new(|serial, _| Some(error(serial, NO_SUCH_UNIT)));
    let limit = Duration::from_secs(30);
    fake.manager().stop(&scope(), limit).unwrap();
    assert_eq!(
        fake.calls(),
        ["StopUnit p-n.scope replace", "ResetFailedUnit p-n.scope"]
    );
}

#[test]
fn silent_manager_is_given_up() {
    let fake = Fake::new(|_, _| None);
    let began = Instant::now();
    let limit = Duration::from_millis(300);
    let error = fake.manager().stop(&scope(), limit).unwrap_err();
    assert!(began.elapsed() >= limit);
    assert_eq!(
        error.to_string(),
        "stop unit p-n.scope: systemd has not done it within 0.3 s"
    );
    assert_eq!(error.errno(), Errno::ETIMEDOUT as i32);
    assert_eq!(fake.calls(), ["StopUnit p-n.scope replace"]);
}

/// Its queue of connections is full: a connect(2) without a limit would never come back.
#[test]
fn manager_that_accepts_nobody_is_given_up() {
    let socket = std::env::temp_dir().join(format!("hull-systemd-{}-full", std::process::id()));
    let listener = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&socket).unwrap()).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_at_once(&socket) {
        waiting.push(stream);
    }
    let limit = Duration::from_millis(200);
    let error = Connection::open(socket.to_str().unwrap(), limit, "test".to_owned()).unwrap_err();
    assert_eq!(error.errno(), Errno::ETIMEDOUT as i32, "{error}");
    drop((listener, waiting));
    std::fs::remove_file(&socket).unwrap();
}

fn connect_at_once(socket: &Path) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(socket)?)?;
    Ok(fd)
}

#[test]
fn missing_socket_is_named() {
    let manager = Manager {
        socket: "/run/no/systemd",
    };
    let error = manager.start(&scope(), Vec::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "start unit p-n.scope in a.slice: connect to systemd at /run/no/systemd: no such file or \
         directory: is systemd the init of this host?"
    );
}

#[test]
fn answers_of_another_kind_are_failures() {
    let fake = Fake::new(|_, _| Some(vec![b'B'; 64]));
    let limit = Duration::from_secs(30);
    let error = fake.manager().stop(&scope(), limit).unwrap_err();
    assert!(error.to_string().ends_with("something that is no message"));
    drop(fake.calls());
}
