//! Requests that meet: callers that gave up, deletes beside starts, daemons that are used again.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{ConnectRequest, DeleteRequest, StartRequest, Status};
use hull_e2e::{
    Code, Container, HookKind, Lab, Spec, Task, Topic, Version, block, eventually, procfs, target,
    time,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protobuf::Message as _;
use serde_json::Value;

/// Longer than a daemon that was asked to leave stays after its last container.
const PAST_THE_GRACE: Duration = Duration::from_millis(1200);

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// A hook that says that it runs, and goes on when it is told to.
struct Latch(PathBuf);

impl Latch {
    fn new(lab: &Lab) -> Self {
        let dir = lab.dir().join("latch");
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn hook(&self, spec: Spec, kind: HookKind, status: u32) -> Spec {
        let dir = self.0.display();
        let script = format!(
            "cat >{dir}/state; touch {dir}/began; \
             while [ ! -e {dir}/go ]; do sleep 0.02; done; echo ran >>{dir}/ran; exit {status}"
        );
        spec.hook(kind, "/bin/sh", &["sh", "-c", &script])
    }

    fn wait_begun(&self) {
        eventually("the hook runs", || {
            self.0.join("began").exists().then_some(())
        });
    }

    fn go(&self) {
        fs::write(self.0.join("go"), "").unwrap();
    }

    fn times_run(&self) -> usize {
        let ran = fs::read_to_string(self.0.join("ran")).unwrap_or_default();
        ran.lines().count()
    }
}

/// Whether the daemon is there for that long from now on.
fn stays(daemon: u32, how_long: Duration) -> bool {
    time::look_until(how_long, || procfs::has_ended(daemon).then_some(())).is_none()
}

fn alone_in_its_cgroup(c: &Container<'_>) -> bool {
    block(c.task.pids(&c.id)).unwrap().processes.len() == 1
}

/// Makes two calls on two connections, the first one a little earlier, so that the shim finds both at
/// the same time. Tells of each whether it succeeded.
fn call_together(c: &Container<'_>, calls: [(&str, Vec<u8>); 2]) -> [bool; 2] {
    let daemon = Pid::from_raw(i32::try_from(c.shim_pid()).unwrap());
    let path = c.address.strip_prefix("unix://").unwrap();
    let mut sockets = [(), ()].map(|()| UnixStream::connect(path).unwrap());
    // Only a connection that was accepted counts.
    for socket in &mut sockets {
        assert!(call(socket, "Connect", &connect_request(c)));
    }
    kill(daemon, Signal::SIGSTOP).unwrap();
    eventually("the daemon stands still", || {
        let state = procfs::field(c.shim_pid(), "State")?;
        state.starts_with('T').then_some(())
    });
    for (socket, (method, payload)) in sockets.iter_mut().zip(&calls) {
        send(socket, method, payload);
    }
    kill(daemon, Signal::SIGCONT).unwrap();
    sockets.map(|mut socket| receive(&mut socket))
}

fn connect_request(c: &Container<'_>) -> Vec<u8> {
    let mut request = ConnectRequest::new();
    request.id.clone_from(&c.id);
    request.write_to_bytes().unwrap()
}

fn call(socket: &mut UnixStream, method: &str, payload: &[u8]) -> bool {
    send(socket, method, payload);
    receive(socket)
}

/// One ttrpc request: length, stream, type and flags, message.
fn send(socket: &mut UnixStream, method: &str, payload: &[u8]) {
    let mut request = ttrpc::Request::new();
    request.service = Version::V2.service().to_owned();
    request.method = method.to_owned();
    request.payload = payload.to_vec();
    let body = request.write_to_bytes().unwrap();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let head = [&length[..], &[0, 0, 0, 1, 1, 0]].concat();
    socket.write_all(&[head, body].concat()).unwrap();
}

/// Whether the one request of a socket succeeded.
fn receive(socket: &mut UnixStream) -> bool {
    socket.set_read_timeout(Some(hull_e2e::limit())).unwrap();
    let (mut length, mut rest) = ([0; 4], [0; 6]);
    socket.read_exact(&mut length).unwrap();
    socket.read_exact(&mut rest).unwrap();
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    socket.read_exact(&mut body).unwrap();
    let response = ttrpc::Response::parse_from_bytes(&body).unwrap();
    response.status.code() == ttrpc::Code::OK
}

#[test]
fn exec_is_started_or_deleted_but_never_both() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for number in 0..20 {
        let exec = format!("e{number}");
        let _stdio = c.add_exec(&exec, ["sleep", "77"]);
        let (mut start, mut delete) = (StartRequest::new(), DeleteRequest::new());
        start.id.clone_from(&c.id);
        start.exec_id.clone_from(&exec);
        delete.id.clone_from(&c.id);
        delete.exec_id.clone_from(&exec);
        let start = ("Start", start.write_to_bytes().unwrap());
        let delete = ("Delete", delete.write_to_bytes().unwrap());
        let started = if number % 2 == 0 {
            let [started, deleted] = call_together(&c, [start, delete]);
            assert_ne!(started, deleted, "{number}");
            started
        } else {
            let [deleted, started] = call_together(&c, [delete, start]);
            assert_ne!(started, deleted, "{number}");
            started
        };
        if started {
            block(c.task.kill(&c.id, &exec, 9)).unwrap();
            assert_eq!(c.wait_exec(&exec), 137);
            block(c.task.delete(&c.id, &exec)).unwrap();
        }
    }
    assert!(alone_in_its_cgroup(&c), "an exec runs that nobody knows of");
}

/// containerd gives up on a Create, cleans up and asks the shim to leave; the Create goes on.
fn create_that_was_given_up(status: u32) {
    let lab = Lab::new();
    let latch = Latch::new(&lab);
    let c = lab.container(&latch.hook(sleeper(), HookKind::CreateRuntime, status));
    let caller = block(Task::connect(&c.address, lab.tag(), Version::V2)).unwrap();
    let request = c.create_request();
    let create = time::handle().spawn(async move { caller.create(&request).await });
    latch.wait_begun();
    // With the call ends its connection.
    create.abort();
    assert!(block(create).is_err(), "the call was answered");
    let deleted = c.delete().unwrap_err();
    assert_eq!(deleted.code(), Some(Code::NOT_FOUND), "{deleted:?}");
    block(c.task.shutdown(&c.id)).unwrap();
    latch.go();
    c.wait_for_daemon();
    assert_eq!(lab.events().topics(&c.id), []);
}

#[test]
fn daemon_leaves_after_a_given_up_create_that_fails() {
    create_that_was_given_up(1);
}

#[test]
fn daemon_leaves_after_a_given_up_create_that_succeeds() {
    create_that_was_given_up(0);
}

#[test]
fn what_init_leaves_in_a_shared_pid_namespace_dies_at_once() {
    let lab = Lab::new();
    // Output that keeps moving holds the exit back, but not the kill.
    let script = "(while :; do echo x; done) & exec sleep 600";
    let mut c = lab.container(&Spec::new(["sh", "-c", script]).without_namespace("pid"));
    let init = c.run();
    c.read_until("x\nx\n");
    let processes = block(c.task.pids(&c.id)).unwrap().processes;
    let left: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    assert!(left.iter().any(|pid| *pid != init), "{left:?}");
    let mut out = c.stdio.out.take().unwrap();
    let reader = thread::spawn(move || out.read_to_end(hull_e2e::limit()));
    c.kill(9).unwrap();
    let killed = time::look_until(Duration::from_secs(1), || {
        left.iter().all(|pid| procfs::has_ended(*pid)).then_some(())
    });
    assert!(killed.is_some(), "{left:?} are still there");
    assert_eq!(c.wait(), 137);
    c.delete().unwrap();
    reader.join().unwrap().unwrap();
}

#[test]
fn unread_output_of_many_processes_holds_delete_up_once() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    // More than a FIFO holds, and not more than FIFO and pipe: it ends, and its output is stuck.
    let unread = ["a", "b", "c"].map(|exec| {
        let stdio = c.add_exec(exec, ["head", "-c", "100000", "/dev/zero"]);
        c.try_start(exec).unwrap();
        assert_eq!(c.wait_exec(exec), 0);
        stdio
    });
    c.kill_and_wait();
    let began = Instant::now();
    c.delete().unwrap();
    let took = began.elapsed();
    assert!(took < hull_e2e::slowed(Duration::from_secs(14)), "{took:?}");
    drop(unread);
}

#[test]
fn shutdown_while_there_are_containers_is_remembered() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    block(c.task.shutdown(&c.id)).unwrap();
    c.kill_and_wait();
    c.delete().unwrap();
    c.wait_for_daemon();
}

#[test]
fn daemon_that_is_used_again_does_not_leave() {
    let lab = Lab::new();
    let pod = sleeper().annotation("io.kubernetes.cri.sandbox-id", &lab.id("pod"));
    let a = lab.container(&pod);
    a.run();
    block(a.task.shutdown(&a.id)).unwrap();
    a.kill_and_wait();
    a.delete().unwrap();
    let b = lab.container(&pod);
    assert_eq!(a.shim_pid(), b.shim_pid());
    assert!(stays(b.shim_pid(), PAST_THE_GRACE), "the daemon left");
    b.run();
    b.kill_and_wait();
    b.delete().unwrap();
    b.wait_for_daemon();
}

#[test]
fn poststop_hooks_end_before_the_daemon() {
    let lab = Lab::new();
    let latch = Latch::new(&lab);
    let c = lab.container(&latch.hook(sleeper(), HookKind::Poststop, 0));
    c.run();
    block(c.task.shutdown(&c.id)).unwrap();
    c.kill_and_wait();
    let (task, id) = (c.task.clone(), c.id.clone());
    let delete = time::handle().spawn(async move { task.delete(&id, "").await });
    latch.wait_begun();
    assert!(stays(c.shim_pid(), PAST_THE_GRACE), "the daemon left");
    assert_eq!(c.status(), Status::STOPPED);
    latch.go();
    let deleted = time::within_limit("Delete", delete).unwrap().unwrap();
    assert_eq!(deleted.exit_status, 137);
    assert_eq!(latch.times_run(), 1);
    c.wait_for_daemon();
}

#[test]
fn delete_action_runs_the_poststop_hooks_of_a_killed_daemon_once() {
    if !target::is_hull() {
        eprintln!("the runc shim runs none: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let latch = Latch::new(&lab);
    latch.go();
    let c = lab.container(&latch.hook(sleeper(), HookKind::Poststop, 3));
    c.run();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    for _ in 0..2 {
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
        assert_eq!(latch.times_run(), 1);
    }
    let state: Value = serde_json::from_slice(&fs::read(latch.0.join("state")).unwrap()).unwrap();
    let status = state.get("status").and_then(Value::as_str);
    assert_eq!(status, Some("stopped"), "{state}");
    assert_eq!(state.get("pid"), None, "{state}");
}

#[test]
fn sigusr1_writes_the_state_to_the_log() {
    if !target::is_hull() {
        eprintln!("the text is hull's: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _stdio = c.add_exec("probe", ["true"]);
    let daemon = Pid::from_raw(i32::try_from(c.shim_pid()).unwrap());
    kill(daemon, Signal::SIGUSR1).unwrap();
    let wanted = format!("state of container {}: running", c.id);
    let mut log = String::new();
    let line = eventually("the state in the log", || {
        log += &c.bundle.log();
        log.lines()
            .find(|line| line.contains(&wanted))
            .map(str::to_owned)
    });
    assert!(line.contains("probe Created"), "{line}");
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn deletes_at_the_same_time_get_the_same_answer() {
    let lab = Lab::new();
    let latch = Latch::new(&lab);
    let c = lab.container(&latch.hook(sleeper(), HookKind::Poststop, 0));
    let pid = c.run();
    c.kill_and_wait();
    let deletes = [(), ()].map(|()| {
        let (task, id) = (c.task.clone(), c.id.clone());
        time::handle().spawn(async move { task.delete(&id, "").await })
    });
    latch.wait_begun();
    latch.go();
    for delete in deletes {
        let deleted = time::within_limit("Delete", delete).unwrap().unwrap();
        assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    }
    assert_eq!(latch.times_run(), 1);
    lab.events().wait_for(Topic::Delete, &c.id, "");
    let topics = lab.events().topics(&c.id);
    let expected = [Topic::Create, Topic::Start, Topic::Exit, Topic::Delete];
    assert_eq!(topics, expected);
}

#[test]
fn deletes_of_an_exec_at_the_same_time_get_the_same_answer() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    // Stuck output keeps the first one waiting.
    let _unread = c.add_exec("e", ["head", "-c", "100000", "/dev/zero"]);
    let pid = c.try_start("e").unwrap();
    assert_eq!(c.wait_exec("e"), 0);
    let (one, other) =
        block(async { tokio::join!(c.task.delete(&c.id, "e"), c.task.delete(&c.id, "e")) });
    assert_eq!((one.unwrap().pid, other.unwrap().pid), (pid, pid));
    assert!(Path::new(&format!("/proc/{}", c.shim_pid())).exists());
}
