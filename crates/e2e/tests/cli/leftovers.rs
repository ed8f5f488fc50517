//! What is left of containers: nothing, however their `hull` ends.

use std::fs;
use std::time::{Duration, Instant};

use hull_e2e::cli::exit_code;
use hull_e2e::{Cli, eventually, is_one_clear_line, leaks, procfs, slowed};
use nix::sys::signal::Signal;

use crate::{SLEEPER, cgroup_procs, kill_by_interrupts, send, wait_ready};

/// The processes of a `hull` that is killed have nobody but its guard.
#[test]
fn killed_hull_leaves_nothing() {
    let cli = Cli::new();
    let name = cli.name();
    let mut child = cli.spawn(cli.native_command(&["--name", &name], &SLEEPER));
    wait_ready(&mut child);
    leaks::kill(child.id());
    child.wait().unwrap();
    let dir = cli.run_dir(&name);
    eventually("the directory of the container is gone", || {
        (!dir.exists()).then_some(())
    });
}

#[test]
fn next_run_removes_what_a_killed_hull_and_its_guard_left() {
    let cli = Cli::new();
    let name = cli.name();
    let mut child = cli.spawn(cli.native_command(&["--name", &name], &SLEEPER));
    wait_ready(&mut child);
    let guard = procfs::children(child.id());
    assert_eq!(guard.len(), 1, "{guard:?}");
    leaks::kill(guard[0]);
    leaks::kill(child.id());
    child.wait().unwrap();
    let (dir, procs) = (cli.run_dir(&name), cgroup_procs(&format!("/hull-{name}")));
    let running = fs::read_to_string(&procs).unwrap();
    assert!(
        dir.exists() && !running.is_empty(),
        "nothing was left to remove"
    );
    let out = cli.native(&[], &["true"]).expect(0);
    is_one_clear_line(out.stderr.trim(), &["removed container", &name]);
    assert!(!dir.exists() && !procs.exists());
}

#[test]
fn two_containers_cannot_have_one_name() {
    let cli = Cli::new();
    let name = cli.name();
    let mut child = cli.spawn(cli.native_command(&["--name", &name], &SLEEPER));
    wait_ready(&mut child);
    let out = cli.native(&["--name", &name], &["true"]).expect(125);
    is_one_clear_line(
        out.stderr.trim(),
        &[&name, "there is a container of this name"],
    );
    kill_by_interrupts(&mut child);
}

#[test]
fn interrupted_compilation_leaves_nothing() {
    let cli = Cli::new();
    let mut command = cli.command();
    command.arg("compile").arg(cli.guest("slow.wasm"));
    let mut child = cli.spawn(command);
    eventually("it is compiled", || {
        let store = fs::read_dir(cli.artifacts()).ok()?;
        let mut names = store.flatten().map(|entry| entry.file_name());
        names
            .any(|name| name.to_string_lossy().ends_with(".lock"))
            .then_some(())
    });
    send(&child, Signal::SIGINT);
    let began = Instant::now();
    assert_eq!(exit_code(&mut child), 130);
    assert!(
        began.elapsed() < slowed(Duration::from_secs(3)),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn many_at_once_do_not_mind_each_other() {
    let cli = Cli::new();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|number| {
                let cli = &cli;
                scope.spawn(move || {
                    let script = format!("exit {number}");
                    cli.native(&[], &["sh", "-c", &script]).expect(number);
                })
            })
            .collect();
        runs.into_iter().for_each(|run| run.join().unwrap());
    });
}
