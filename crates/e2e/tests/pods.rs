//! Pods: containers that share a daemon, a launcher and namespaces, and come and go in any order.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use containerd_shim_protos::api::Status;
use hull_e2e::{
    Case, Code, Container, Containerd, Lab, RpcError, Spec, block, procfs, target, time,
};

const SANDBOX: &str = "io.kubernetes.cri.sandbox-id";
const GROUP: &str = "io.containerd.runc.v2.group";
/// What the containers of a pod have in common by default, and the names in /proc.
const SHARED: [(&str, &str); 3] = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
/// Longer than a daemon that was asked to leave stays after its last container.
const PAST_THE_GRACE: Duration = Duration::from_millis(1200);

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

fn pid(c: &Container<'_>) -> u32 {
    c.state().unwrap().pid
}

/// The first container of a pod, whose namespaces the others join; it runs.
fn sandbox<'lab>(lab: &'lab Lab, pod: &str) -> Container<'lab> {
    let spec = sleeper().annotation(SANDBOX, pod).set("/hostname", pod);
    let c = lab.container_named(pod, &spec);
    c.run();
    c
}

/// A spec of a further container in some namespaces of a process.
fn joining(spec: Spec, pod: &str, process: u32, namespaces: &[(&str, &str)]) -> Spec {
    let spec = spec.annotation(SANDBOX, pod);
    namespaces.iter().fold(spec, |spec, (kind, file)| {
        let path = PathBuf::from(format!("/proc/{process}/ns/{file}"));
        spec.namespace(kind, Some(&path))
    })
}

fn namespace(pid: u32, file: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap()
}

/// What containerd does with a container that is to go: after the task the daemon is asked to leave,
/// which it does not while there are others, and the `delete` action runs.
fn remove(lab: &Lab, c: &Container<'_>, shutdown: bool) {
    if c.status() != Status::STOPPED {
        c.kill_and_wait();
    }
    c.delete().unwrap();
    if shutdown {
        block(c.task.shutdown(&c.id)).unwrap();
    }
    lab.binary().delete(&c.id, c.bundle.path()).unwrap();
}

/// The children of the daemon that are in no container.
fn others_than(daemon: u32, inits: &[u32]) -> Vec<u32> {
    let mut children = procfs::children(daemon);
    children.retain(|pid| !inits.contains(pid));
    children
}

#[test]
fn containers_of_a_pod_have_one_daemon_and_one_launcher() {
    let lab = Lab::new();
    let pod = lab.id("pod");
    for key in [SANDBOX, GROUP] {
        let spec = sleeper().annotation(key, &pod);
        let containers = [(); 4].map(|()| lab.container(&spec));
        let inits = containers.each_ref().map(Container::run);
        let daemon = containers.first().unwrap().shim_pid();
        for c in &containers {
            assert_eq!(c.shim_pid(), daemon);
            assert_eq!(c.address, format!("unix://{}", lab.socket(&pod).display()));
            assert_eq!(c.exec("e", ["echo", "here"]).stdout, "here\n");
        }
        if target::is_hull() {
            assert_eq!(others_than(daemon, &inits).len(), 1);
        }
        // One that belongs to nobody, and one of both: the group decides.
        assert_ne!(lab.container(&sleeper()).shim_pid(), daemon);
        let both = sleeper()
            .annotation(SANDBOX, "another")
            .annotation(GROUP, &pod);
        assert_eq!(lab.container(&both).shim_pid(), daemon);
    }
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

fn removed_in(order: [usize; 3], every_shutdown: bool) {
    let lab = Lab::new();
    let pod = lab.id("pod");
    let first = sandbox(&lab, &pod);
    let spec = joining(sleeper(), &pod, pid(&first), &SHARED);
    let (second, third) = (lab.container(&spec), lab.container(&spec));
    second.run();
    third.run();
    let shared = namespace(pid(&first), "net");
    let containers = [first, second, third];
    let mut queue = order.iter().map(|number| containers.get(*number).unwrap());
    while let Some(gone) = queue.next() {
        // An old containerd asks with the first container only that is removed.
        let asks = every_shutdown || queue.len() == 2;
        remove(&lab, gone, asks);
        for other in queue.clone() {
            assert_eq!(other.status(), Status::RUNNING, "{order:?}");
            assert_eq!(namespace(pid(other), "net"), shared);
            let name = other.exec(&gone.id, ["hostname"]).stdout;
            assert_eq!(name, format!("{pod}\n"), "{order:?}");
        }
    }
    let [last, ..] = &containers;
    last.wait_for_daemon();
    assert!(!lab.socket(&pod).exists());
    // TestShutdownShimWhenPauseExitsBeforeWorkload: whoever still has a connection sees its end.
    let error = block(last.task.connect_task(&last.id)).unwrap_err();
    assert!(
        matches!(error, RpcError::Closed | RpcError::Transport(_)),
        "{error:?}"
    );
}

#[test]
fn containers_are_removed_in_any_order() {
    for order in ORDERS {
        removed_in(order, true);
    }
}

#[test]
fn one_early_shutdown_is_enough_in_any_order() {
    if !target::is_hull() {
        eprintln!("the runc shim forgets it: nothing is proved");
        return;
    }
    for order in ORDERS {
        removed_in(order, false);
    }
}

/// The workload of a pod restarts while its sandbox stays, and after that has gone.
#[test]
fn containers_are_added_at_any_time() {
    let lab = Lab::new();
    let pod = lab.id("pod");
    let first = sandbox(&lab, &pod);
    let spec = joining(sleeper(), &pod, pid(&first), &SHARED);
    let second = lab.container(&spec);
    second.run();
    for _ in 0..3 {
        // The same id again and again.
        second.kill_and_wait();
        second.delete().unwrap();
        second.run();
        assert_eq!(
            namespace(pid(&second), "net"),
            namespace(pid(&first), "net")
        );
    }
    remove(&lab, &first, true);
    let third = lab.container(&joining(sleeper(), &pod, pid(&second), &SHARED));
    assert_eq!(third.shim_pid(), second.shim_pid());
    third.run();
    assert_eq!(
        namespace(pid(&third), "ipc"),
        namespace(pid(&second), "ipc")
    );
    assert_eq!(third.exec("e", ["hostname"]).stdout, format!("{pod}\n"));
    remove(&lab, &second, true);
    assert_eq!(third.status(), Status::RUNNING);
    remove(&lab, &third, false);
    third.wait_for_daemon();
}

/// A Shutdown that came too early is not held against a Create that comes at the last moment.
#[test]
fn create_on_an_old_connection_keeps_the_daemon() {
    if !target::is_hull() {
        eprintln!("the runc shim forgets an early Shutdown: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let pod = lab.id("pod");
    let first = sandbox(&lab, &pod);
    let spec = sleeper().annotation(SANDBOX, &pod);
    // containerd has connected, but its Create comes late.
    let second = lab.container(&spec);
    block(first.task.shutdown(&first.id)).unwrap();
    first.kill_and_wait();
    first.delete().unwrap();
    second.run();
    let left = time::look_until(PAST_THE_GRACE, || {
        procfs::has_ended(second.shim_pid()).then_some(())
    });
    assert!(left.is_none(), "the daemon left");
    assert_eq!(second.status(), Status::RUNNING);
    let error = block(second.task.state(&first.id, "")).unwrap_err();
    assert_eq!(error.code(), Some(Code::NOT_FOUND), "{error:?}");
    // With the last one it leaves, without being asked again.
    remove(&lab, &second, false);
    second.wait_for_daemon();
}

/// A shared PID namespace, in which the first process is the pod's, with a native and a Wasm member, and a
/// container for looking into one of them.
#[test]
fn native_and_wasm_members_share_a_pid_namespace() {
    let lab = Lab::wasm();
    let pod = lab.id("pod");
    let first = sandbox(&lab, &pod);
    let all = [&SHARED[..], &[("pid", "pid")]].concat();
    let native = lab.container(&joining(sleeper(), &pod, pid(&first), &all));
    native.run();
    let guest = Spec::new(["/wasm/sleep.wasm"]);
    let mut wasm = lab.container(&joining(guest, &pod, pid(&first), &all));
    wasm.run();
    assert_eq!(wasm.read_until("\n"), "ready\n");
    for c in [&native, &wasm] {
        assert_eq!(c.shim_pid(), first.shim_pid());
        for (_, file) in &all {
            assert_eq!(namespace(pid(c), file), namespace(pid(&first), file));
        }
    }
    let seen = native.exec(
        "e",
        [
            "sh",
            "-c",
            "cat /proc/1/cmdline; ls -d /proc/[0-9]* | wc -l",
        ],
    );
    // Two sleeps, the guest's runner, the shell, ls and wc.
    assert_eq!(seen.stdout, "sleep\x00600\x006\n");
    // kubectl debug --target: the PID namespace of one container.
    let target = [("pid", "pid")];
    let mut debug = lab.container(&joining(
        Spec::new(["sh", "-c", "cat /proc/1/cmdline"]),
        &pod,
        pid(&native),
        &target,
    ));
    assert!(debug.run_to_end().stdout.starts_with("sleep"));
    remove(&lab, &native, true);
    assert_eq!(wasm.status(), Status::RUNNING);
    // The end of the first process is the end of all.
    assert_eq!(first.kill_and_wait(), 137);
    assert_eq!(wasm.wait(), 137);
    remove(&lab, &first, true);
    remove(&lab, &debug, true);
    remove(&lab, &wasm, true);
    wasm.wait_for_daemon();
}

/// A pod with many containers that all come and go at once.
#[test]
fn containers_of_a_pod_come_and_go_at_the_same_time() {
    let lab = Lab::new();
    let pod = lab.id("pod");
    let first = sandbox(&lab, &pod);
    let spec = joining(
        Spec::new(["sh", "-c", "exit 7"]),
        &pod,
        pid(&first),
        &SHARED,
    );
    let members: Vec<Container<'_>> = (0..12).map(|_| lab.container(&spec)).collect();
    thread::scope(|scope| {
        for member in &members {
            scope.spawn(|| {
                for _ in 0..3 {
                    member.run();
                    assert_eq!(member.wait(), 7);
                    assert_eq!(member.delete().unwrap().exit_status, 7);
                }
            });
        }
    });
    if target::is_hull() {
        let launchers = time::look_until(Duration::from_secs(5), || {
            let launchers = others_than(first.shim_pid(), &[pid(&first)]);
            (launchers.len() == 1).then_some(())
        });
        assert!(launchers.is_some());
    }
    assert_eq!(first.exec("e", ["hostname"]).stdout, format!("{pod}\n"));
}

/// The same under containerd, which runs `start` and `delete` for each of them.
fn under_containerd(case: &Case) {
    let group = format!("{GROUP}={}", case.id("pod"));
    let flags = ["--null-io", "--annotation", &group];
    let run = || case.run_detached(&flags, &["sleep", "600"]);
    let shim = |id: &str| procfs::parent(case.pid(id)).unwrap();
    let (first, second) = (run(), run());
    let daemon = shim(&first);
    assert_eq!(shim(&second), daemon);
    case.remove(&first);
    assert_eq!(case.exec(&second, &["echo", "alive"]).ok(), "alive\n");
    let third = run();
    assert_eq!(shim(&third), daemon);
    case.remove(&second);
    assert_eq!(case.exec(&third, &["echo", "alive"]).ok(), "alive\n");
    case.remove(&third);
    let gone = time::look_until(Duration::from_secs(5), || {
        procfs::has_ended(daemon).then_some(())
    });
    assert!(gone.is_some(), "the daemon is still there");
}

#[test]
fn group_under_containerd() {
    under_containerd(&Case::new());
}

#[test]
fn group_under_containerd_of_the_second_generation() {
    if std::env::var_os("HULL_CLIENTS").is_some_and(|dir| dir.is_empty()) {
        eprintln!("CLIENTS=no: nothing is proved about containerd 2.x");
        return;
    }
    under_containerd(&Case::with(Containerd::shared_newest()));
}
