//! Streams and signals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::{Duration, Instant};

use hull_e2e::cli::exit_code;
use hull_e2e::{Cli, is_one_clear_line, slowed};
use nix::sys::signal::Signal;

use crate::{SLEEPER, send, wait_ready};

#[test]
fn input_is_passed_on_only_when_asked_for() {
    let cli = Cli::new();
    let input: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let out = cli.native_with_input(&["-i"], &["cat"], &input);
    assert!(
        out.stdout == input,
        "{} of {} bytes",
        out.stdout.len(),
        input.len()
    );
    assert_eq!(cli.native_with_input(&[], &["cat"], b"text").ok(), "");
}

#[test]
fn output_that_nobody_reads_at_once_is_complete() {
    let cli = Cli::new();
    let mut child = cli.spawn(cli.native_command(&[], &["seq", "1", "300000"]));
    // More than all pipes on the way hold is stuck meanwhile.
    std::thread::sleep(slowed(Duration::from_millis(500)));
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text.lines().count(), 300_000);
    assert!(text.ends_with("\n300000\n"));
    assert_eq!(exit_code(&mut child), 0);
}

#[test]
fn reader_that_goes_away_ends_the_container() {
    let cli = Cli::new();
    let mut child = cli.spawn(cli.native_command(&[], &["yes"]));
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    drop(output);
    assert_eq!(exit_code(&mut child), 141);
    let mut errors = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut errors)
        .unwrap();
    assert_eq!(errors, "");
}

#[test]
fn output_that_cannot_be_written_ends_the_container() {
    let cli = Cli::new();
    let mut command = cli.command_of(Path::new("sh"));
    let hull = hull_e2e::target::bin_dir().join("hull");
    let hull = hull.display();
    let (name, rootfs) = (cli.name(), cli.rootfs().display());
    let script = format!("{hull} run --name {name} --rootfs {rootfs} -- yes >/dev/full");
    command.args(["-c", &script]);
    let out = hull_e2e::ctr::run(command, &[]).expect(125);
    is_one_clear_line(out.stderr.trim(), &["hull: ", "output", "No space left"]);
}

#[test]
fn signals_are_passed_on() {
    let cli = Cli::new();
    let traps = "for s in INT TERM HUP QUIT USR1 USR2; do trap \"echo $s\" $s; done; \
                 trap 'echo USR2; exit 3' USR2; echo ready; while :; do sleep 0.02; done";
    let mut child = cli.spawn(cli.native_command(&[], &["sh", "-c", traps]));
    let mut output = wait_ready(&mut child);
    for (signal, name) in [
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
        (Signal::SIGUSR1, "USR1"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGUSR2, "USR2"),
    ] {
        send(&child, signal);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), name);
    }
    assert_eq!(exit_code(&mut child), 3);
}

#[test]
fn wasm_guest_ends_at_the_first_signal() {
    let cli = Cli::new();
    let mut command = cli.command();
    command
        .args(["run", "--name", &cli.name()])
        .arg(cli.guest("ticks.wasm"));
    let mut child = cli.spawn(command);
    // It runs once it has written something.
    let mut byte = [0];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut byte)
        .unwrap();
    send(&child, Signal::SIGTERM);
    assert_eq!(exit_code(&mut child), 143);
}

#[test]
fn sigterm_that_is_ignored_kills_after_ten_seconds() {
    let cli = Cli::new();
    let mut child = cli.spawn(cli.native_command(&[], &SLEEPER));
    wait_ready(&mut child);
    let began = Instant::now();
    send(&child, Signal::SIGTERM);
    assert_eq!(exit_code(&mut child), 137);
    assert!(
        began.elapsed() >= Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}
