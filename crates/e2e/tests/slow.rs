//! What takes long holds up nothing else, and is carried through whatever becomes of its caller.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use hull_e2e::strace::Strace;
use hull_e2e::{
    Code, Container, HookKind, Lab, RpcError, Spec, Task, Version, block, cgroup, eventually,
    procfs, slowed, target, time,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

/// containerd gives State this long.
const PROMPT: Duration = Duration::from_secs(2);
/// Longer than CRI waits for Delete.
const LONG: Duration = Duration::from_secs(12);

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

fn pod(lab: &Lab, spec: Spec) -> Spec {
    spec.annotation("io.kubernetes.cri.sandbox-id", lab.tag())
}

/// An answer that has to come at once.
#[track_caller]
fn prompt<T>(what: &str, call: impl Future<Output = Result<T, RpcError>>) -> Result<T, RpcError> {
    let began = Instant::now();
    let answer = time::within_limit(what, call);
    let took = began.elapsed();
    assert!(took < slowed(PROMPT), "{what} took {took:?}");
    answer
}

/// Everything that only looks, and a signal.
#[track_caller]
fn answers_at_once(c: &Container<'_>, status: Status) {
    let state = prompt("State", c.task.state(&c.id, "")).unwrap();
    assert_eq!(state.status(), status);
    let pids = prompt("Pids", c.task.pids(&c.id)).unwrap().processes;
    assert_eq!(pids.is_empty(), status == Status::STOPPED);
    prompt("Connect", c.task.connect_task(&c.id)).unwrap();
    let killed = prompt("Kill", c.task.kill(&c.id, "", 0));
    if status == Status::STOPPED {
        assert_eq!(killed.unwrap_err().code(), Some(Code::NOT_FOUND));
        assert_eq!(
            prompt("Wait", c.task.wait(&c.id, "")).unwrap().exit_status,
            137
        );
    } else {
        killed.unwrap();
        prompt("Stats", c.task.stats(&c.id)).unwrap();
        let wait =
            async { tokio::time::timeout(slowed(PROMPT / 20), c.task.wait(&c.id, "")).await };
        assert!(block(wait).is_err(), "it runs, and Wait was answered");
    }
}

/// Nobody but its Create knows of it yet.
#[track_caller]
fn is_not_there_yet(c: &Container<'_>) {
    for (what, error) in [
        (
            "State",
            prompt("State", c.task.state(&c.id, "")).unwrap_err(),
        ),
        ("Pids", prompt("Pids", c.task.pids(&c.id)).unwrap_err()),
        ("Stats", prompt("Stats", c.task.stats(&c.id)).unwrap_err()),
        (
            "Kill",
            prompt("Kill", c.task.kill(&c.id, "", 9)).unwrap_err(),
        ),
        ("Wait", prompt("Wait", c.task.wait(&c.id, "")).unwrap_err()),
    ] {
        assert_eq!(error.code(), Some(Code::NOT_FOUND), "{what}: {error:?}");
    }
    let connected = prompt("Connect", c.task.connect_task(&c.id)).unwrap();
    assert_eq!(connected.task_pid, 0);
    let again = prompt("Create", c.task.create(&c.create_request())).unwrap_err();
    assert_eq!(again.code(), Some(Code::ALREADY_EXISTS), "{again:?}");
}

/// A hook that says that it runs, and ends when it is told to.
fn latch(lab: &Lab, kind: HookKind) -> (Spec, PathBuf, PathBuf) {
    let (began, go) = (lab.dir().join("began"), lab.dir().join("go"));
    let script = format!(
        "touch {}; while [ ! -e {} ]; do sleep 0.02; done",
        began.display(),
        go.display()
    );
    let spec = pod(lab, sleeper()).hook(kind, "/bin/sh", &["sh", "-c", &script]);
    (spec, began, go)
}

fn wait_for(path: &Path) {
    eventually("the hook runs", || path.exists().then_some(()));
}

#[test]
fn nothing_waits_for_a_slow_create() {
    let lab = Lab::new();
    let (spec, began, go) = latch(&lab, HookKind::CreateRuntime);
    let running = lab.container(&pod(&lab, sleeper()));
    running.run();
    let slow = lab.container(&spec);
    let (task, request) = (slow.task.clone(), slow.create_request());
    let create = time::handle().spawn(async move { task.create(&request).await });
    wait_for(&began);
    answers_at_once(&running, Status::RUNNING);
    is_not_there_yet(&slow);
    // A whole life beside it.
    let other = lab.container(&pod(&lab, Spec::new(["true"])));
    other.run();
    assert_eq!(other.wait(), 0);
    other.delete().unwrap();
    File::create(go).unwrap();
    time::within_limit("Create", create).unwrap().unwrap();
    answers_at_once(&slow, Status::CREATED);
}

#[test]
fn nothing_waits_for_a_slow_start() {
    let lab = Lab::new();
    // It runs inside, where only what the image brings can tell the outside.
    let (_, began, go) = latch(&lab, HookKind::StartContainer);
    let dir = lab.dir().to_owned();
    let script = "touch /lab/began; while [ ! -e /lab/go ]; do sleep 0.02; done";
    let spec = pod(&lab, sleeper())
        .mount("bind", &dir, "/lab", &["rbind", "rw"])
        .hook(HookKind::StartContainer, "/bin/sh", &["sh", "-c", script]);
    let slow = lab.container(&spec);
    slow.create();
    let (task, id) = (slow.task.clone(), slow.id.clone());
    let start = time::handle().spawn(async move { task.start(&id, "").await });
    wait_for(&began);
    answers_at_once(&slow, Status::CREATED);
    let again = prompt("Start", slow.task.start(&slow.id, "")).unwrap_err();
    assert_eq!(again.code(), Some(Code::UNKNOWN), "{again:?}");
    File::create(go).unwrap();
    time::within_limit("Start", start).unwrap().unwrap();
    answers_at_once(&slow, Status::RUNNING);
}

#[test]
fn nothing_waits_for_a_slow_delete() {
    let lab = Lab::new();
    let (spec, began, go) = latch(&lab, HookKind::Poststop);
    let running = lab.container(&pod(&lab, sleeper()));
    running.run();
    let slow = lab.container(&spec);
    slow.run();
    slow.kill_and_wait();
    let (task, id) = (slow.task.clone(), slow.id.clone());
    let delete = time::handle().spawn(async move { task.delete(&id, "").await });
    wait_for(&began);
    answers_at_once(&slow, Status::STOPPED);
    answers_at_once(&running, Status::RUNNING);
    File::create(go).unwrap();
    time::within_limit("Delete", delete).unwrap().unwrap();
    is_not_there(&slow);
}

#[track_caller]
fn is_not_there(c: &Container<'_>) {
    let error = c.state().unwrap_err();
    assert_eq!(error.code(), Some(Code::NOT_FOUND), "{error:?}");
}

/// With the launcher nothing can be created, started, paused or deleted.
#[test]
fn nothing_waits_for_a_launcher_that_stands_still() {
    if !target::is_hull() {
        eprintln!("the runc shim has no launcher: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let running = lab.container(&pod(&lab, sleeper()));
    let init = running.run();
    let _probe = running.add_exec("probe", ["sleep", "600"]);
    running.try_start("probe").unwrap();
    let _later = running.add_exec("later", ["true"]);
    let stopped = lab.container(&pod(&lab, sleeper()));
    stopped.run();
    stopped.kill_and_wait();
    let new = lab.container(&pod(&lab, sleeper()));
    let launcher = launcher(running.shim_pid());
    assert_ne!(launcher, init);
    let launcher = Pid::from_raw(i32::try_from(launcher).unwrap());
    kill(launcher, Signal::SIGSTOP).unwrap();
    let (task, request) = (new.task.clone(), new.create_request());
    let create = time::handle().spawn(async move { task.create(&request).await });
    let (task, id) = (running.task.clone(), running.id.clone());
    let start = time::handle().spawn(async move { task.start(&id, "later").await });
    let (task, id) = (stopped.task.clone(), stopped.id.clone());
    let delete = time::handle().spawn(async move { task.delete(&id, "").await });
    answers_at_once(&running, Status::RUNNING);
    answers_at_once(&stopped, Status::STOPPED);
    is_not_there_yet(&new);
    prompt("Kill", running.task.kill(&running.id, "probe", 9)).unwrap();
    let probe = prompt("Wait", running.task.wait(&running.id, "probe")).unwrap();
    assert_eq!(probe.exit_status, 137);
    assert!(!create.is_finished() && !start.is_finished() && !delete.is_finished());
    kill(launcher, Signal::SIGCONT).unwrap();
    time::within_limit("Create", create).unwrap().unwrap();
    time::within_limit("Start", start).unwrap().unwrap();
    time::within_limit("Delete", delete).unwrap().unwrap();
    assert_eq!(running.wait_exec("later"), 0);
}

/// The child of a daemon that is not in a container.
fn launcher(daemon: u32) -> u32 {
    eventually("the launcher", || {
        procfs::children(daemon)
            .into_iter()
            .find(|pid| procfs::command_line(*pid).contains("launcher"))
    })
}

/// containerd's TestIssue7496: CRI gives up on a Delete whose unmount takes 12 s. It completes, and
/// everything goes on from there.
#[test]
fn delete_that_unmounts_for_long_outlives_its_callers() {
    if !target::is_hull() {
        eprintln!("the processes of the runc shim are others: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    c.kill_and_wait();
    let output = lab.dir().join("strace");
    let delay = format!("umount2:delay_enter={}:when=1", LONG.as_micros());
    let strace = Strace::inject(&[launcher(c.shim_pid())], &delay, &output);
    let caller = block(Task::connect(&c.address, lab.tag(), Version::V2)).unwrap();
    let began = Instant::now();
    let id = c.id.clone();
    let delete = time::handle().spawn(async move { caller.delete(&id, "").await });
    eventually("the unmount", || {
        let called = std::fs::read_to_string(&output).unwrap_or_default();
        called.contains("umount2(").then_some(())
    });
    // One caller goes away with its connection, another one has no more patience.
    delete.abort();
    assert!(block(delete).is_err(), "the call was answered");
    let impatient =
        async { tokio::time::timeout(slowed(PROMPT / 4), c.task.delete(&c.id, "")).await };
    assert!(block(impatient).is_err(), "Delete was answered");
    answers_at_once(&c, Status::STOPPED);
    time::look_until(3 * LONG, || c.state().is_err().then_some(()))
        .expect("the Delete that nobody waits for");
    assert!(began.elapsed() >= LONG, "{:?}", began.elapsed());
    drop(strace);
    is_not_there(&c);
    let again = c.delete().unwrap_err();
    assert_eq!(again.code(), Some(Code::NOT_FOUND), "{again:?}");
    assert!(procfs::mounts_naming(&c.bundle.rootfs().display().to_string()).is_empty());
    // The id is free, and a Shutdown is heard.
    c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    block(c.task.shutdown(&c.id)).unwrap();
    c.wait_for_daemon();
}

#[test]
fn delete_of_a_busy_root_fails_and_can_be_repeated() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let open = File::open(c.bundle.rootfs().join("bin")).unwrap();
    c.kill_and_wait();
    let error = c.delete().unwrap_err();
    assert_eq!(error.code(), Some(Code::UNKNOWN), "{error:?}");
    assert!(
        error.message().contains("failed rootfs umount"),
        "{error:?}"
    );
    answers_at_once(&c, Status::STOPPED);
    drop(open);
    assert_eq!(c.delete().unwrap().exit_status, 137);
    is_not_there(&c);
}

/// An update that waits for a resume, and whose job then dies while the processes stand still, leaves
/// them running: only where cgroup v1 holds the rules does an update stop anything.
#[test]
fn job_of_an_update_behind_a_resume_dies_and_the_container_runs_on() {
    if !target::is_hull() {
        eprintln!("the runc shim has no such jobs: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new([
        "sh",
        "-c",
        "while :; do echo .; sleep 0.01; done",
    ]));
    c.run();
    block(c.task.pause(&c.id)).unwrap();
    let output = lab.dir().join("strace");
    // The first write of a resume thaws; the second one of this update is that of its first rule.
    let strace = Strace::inject(
        &[launcher(c.shim_pid())],
        "write:signal=KILL:when=2",
        &output,
    );
    let resources = json!({ "devices": [
        { "allow": true, "access": "rwm" },
        { "allow": false, "type": "b", "access": "rwm" }
    ] });
    let (resumed, updated) =
        block(async { tokio::join!(c.task.resume(&c.id), c.task.update(&c.id, &resources)) });
    drop(strace);
    resumed.unwrap();
    assert_eq!(c.status(), Status::RUNNING);
    if v1_holds_the_rules() {
        let error = updated.unwrap_err();
        assert!(error.message().contains("died"), "{error:?}");
    }
    drop(c.stdio.out.as_mut().unwrap().read_available());
    c.read_until(".\n");
}

fn v1_holds_the_rules() -> bool {
    cgroup::hierarchies()
        .into_iter()
        .any(|one| !one.unified && one.controllers.iter().any(|name| name == "devices"))
}
