//! The daemon, the launcher or `start` is killed at every step and at any moment: what containerd runs
//! then, the `delete` action, leaves nothing, is quick, and the id can be used at once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use hull_client::ShimBinary;
use hull_e2e::{
    Code, Container, HookKind, Lab, Spec, Streams, Task, Topic, Version, block, cgroup, eventually,
    in_own_network, leaks, procfs, slowed, time,
};

/// containerd kills `delete` after five seconds.
const DELETE_LIMIT: Duration = Duration::from_secs(5);

/// What the daemon does in a life, in its order: the points at which it dies.
const DAEMON: [&str; 24] = [
    "lower config.json",
    "state file",
    "prepare",
    "streams",
    "clone init",
    "remember init",
    "wait for init",
    "start streams",
    "created",
    "create event",
    "release gate",
    "program runs",
    "start event",
    "exec added",
    "clone exec",
    "wait for exec",
    "exec runs",
    "init reaped",
    "exit event",
    "release",
    "poststop",
    "delete event",
    "forgotten",
    // And at none.
    "",
];

/// Steps of the processes that it has work: each stands still there when the daemon is killed.
const CREATE: [&str; 19] = [
    "rootfs mount",
    "cgroup",
    "hooks",
    "plan",
    "join cgroup",
    "namespaces",
    "session",
    "rootfs",
    "mounts",
    "devices",
    "runtime hooks",
    "createContainer hooks",
    "pivot_root",
    "console",
    "sysctl",
    "masked paths",
    "credentials",
    "program",
    "gate",
];
const START: [&str; 2] = ["startContainer hooks", "exec"];
const EXEC: [&str; 6] = [
    "plan",
    "join cgroup",
    "namespaces",
    "clone",
    "session",
    "exec",
];
const DELETE: [&str; 2] = ["cgroup removal", "rootfs umount"];
/// Those of a process in between.
const BETWEEN: [&str; 6] = [
    "plan",
    "namespaces",
    "time offsets",
    "clone",
    "id maps",
    "mounts",
];

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// With hooks of every kind that a step is about.
fn hooked() -> Spec {
    [
        HookKind::Prestart,
        HookKind::CreateContainer,
        HookKind::StartContainer,
        HookKind::Poststop,
    ]
    .into_iter()
    .fold(sleeper(), |spec, kind| {
        spec.hook(kind, "/bin/true", &["true"])
    })
}

fn with_process_between() -> Spec {
    let bind = Path::new("/etc");
    sleeper()
        .user_namespace(100_000, 65_536)
        .namespace("time", None)
        .mount("bind", bind, "/run/etc", &["bind"])
}

/// A whole life, as far as there is a shim to answer.
fn live(c: &Container<'_>) {
    drop(c.try_create());
    drop(c.try_start(""));
    let process = c.spec.process(["sleep", "600"]);
    drop(c.try_add_exec("e", &process, Streams::NONE));
    drop(c.try_start("e"));
    drop(c.kill(9));
    drop(time::within_limit("Wait", c.task.wait(&c.id, "")));
    drop(c.delete());
}

/// The `delete` action does it all, in time. The daemon must be the only one of the lab.
#[track_caller]
fn delete_cleans_up(lab: &Lab, c: &Container<'_>, what: &str) {
    let began = Instant::now();
    lab.binary()
        .delete(&c.id, c.bundle.path())
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let took = began.elapsed();
    assert!(took < slowed(DELETE_LIMIT), "{what}: {took:?}");
    let groups = cgroup::directories_naming(&c.cgroup());
    assert!(groups.is_empty(), "{what}: {groups:?}");
    let rootfs = c.bundle.rootfs().display().to_string();
    assert!(procfs::mounts_naming(&rootfs).is_empty(), "{what}");
    assert!(!lab.socket(&c.id).exists(), "{what}");
    // A launcher ends when it notices that it is alone.
    eventually(&format!("{what}: no process is left"), || {
        let left = procfs::processes_naming(lab.tag());
        // Process 1 takes its time with the dead.
        let mut left = left.iter().map(|process| process.pid);
        left.all(procfs::has_ended).then_some(())
    });
}

/// Another life under the same id, in the same bundle.
#[track_caller]
fn id_can_be_used(lab: &Lab, c: &Container<'_>, what: &str) {
    lab.expect_disorder();
    let healthy = ShimBinary {
        env: vec![("HULL_FAULT".into(), "".into())],
        ..lab.binary().clone()
    };
    let address = healthy.start(&c.id, c.bundle.path(), &[]).unwrap();
    block(async {
        let task = Task::connect(&address, lab.tag(), Version::V2).await?;
        task.create(&c.create_request()).await?;
        task.start(&c.id, "").await?;
        task.kill(&c.id, "", 9).await?;
        task.wait(&c.id, "").await?;
        task.delete(&c.id, "").await?;
        task.shutdown(&c.id).await
    })
    .unwrap_or_else(|error| panic!("{what}: {error}\n{}", c.bundle.log()));
    healthy.delete(&c.id, c.bundle.path()).unwrap();
}

#[test]
fn daemon_can_die_at_every_step_of_a_life() {
    let mut lab = Lab::new();
    lab.expect_lost_events();
    for point in DAEMON {
        lab.set_fault(&format!("daemon {point}:kill"));
        let c = lab.container(&hooked());
        live(&c);
        if point.is_empty() {
            assert!(
                !procfs::has_ended(c.shim_pid()),
                "it dies of something else"
            );
            continue;
        }
        c.wait_for_daemon();
        delete_cleans_up(&lab, &c, point);
        id_can_be_used(&lab, &c, point);
    }
}

/// The process that stands still at a step, below a daemon.
fn stalled(c: &Container<'_>, what: &str) -> u32 {
    eventually(&format!("{what}: something stands still"), || {
        let daemon = c.shim_pid();
        // Cheaper than to look at every process of the machine, again and again.
        let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"));
        let children = children.unwrap_or_default();
        let mut pids = children.split_whitespace().map(|pid| pid.parse().unwrap());
        pids.find(|pid| procfs::field(*pid, "Name").as_deref() == Some("hull-stalled"))
    })
}

/// Kills the daemon while one of its processes stands still at this step.
#[track_caller]
fn killed_meanwhile(lab: &mut Lab, spec: &Spec, fault: &str) {
    lab.set_fault(&format!("{fault}:stall"));
    let c = lab.container(spec);
    chown(c.upper(), Some(100_000), Some(100_000)).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| live(&c));
        let hung = procfs::Identity::of(stalled(&c, fault));
        lab.kill_daemon(c.shim_pid());
        c.wait_for_daemon();
        delete_cleans_up(lab, &c, fault);
        assert!(!hung.is_running(), "{fault}: it is still there");
    });
    id_can_be_used(lab, &c, fault);
}

#[test]
fn daemon_can_be_killed_while_a_process_is_at_any_step_of_create() {
    let mut lab = Lab::new();
    for step in CREATE {
        killed_meanwhile(&mut lab, &hooked(), step);
    }
}

#[test]
fn daemon_can_be_killed_while_a_process_is_at_any_step_of_start_exec_and_delete() {
    let mut lab = Lab::new();
    for step in START.into_iter().chain(DELETE) {
        killed_meanwhile(&mut lab, &hooked(), step);
    }
    for step in EXEC {
        killed_meanwhile(&mut lab, &hooked(), &format!("exec {step}"));
    }
}

#[test]
fn daemon_can_be_killed_while_a_process_in_between_is_at_any_step() {
    let mut lab = Lab::new();
    for step in BETWEEN {
        killed_meanwhile(&mut lab, &with_process_between(), step);
    }
}

#[test]
fn daemon_can_be_killed_while_network_devices_move() {
    in_own_network(|| {
        let made = std::process::Command::new("ip")
            .args(["link", "add", "moves0", "type", "veth"])
            .status();
        assert!(made.unwrap().success());
        let mut lab = Lab::new();
        let spec = hooked().set("/linux/netDevices/moves0/name", "eth0");
        // The second life has it again, so it is still the host's.
        killed_meanwhile(&mut lab, &spec, "network devices");
    });
}

/// What the hook has started dies as well. `delete` need not know of either.
#[test]
fn hook_of_the_runtime_does_not_outlive_the_daemon() {
    let lab = Lab::new();
    let pids = lab.dir().join("pids");
    let text = format!(
        "sleep 605 & echo $! >{0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    for kind in [
        HookKind::CreateRuntime,
        HookKind::Poststart,
        HookKind::Poststop,
    ] {
        let c = lab.container(&sleeper().hook(kind, "/bin/sh", &["sh", "-c", &text]));
        thread::scope(|scope| {
            scope.spawn(|| live(&c));
            let pid = eventually("the hook runs", || {
                fs::read_to_string(&pids).ok()?.trim().parse().ok()
            });
            let (sleep, shell) = (procfs::Identity::of(pid), procfs::parent(pid).unwrap());
            let shell = procfs::Identity::of(shell);
            assert!(sleep.is_running() && shell.is_running());
            lab.kill_daemon(c.shim_pid());
            for process in [sleep, shell] {
                eventually("the hook is gone", || (!process.is_running()).then_some(()));
            }
        });
        fs::remove_file(&pids).unwrap();
        if kind != HookKind::Poststop {
            // That one runs again, and for as long as `delete` gives it.
            delete_cleans_up(&lab, &c, "hook");
        }
        // It would run for ever.
        fs::remove_file(c.bundle.path().join("hull-state")).ok();
    }
}

/// `delete` comes after the end of what a dead daemon had mount things.
#[test]
fn delete_waits_for_whoever_still_mounts() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    let lease = File::open(c.bundle.path()).unwrap();
    lease.lock_shared().unwrap();
    let held = Duration::from_millis(200);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(held);
            drop(lease);
        });
        delete_cleans_up(&lab, &c, "lease");
    });
    assert!(began.elapsed() >= held);
}

#[test]
fn containers_of_a_pod_whose_daemon_was_killed_are_cleaned_up_one_by_one() {
    let lab = Lab::new();
    let pod = sleeper().annotation("io.kubernetes.cri.sandbox-id", &lab.id("pod"));
    let all = [(), (), ()].map(|()| lab.container(&pod));
    let pids = all.each_ref().map(|c| c.run());
    lab.kill_daemon(all[0].shim_pid());
    all[0].wait_for_daemon();
    for (number, c) in all.iter().enumerate() {
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
        let ended = pids.map(procfs::has_ended);
        assert_eq!(ended, [true, number >= 1, number >= 2], "{ended:?}");
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{groups:?}");
    }
    // A new pod of that name.
    let c = lab.container(&pod);
    c.run();
    assert_eq!(c.status(), Status::RUNNING);
}

/// Whoever deletes the container is gone when that is done: the next one who asks is told.
#[test]
fn delete_whose_caller_died_is_answered_to_the_next() {
    let lab = Lab::new();
    let pod = sleeper().annotation("io.kubernetes.cri.sandbox-id", &lab.id("pod"));
    let keeper = lab.container(&pod);
    keeper.run();
    let spec = pod.hook(HookKind::Poststop, "/bin/sleep", &["sleep", "0.4"]);
    let c = lab.container(&spec);
    c.run();
    assert_eq!(c.kill_and_wait(), 137);
    let caller = block(Task::connect(&c.address, lab.tag(), Version::V2)).unwrap();
    let id = c.id.clone();
    let delete = time::handle().spawn(async move { caller.delete(&id, "").await });
    thread::sleep(Duration::from_millis(150));
    delete.abort();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    // As containerd 1.6 finds it after its restart.
    assert_eq!(c.status(), Status::STOPPED);
    assert!(block(c.task.pids(&c.id)).unwrap().processes.is_empty());
    assert_eq!(c.delete().unwrap().exit_status, 137);
    let error = c.delete().unwrap_err();
    assert_eq!(error.code(), Some(Code::NOT_FOUND), "{error}");
    let topics = lab.events().topics(&c.id);
    let deletes = topics.iter().filter(|topic| **topic == Topic::Delete);
    assert_eq!(deletes.count(), 1);
}

/// The daemon's launchers.
fn launchers(daemon: u32) -> Vec<u32> {
    let mut children = procfs::children(daemon);
    children.retain(|pid| {
        procfs::field(*pid, "Name").as_deref() == Some("hull-launcher")
            && procfs::command_line(*pid).ends_with("launcher")
    });
    children
}

/// Whatever was under way fails with one line or succeeds; the next one works.
#[test]
fn launcher_can_be_killed_at_any_moment() {
    let lab = Lab::new();
    let pod = sleeper().annotation("io.kubernetes.cri.sandbox-id", &lab.id("pod"));
    let keeper = lab.container(&pod);
    keeper.run();
    for round in 0..30_u64 {
        let c = lab.container(&pod);
        thread::scope(|scope| {
            scope.spawn(|| live(&c));
            thread::sleep(Duration::from_micros(700 * round));
            launchers(keeper.shim_pid())
                .into_iter()
                .for_each(leaks::kill);
        });
    }
    assert_eq!(keeper.status(), Status::RUNNING);
    assert_eq!(keeper.exec("e", ["echo", "works"]).stdout, "works\n");
    let c = lab.container(&pod);
    c.run();
    assert_eq!(c.kill_and_wait(), 137);
    c.delete().unwrap();
}

#[test]
fn daemon_can_be_killed_at_any_moment() {
    let lab = Lab::new();
    for round in 0..10_u64 {
        let c = lab.container(&hooked());
        thread::scope(|scope| {
            scope.spawn(|| live(&c));
            thread::sleep(Duration::from_millis(3 * round));
            lab.kill_daemon(c.shim_pid());
        });
        c.wait_for_daemon();
        delete_cleans_up(&lab, &c, "any moment");
        if round % 5 == 0 {
            id_can_be_used(&lab, &c, "any moment");
        }
    }
}

#[test]
fn start_can_be_killed_at_any_moment() {
    let lab = Lab::new();
    for round in 0..20_u64 {
        let id = lab.id("half");
        let spec = sleeper().cgroup(&format!("{}/{id}", lab.cgroup()));
        let bundle = lab.dir().join("bundles").join(&id);
        let made = hull_client::Bundle::make(&bundle, &spec).unwrap();
        let mut start = lab
            .binary()
            .start_command(&id, made.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(400 * round));
        start.kill().unwrap();
        start.wait().unwrap();
        // The next one starts a daemon, or finds the one that was ready.
        let address = lab.binary().start(&id, made.path(), &[]).unwrap();
        block(async {
            let task = Task::connect(&address, lab.tag(), Version::V2).await?;
            task.connect_task(&id).await?;
            task.shutdown(&id).await
        })
        .unwrap();
        lab.binary().delete(&id, made.path()).unwrap();
        let socket = lab.socket(&id);
        eventually("the socket is gone", || (!socket.exists()).then_some(()));
        made.remove().unwrap();
    }
}
