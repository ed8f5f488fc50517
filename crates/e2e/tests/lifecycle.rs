//! The life of a container and its execs, told by the shim alone.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use containerd_shim_protos::api::Status;
use hull_e2e::{Code, Container, Lab, RpcError, Spec, Topic, block, eventually, procfs, time};

const KILL: u32 = 9;
const TERM: u32 = 15;

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

#[track_caller]
fn assert_status(result: Result<impl std::fmt::Debug, RpcError>, code: Code, text: &str) {
    let error = result.unwrap_err();
    assert!(
        error.code() == Some(code) && error.message().contains(text),
        "{error:?}"
    );
}

#[test]
fn whole_life_gives_pids_status_and_times() {
    let lab = Lab::new();
    let c = lab.container(&script("exit 7"));
    let pid = c.create();
    assert!(pid > 0);
    assert_eq!(c.status(), Status::CREATED);
    assert_eq!(c.start(), pid);
    assert_eq!(c.wait(), 7);
    let state = c.state().unwrap();
    assert_eq!((state.status(), state.exit_status), (Status::STOPPED, 7));
    assert_eq!(state.id, c.id);
    assert_eq!(state.bundle, c.bundle.path().display().to_string());
    assert_eq!(state.stdout, c.stdio.stdout_path().display().to_string());
    let deleted = c.delete().unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert!(deleted.exited_at.seconds > 1_700_000_000, "{deleted:?}");
    assert_status(c.state(), Code::NOT_FOUND, "");
}

#[test]
fn program_starts_only_at_start() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo ran"));
    let pid = c.create();
    // The init waits: it is there, is not the program yet, and has written nothing.
    assert!(
        !procfs::command_line(pid).contains("echo ran"),
        "{}",
        procfs::command_line(pid)
    );
    assert_eq!(c.stdio.out.as_mut().unwrap().read_available(), b"");
    c.start();
    assert_eq!(hull_e2e::read_output(&mut c.stdio).0, "ran\n");
    assert_eq!(c.wait(), 0);
}

#[test]
fn pid_of_a_program_that_ends_at_once_is_known() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    assert!(c.run() > 0);
    assert!(c.state().unwrap().pid > 0);
    assert_eq!(c.wait(), 0);
}

#[test]
fn ten_waiters_get_the_same_answer() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let waiters: Vec<_> = (0..10)
        .map(|_| {
            let (task, id) = (c.task.clone(), c.id.clone());
            time::handle().spawn(async move { task.wait(&id, "").await })
        })
        .collect();
    c.kill(KILL).unwrap();
    for waiter in waiters {
        let answer = time::within_limit("a waiter", waiter).unwrap().unwrap();
        assert_eq!(answer.exit_status, 137);
        assert!(answer.exited_at.seconds > 0);
    }
    assert_eq!(c.wait(), 137, "a Wait after the exit");
}

#[test]
fn signals_give_128_and_their_number() {
    let lab = Lab::new();
    for signal in [1, 2, 6, KILL, TERM] {
        // Not the init itself, which ignores what it has no handler for.
        let c = lab.container(&script(&format!("sh -c 'kill -{signal} $$'; exit $?")));
        c.run();
        assert_eq!(c.wait(), 128 + signal, "signal {signal}");
    }
}

#[test]
fn init_with_a_handler_gets_its_signal() {
    let lab = Lab::new();
    let mut c = lab.container(&script(
        "trap 'exit 42' TERM; echo ready; while :; do sleep 0.1; done",
    ));
    c.run();
    c.read_until("ready\n");
    c.kill(TERM).unwrap();
    assert_eq!(c.wait(), 42);
}

#[test]
fn kill_in_created_stops_the_container() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.create();
    c.kill(KILL).unwrap();
    assert_eq!(c.wait(), 137);
    eventually("stopped", || (c.status() == Status::STOPPED).then_some(()));
    let exit = lab.events().wait_for(Topic::Exit, &c.id, "");
    assert_eq!(exit.status, 137);
    c.delete().unwrap();
}

#[test]
fn delete_in_created_kills_and_deletes() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let pid = c.create();
    assert_eq!(c.delete().unwrap().pid, pid);
    assert!(!procfs::exists(pid));
    assert_status(c.state(), Code::NOT_FOUND, "");
}

#[test]
fn second_delete_is_not_found() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    c.run();
    c.wait();
    c.delete().unwrap();
    assert_status(c.delete(), Code::NOT_FOUND, "");
}

#[test]
fn delete_of_a_running_container_is_refused_and_harmless() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    assert!(c.delete().is_err());
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn kill_after_exit_is_not_found() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    c.run();
    c.wait();
    assert_status(c.kill(KILL), Code::NOT_FOUND, "process already finished");
}

#[test]
fn pid_is_reaped_before_wait_returns() {
    let lab = Lab::new();
    for _ in 0..5 {
        let c = lab.container(&sleeper());
        let pid = c.run();
        c.kill_and_wait();
        assert!(!procfs::exists(pid), "{}", procfs::command_line(pid));
    }
}

#[test]
fn same_id_can_be_used_again() {
    let lab = Lab::new();
    let c = lab.container(&script("exit 3"));
    for _ in 0..3 {
        c.run();
        assert_eq!(c.wait(), 3);
        c.delete().unwrap();
    }
}

#[test]
fn duplicate_create_is_already_exists() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    assert_status(c.try_create(), Code::ALREADY_EXISTS, &c.id);
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn wait_in_created_is_released_by_delete() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.create();
    let waiter = wait_in_background(&c, "");
    c.delete().unwrap();
    // Either the status of the killed init, or that it is gone; not silence.
    time::within_limit("the waiter is released", waiter)
        .unwrap()
        .ok();
}

#[test]
fn exec_after_exit_is_refused() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _stdio = c.add_exec("early", ["true"]);
    c.kill_and_wait();
    assert!(
        c.try_start("early").is_err(),
        "an exec started without its container"
    );
    let process = c.spec.process(["true"]);
    let (_, added) = c.try_add_exec("late", &process, hull_e2e::Streams::NONE);
    assert!(added.is_err(), "an exec was added to a stopped container");
}

#[test]
fn exec_runs_beside_the_init_and_its_code_is_kept() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let init = c.run();
    let _stdio = c.add_exec("e", ["sh", "-c", "exit 6"]);
    let pid = c.try_start("e").unwrap();
    assert!(pid > 0 && pid != init);
    assert_eq!(c.wait_exec("e"), 6);
    let state = block(c.task.state(&c.id, "e")).unwrap();
    assert_eq!((state.status(), state.exit_status), (Status::STOPPED, 6));
    assert_eq!(block(c.task.delete(&c.id, "e")).unwrap().exit_status, 6);
    assert_status(block(c.task.state(&c.id, "e")), Code::NOT_FOUND, "");
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn exec_that_never_started_can_be_deleted() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _stdio = c.add_exec("e", ["true"]);
    let deleted = block(c.task.delete(&c.id, "e")).unwrap();
    assert_eq!(deleted.exit_status, 0);
    // And its name is free again.
    assert_eq!(c.exec("e", ["sh", "-c", "exit 4"]).status, 4);
}

#[test]
fn failed_exec_start_releases_its_waiter_and_leaves_the_container_alone() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _stdio = c.add_exec("e", ["/no/such/program"]);
    let waiter = wait_in_background(&c, "e");
    let error = c.try_start("e").unwrap_err();
    assert!(error.message().contains("/no/such/program"), "{error:?}");
    time::within_limit("the waiter of a failed exec", async {
        block_on_delete(&c).await;
        waiter.await
    })
    .unwrap()
    .ok();
    assert_eq!(c.status(), Status::RUNNING);
    let of_exec = lab
        .events()
        .of(&c.id)
        .into_iter()
        .filter(|event| event.exec == "e");
    let topics: Vec<Topic> = of_exec.map(|event| event.topic).collect();
    assert_eq!(topics, [Topic::ExecAdded]);
}

#[test]
fn execs_die_with_the_init() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let execs = ["a", "b", "c"];
    let _stdio = execs.map(|exec| c.add_exec(exec, ["sleep", "600"]));
    for exec in execs {
        c.try_start(exec).unwrap();
    }
    c.kill_and_wait();
    for exec in execs {
        assert_eq!(c.wait_exec(exec), 137);
        lab.events().wait_for(Topic::Exit, &c.id, exec);
    }
}

#[test]
fn pids_are_those_of_the_host_and_name_execs() {
    let lab = Lab::new();
    let c = lab.container(&script("sleep 600 & wait"));
    let init = c.run();
    let _stdio = c.add_exec("e", ["sleep", "600"]);
    let exec = c.try_start("e").unwrap();
    let processes = eventually("init, its child and the exec", || {
        let processes = block(c.task.pids(&c.id)).unwrap().processes;
        (processes.len() == 3).then_some(processes)
    });
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    assert!(pids.contains(&init) && pids.contains(&exec), "{pids:?}");
    let named = processes
        .iter()
        .find(|process| process.pid == exec)
        .unwrap();
    assert!(
        named
            .info
            .type_url
            .ends_with("containerd.runc.v1.ProcessDetails"),
        "{named:?}"
    );
    // ProcessDetails{exec_id = 1}.
    assert_eq!(named.info.value, b"\x0a\x01e");
}

#[test]
fn connect_answers_for_any_id() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    assert_eq!(block(c.task.connect_task("nobody")).unwrap().task_pid, 0);
    let pid = c.run();
    let connected = block(c.task.connect_task(&c.id)).unwrap();
    assert_eq!(
        (connected.shim_pid, connected.task_pid),
        (c.shim_pid(), pid)
    );
}

#[test]
fn shutdown_with_a_container_does_nothing() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    block(c.task.shutdown(&c.id)).unwrap();
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn shutdown_ends_the_daemon_and_removes_its_socket() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    c.run();
    c.wait();
    c.delete().unwrap();
    let socket = lab.socket(&c.id);
    assert!(socket.exists());
    block(c.task.shutdown(&c.id)).unwrap();
    c.wait_for_daemon();
    assert!(!socket.exists());
}

#[test]
fn daemon_keeps_no_descriptor_per_exec() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    c.exec("warm", ["true"]);
    let settled = || procfs::descriptors(c.shim_pid());
    let before = settled();
    for number in 0..10 {
        c.exec(&format!("e{number}"), ["echo", "x"]);
    }
    let after = time::look_until(Duration::from_secs(5), || {
        (settled().len() <= before.len()).then_some(())
    });
    assert!(
        after.is_some(),
        "before: {before:#?}\nafter: {:#?}",
        settled()
    );
}

fn wait_in_background(
    c: &Container<'_>,
    exec: &str,
) -> tokio::task::JoinHandle<Result<u32, RpcError>> {
    let (task, id, exec) = (c.task.clone(), c.id.clone(), exec.to_owned());
    time::handle().spawn(async move { Ok(task.wait(&id, &exec).await?.exit_status) })
}

/// Deletes the exec `e`: the runc shim releases its waiters only then.
async fn block_on_delete(c: &Container<'_>) {
    c.task.delete(&c.id, "e").await.unwrap();
}
