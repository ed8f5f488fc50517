//! Directories, names and processes that are not what hull takes them for.

use std::fs;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use hull_e2e::cli::exit_code;
use hull_e2e::{Cli, eventually, is_one_clear_line, leaks, procfs};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;

use crate::{SLEEPER, send, wait_ready};

/// Leaves a container whose hull and guard are killed.
fn leave(cli: &Cli, name: &str) {
    let mut child = cli.spawn(cli.native_command(&["--name", name], &SLEEPER));
    wait_ready(&mut child);
    for guard in procfs::children(child.id()) {
        leaks::kill(guard);
    }
    leaks::kill(child.id());
    child.wait().unwrap();
}

#[test]
fn files_behind_a_mount_outlive_a_sweep_through_a_symlink() {
    let cli = Cli::new();
    let name = cli.name();
    leave(&cli, &name);
    let (mine, point) = (cli.work().join("mine"), cli.run_dir(&name).join("data"));
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("file"), "precious").unwrap();
    fs::create_dir(&point).unwrap();
    let none: Option<&str> = None;
    mount(Some(&mine), &point, none, MsFlags::MS_BIND, none).unwrap();
    let link = cli.work().join("link");
    let state = cli.run_dir("x").ancestors().nth(2).unwrap().to_owned();
    symlink(&state, &link).unwrap();
    let mut command = cli.native_command(&[], &["true"]);
    command.env("HULL_STATE_DIR", &link);
    let out = hull_e2e::ctr::run(command, &[]);
    let kept = fs::read_to_string(mine.join("file"));
    umount2(&point, MntFlags::MNT_DETACH).unwrap();
    let out = out.expect(0);
    assert_eq!(kept.unwrap(), "precious");
    assert!(out.stderr.contains("still mounted"), "{}", out.stderr);
    cli.native(&[], &["true"]).expect(0);
    assert!(!cli.run_dir(&name).exists());
}

#[test]
fn foreign_state_directory_is_refused_and_foreign_files_stay() {
    let cli = Cli::new();
    cli.native(&[], &["true"]).expect(0);
    let other = cli.run_dir("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("lock"), "").unwrap();
    fs::write(other.join("data"), "").unwrap();
    fs::create_dir(cli.run_dir("sshd")).unwrap();
    cli.native(&[], &["true"]).expect(0);
    assert!(other.join("data").exists() && cli.run_dir("sshd").exists());
    let state = cli.work().join("open");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    let mut command = cli.native_command(&[], &["true"]);
    command.env("HULL_STATE_DIR", &state);
    let out = hull_e2e::ctr::run(command, &[]).expect(125);
    is_one_clear_line(out.stderr.trim(), &["others may use it", "HULL_STATE_DIR"]);
}

#[test]
fn name_may_begin_with_a_dash() {
    let cli = Cli::new();
    let name = format!("-{}", cli.name());
    let flag = format!("--name={name}");
    let mut command = cli.command();
    command.args(["run", &flag, "--rootfs"]).arg(cli.rootfs());
    command.arg("--").args(SLEEPER);
    let mut child = cli.spawn(command);
    wait_ready(&mut child);
    leaks::kill(child.id());
    child.wait().unwrap();
    let dir = cli.run_dir(&name);
    eventually("the guard removed the container", || {
        (!dir.exists()).then_some(())
    });
}

#[test]
fn nobody_shields_the_daemon_of_a_dead_hull() {
    let cli = Cli::new();
    let name = cli.name();
    // Older than the daemon, so that it is found first.
    let script = "read socket; exec sh -c 'read line' sh -socket \"$socket\"";
    let mut forger = Command::new("sh")
        .args(["-c", script])
        .uid(65534)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    leave(&cli, &name);
    let address = fs::read_to_string(cli.run_dir(&name).join("bundle/address")).unwrap();
    let socket = address.trim().trim_start_matches("unix://");
    let line = format!("{socket}\n");
    let input = forger.stdin.as_mut().unwrap();
    input.write_all(line.as_bytes()).unwrap();
    eventually("the arguments are forged", || {
        procfs::command_line(forger.id())
            .contains(socket)
            .then_some(())
    });
    cli.native(&[], &["true"]).expect(0);
    assert!(!cli.run_dir(&name).exists());
    // It was left alone: it reads its line and ends as it likes.
    forger.stdin.take().unwrap().write_all(b"line\n").unwrap();
    assert_eq!(exit_code(&mut forger), 0);
}

#[test]
fn signal_ends_all_runs_of_a_trace() {
    let cli = Cli::new();
    let mut command = cli.command();
    command.args(["trace", "--runs", "500", "--rootfs"]);
    command.arg(cli.rootfs()).arg("--");
    command.args(["sh", "-c", "trap 'exit 0' INT; sleep 600 & wait"]);
    let mut child = cli.spawn(command);
    let runs = cli.run_dir("x").parent().unwrap().to_owned();
    eventually("the first run runs", || {
        let names = fs::read_dir(&runs).ok()?.flatten();
        let mut bundles = names.map(|entry| entry.path().join("bundle/trace.json"));
        bundles.any(|file| file.exists()).then_some(())
    });
    std::thread::sleep(hull_e2e::slowed(std::time::Duration::from_millis(300)));
    send(&child, Signal::SIGINT);
    assert_eq!(exit_code(&mut child), 130);
}

#[test]
fn seccomp_file_that_is_no_object_is_refused() {
    let cli = Cli::new();
    for text in ["null", "[]", "1"] {
        fs::write(cli.work().join("profile.json"), text).unwrap();
        let out = cli
            .native(&["--seccomp", "profile.json"], &["true"])
            .expect(2);
        is_one_clear_line(out.stderr.trim(), &["it is no linux.seccomp object"]);
    }
}

#[test]
fn path_that_is_not_utf8_is_refused() {
    let cli = Cli::new();
    let odd = cli
        .work()
        .join(std::ffi::OsString::from_vec(vec![b'r', 0xff]));
    fs::create_dir(&odd).unwrap();
    symlink(&odd, cli.work().join("link")).unwrap();
    let out = cli.native(&["-v", "./link:/a"], &["true"]).expect(125);
    is_one_clear_line(out.stderr.trim(), &["the path is not UTF-8"]);
    fs::copy(cli.guest("hello.wasm"), odd.join("a.wasm")).unwrap();
    let out = cli.hull(["run", "link/a.wasm"]).expect(125);
    is_one_clear_line(out.stderr.trim(), &["the path is not UTF-8"]);
}

#[test]
fn relative_variable_is_refused() {
    let cli = Cli::new();
    for name in ["HULL_LIBEXEC", "HULL_ARTIFACTS"] {
        let mut command = cli.native_command(&[], &["true"]);
        command.env(name, "relative");
        let out = hull_e2e::ctr::run(command, &[]).expect(125);
        is_one_clear_line(out.stderr.trim(), &[name, "absolute"]);
    }
}
