//! What the tests of containerd's own client demand of a shim, where no other file here already shows it.
//! Each test names the one that it follows
//! (<https://github.com/containerd/containerd/tree/main/integration/client>).

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::Status;
use hull_client::{Bundle, ShimBinary};
use hull_e2e::{
    Code, Container, Lab, Spec, Streams, Task, Topic, Version, block, eventually, limit, procfs,
    slowed, target, time,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const KILL: u32 = 9;
const TERM: u32 = 15;

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// TestContainerStartWithAbsRuntimePath: the binary works under any name and without siblings.
#[test]
fn binary_of_another_name_in_another_place() {
    let place = Lab::new();
    let copy = place.dir().join("a-shim");
    target::copy_program(&place.binary().binary, &copy);
    let lab = Lab::new().with_binary(&copy);
    let mut c = lab.container(&Spec::new(["echo", "here"]));
    assert_eq!(c.run_to_end().stdout, "here\n");
}

/// TestShimSockLength: the longest names that containerd allows still give a usable socket.
#[test]
fn longest_namespace_and_id() {
    let lab = Lab::new();
    let (namespace, id) = ("n".repeat(76), "c".repeat(64));
    let binary = ShimBinary {
        namespace: namespace.clone(),
        ..lab.binary().clone()
    };
    let spec = sleeper().cgroup(&format!("{}/{id}", lab.cgroup()));
    let bundle = Bundle::make(&lab.dir().join("bundles").join(&id), &spec).unwrap();
    let address = binary.start(&id, bundle.path(), &[]).unwrap();
    block(async {
        let task = Task::connect(&address, &namespace, Version::V2).await?;
        task.connect_task(&id).await?;
        task.shutdown(&id).await
    })
    .unwrap();
    binary.delete(&id, bundle.path()).unwrap();
    bundle.remove().unwrap();
    let socket = PathBuf::from(address.strip_prefix("unix://").unwrap());
    eventually("the socket is gone", || (!socket.exists()).then_some(()));
}

/// TestContainerWait: a Wait that is given up ends nothing and disturbs no other Wait.
#[test]
fn wait_that_is_given_up() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let impatient = async {
        tokio::time::timeout(slowed(Duration::from_millis(100)), c.task.wait(&c.id, "")).await
    };
    assert!(block(impatient).is_err(), "Wait was answered");
    assert_eq!(c.status(), Status::RUNNING);
    assert_eq!(c.kill_and_wait(), 137);
    let again = c.kill(KILL).unwrap_err();
    assert_eq!(again.code(), Some(Code::NOT_FOUND), "{again:?}");
}

/// TestTaskForceDelete, TestProcessForceDelete: the client asks to wait, kills all, and takes "not found"
/// and "failed precondition" for done.
#[test]
fn forced_deletes() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _registered = c.add_exec("registered", ["sleep", "600"]);
    let early = block(c.task.kill(&c.id, "registered", KILL)).unwrap_err();
    assert_eq!(early.code(), Some(Code::FAILED_PRECONDITION), "{early:?}");
    let never = block(c.task.delete(&c.id, "registered")).unwrap();
    // TestDeleteContainerExecCreated
    assert_eq!((never.pid, never.exit_status), (0, 0));
    let _running = c.add_exec("running", ["sleep", "600"]);
    c.try_start("running").unwrap();
    block(c.task.kill(&c.id, "running", KILL)).unwrap();
    assert_eq!(c.wait_exec("running"), 137);
    assert_eq!(
        block(c.task.delete(&c.id, "running")).unwrap().exit_status,
        137
    );
    let (task, id) = (c.task.clone(), c.id.clone());
    let wait = time::handle().spawn(async move { task.wait(&id, "").await });
    block(c.task.kill_all(&c.id, KILL)).unwrap();
    let waited = time::within_limit("Wait", wait).unwrap().unwrap();
    assert_eq!(waited.exit_status, 137);
    assert_eq!(c.delete().unwrap().exit_status, 137);
    let late = block(c.task.kill_all(&c.id, KILL)).unwrap_err();
    assert_eq!(late.code(), Some(Code::NOT_FOUND), "{late:?}");
}

/// TestContainerExitedAtSet, and the same for an exec: the time of the exit is that, wherever it is told.
#[test]
fn exit_has_its_time() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let now = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        i64::try_from(since.unwrap().as_millis()).unwrap()
    };
    let at = |time: &protobuf::MessageField<protobuf::well_known_types::timestamp::Timestamp>| {
        time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
    };
    c.run();
    let _exec = c.add_exec("e", ["true"]);
    for exec in ["e", ""] {
        let running = block(c.task.state(&c.id, exec)).unwrap();
        assert!(running.exited_at.is_none() && running.exit_status == 0);
        let began = now();
        if exec.is_empty() {
            c.kill(KILL).unwrap();
        } else {
            c.try_start(exec).unwrap();
        }
        let waited = block(c.task.wait(&c.id, exec)).unwrap();
        let state = block(c.task.state(&c.id, exec)).unwrap();
        let deleted = block(c.task.delete(&c.id, exec)).unwrap();
        let times = [
            at(&waited.exited_at),
            at(&state.exited_at),
            at(&deleted.exited_at),
        ];
        assert!(
            (began..=now()).contains(&times[0]),
            "{times:?} from {began}"
        );
        assert_eq!(times, [times[0]; 3]);
    }
}

/// TestContainerKillInitKillsChildWhenNotHostPid: with a PID namespace of its own nothing outlives init.
#[test]
fn children_die_with_an_init_in_its_own_pid_namespace() {
    let lab = Lab::new();
    let text = "sleep 601 & sh -c 'sleep 602 & sleep 603' & echo ready; exec sleep 600";
    let mut c = lab.container(&Spec::new(["sh", "-c", text]));
    c.run();
    c.read_until("ready");
    let pids = eventually("all of them", || {
        let listed = block(c.task.pids(&c.id)).unwrap().processes;
        // The shell may have become its last sleep.
        (listed.len() >= 4).then_some(listed)
    });
    c.kill_and_wait();
    let left = time::look_until(Duration::from_millis(100), || {
        pids.iter()
            .all(|process| procfs::has_ended(process.pid))
            .then_some(())
    });
    assert!(left.is_some(), "{pids:?}");
}

/// TestContainerKillInitPidHost: whoever hears of the end of an init without a PID namespace of its own
/// finds nothing more of its container.
#[test]
fn nothing_of_a_container_in_the_hosts_pid_namespace_is_there_when_its_exit_is_told() {
    let lab = Lab::new();
    let spec = Spec::new(["sh", "-c", "/bin/sleep 600 && exit 0"]).without_namespace("pid");
    let c = lab.container(&spec);
    for round in 0..30 {
        c.run();
        let pids = eventually("both processes", || {
            let listed = block(c.task.pids(&c.id)).unwrap().processes;
            (listed.len() == 2).then_some(listed)
        });
        c.kill_and_wait();
        // What has no memory any more has ended but for its status.
        let line = |pid: u32| fs::read_to_string(format!("/proc/{pid}/cmdline"));
        for process in pids {
            let left = line(process.pid).unwrap_or_default();
            assert_eq!(left, "", "round {round}");
        }
        c.delete().unwrap();
    }
}

/// TestContainerAttach, TestContainerAttachProcess: clients come and go at the input of init and of an
/// exec; its end comes with CloseIO alone.
#[test]
fn second_client_attaches() {
    let lab = Lab::new();
    let c = lab.container_with(&Spec::new(["cat"]), Streams::ALL);
    c.run();
    let exec = c.add_exec_with("e", &c.spec.process(["cat"]), Streams::ALL);
    c.try_start("e").unwrap();
    let mut c = c;
    attach(&mut c, Some(exec));
    attach(&mut c, None);
}

fn attach(c: &mut Container<'_>, exec: Option<hull_e2e::Stdio>) {
    let (id, mut exec) = (if exec.is_some() { "e" } else { "" }, exec);
    let task = c.task.clone();
    let stdio = exec.as_mut().unwrap_or(&mut c.stdio);
    for line in ["first\n", "second\n"] {
        let mut input = stdio.open_stdin(limit()).unwrap();
        input.write_all(line.as_bytes(), limit()).unwrap();
        drop(input);
        let echoed = stdio
            .out
            .as_mut()
            .unwrap()
            .read_until(b"\n", limit())
            .unwrap();
        assert_eq!(echoed, line.as_bytes());
    }
    let state = block(task.state(&c.id, id)).unwrap();
    assert_eq!(state.status(), Status::RUNNING);
    block(task.close_io(&c.id, id)).unwrap();
    // TestContainerCloseIO: once more is no error.
    block(task.close_io(&c.id, id)).unwrap();
    assert_eq!(
        time::within_limit("Wait", task.wait(&c.id, id))
            .unwrap()
            .exit_status,
        0
    );
}

/// TestIssue10589: init ends while an exec is being started. The start fails, the exec stays as it was, and
/// all of it can be deleted.
#[test]
fn init_ends_while_an_exec_starts() {
    if !target::is_hull() {
        eprintln!("the runc shim has no launcher: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _exec = c.add_exec("e", ["true"]);
    let launcher = procfs::children(c.shim_pid())
        .into_iter()
        .find(|pid| procfs::command_line(*pid).contains("launcher"))
        .unwrap();
    let launcher = Pid::from_raw(i32::try_from(launcher).unwrap());
    kill(launcher, Signal::SIGSTOP).unwrap();
    let (task, id) = (c.task.clone(), c.id.clone());
    let start = time::handle().spawn(async move { task.start(&id, "e").await });
    let pending = || block(c.task.state(&c.id, "e")).unwrap().status();
    assert_eq!(pending(), Status::CREATED);
    let init = c.state().unwrap().pid;
    c.kill(KILL).unwrap();
    eventually("init is gone", || procfs::has_ended(init).then_some(()));
    kill(launcher, Signal::SIGCONT).unwrap();
    let error = time::within_limit("Start", start).unwrap().unwrap_err();
    assert!(!error.message().contains('\n'), "{error:?}");
    assert_eq!(c.wait(), 137);
    assert_eq!(pending(), Status::CREATED);
    assert_eq!(c.status(), Status::STOPPED);
    let late = c.try_start("e").unwrap_err();
    assert_eq!(late.code(), Some(Code::FAILED_PRECONDITION), "{late:?}");
    assert!(
        late.message().contains("init process is not running"),
        "{late:?}"
    );
    block(c.task.delete(&c.id, "e")).unwrap();
    c.delete().unwrap();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    let topics = lab.events().topics(&c.id);
    assert!(!topics.contains(&Topic::ExecStarted), "{topics:?}");
}

/// A bundle whose root nobody mounts: the config's `root.path`, relative to the bundle or not.
#[test]
fn root_without_mounts_is_that_of_the_config() {
    let lab = Lab::new();
    let image = lab.image().rootfs();
    for relative in [false, true] {
        let spec = Spec::new(["cat", "/etc/passwd"]).set("/root/readonly", true);
        let spec = if relative {
            // As many steps up as there could be.
            let path = format!("{}{}", "../".repeat(16), image.display());
            spec.set("/root/path", path)
        } else {
            spec.set("/root/path", image.to_str().unwrap())
        };
        let mut c = lab.container(&spec);
        let mut request = c.create_request();
        request.rootfs.clear();
        block(c.task.create(&request)).unwrap();
        c.start();
        let (stdout, _) = hull_e2e::read_output(&mut c.stdio);
        assert!(stdout.starts_with("root:"), "{stdout}");
        assert_eq!(c.wait(), 0);
        c.delete().unwrap();
    }
}

/// TestBindLowPortNonRoot, TestBindLowPortNonOpt: the rights of a user decide over low ports.
#[test]
fn low_ports_are_for_those_with_the_right() {
    let lab = Lab::new();
    let listen = || Spec::new(["nc", "-l", "-p", "80"]).user(1000, 1000);
    let ran = lab.container(&listen()).run_to_end();
    assert_eq!(ran.status, 1, "{ran:?}");
    let sets = [
        "bounding",
        "effective",
        "permitted",
        "inheritable",
        "ambient",
    ];
    let spec = sets.iter().fold(listen(), |spec, set| {
        spec.set(
            &format!("/process/capabilities/{set}"),
            serde_json::json!(["CAP_NET_BIND_SERVICE"]),
        )
    });
    let c = lab.container(&spec);
    let pid = c.run();
    eventually("it listens", || {
        let sockets = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap()
            + &fs::read_to_string(format!("/proc/{pid}/net/tcp6")).unwrap_or_default();
        sockets.contains(":0050 ").then_some(())
    });
    // Init of a PID namespace has no default for a signal: only a handler or SIGKILL ends it.
    let _term = c.kill(TERM);
    assert_eq!(c.kill_and_wait(), 137);
}
