//! Standard streams, written to and read from without anything in between.

use crate::guest::{Guest, command, module, stderr, stdout, wait_until_confined, write};
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A module with data at 64 and further text.
fn with_data(body: &str, data: &str) -> Guest {
    let rest = format!("(data (i32.const 64) {data:?}) (func (export \"_start\") (call $main))");
    Guest::new(&module(body, &rest))
}

#[test]
fn both_outputs_arrive_and_a_partial_line_too() {
    let body = format!("(drop {}) (drop {})", write(1, 64, 5), write(2, 70, 6));
    let output = with_data(&body, "hello errors").run();
    assert_eq!((stdout(&output), stderr(&output)), ("hello", "errors"));
}

#[test]
fn what_was_written_is_out_before_anything_else_happens() {
    let endless = format!("(drop {}) (loop $l (br $l))", write(1, 64, 7));
    let mut child = with_data(&endless, "partial").spawn();
    let mut text = [0; 7];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut text)
        .unwrap();
    assert_eq!(&text, b"partial");
    drop(child);

    let trapping = format!("(drop {}) unreachable", write(1, 64, 7));
    assert_eq!(stdout(&with_data(&trapping, "partial").run()), "partial");
    let exiting = format!("(drop {}) (call $proc_exit (i32.const 3))", write(1, 64, 7));
    assert_eq!(stdout(&with_data(&exiting, "partial").run()), "partial");
}

#[test]
fn large_writes_arrive_whole() {
    let body = format!(
        "(memory.fill (i32.const 2000) (i32.const 120) (i32.const 60000)) (drop {})",
        write(1, 2000, 60000)
    );
    let output = command(&body).run();
    assert_eq!(output.stdout, vec![b'x'; 60000]);
}

/// Copies stdin to stdout until the end; exits with the errno of what failed.
const CAT: &str = "(local $errno i32)
    (loop $next
      (i32.store (i32.const 0) (i32.const 2000))
      (i32.store (i32.const 4) (i32.const 5000))
      (local.set $errno
        (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (local.get $errno) (then (call $proc_exit (local.get $errno))))
      (if (i32.eqz (i32.load (i32.const 8))) (then (return)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (local.set $errno
        (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
      (if (local.get $errno) (then (call $proc_exit (local.get $errno))))
      (br $next))";

#[test]
fn input_of_every_kind_is_read_to_its_end() {
    let cat = command(CAT);
    assert_eq!(cat.run().stdout, b"", "/dev/null");
    assert_eq!(cat.run_with_input(b"").stdout, b"");
    assert_eq!(cat.run_with_input(b"two\nlines").stdout, b"two\nlines");

    let content: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let file = cat.directory.path().join("input");
    std::fs::write(&file, &content).unwrap();
    let file = std::fs::File::open(file).unwrap();
    let output = cat.command().stdin(file).output().unwrap();
    assert_eq!(output.stdout, content);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn input_is_answered_while_the_stream_stays_open() {
    let mut child = command(CAT).spawn();
    for line in [b"one\n", b"two\n"] {
        child.stdin.as_mut().unwrap().write_all(line).unwrap();
        let mut echo = [0; 4];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut echo)
            .unwrap();
        assert_eq!(&echo, line);
    }
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_guest_takes_no_more_input_than_it_reads() {
    let body = "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 3))
        (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let guest = command(body);
    let file = guest.directory.path().join("input");
    std::fs::write(&file, "abcdef").unwrap();
    let mut file = std::fs::File::open(file).unwrap();
    let same = file.try_clone().unwrap();
    assert!(guest.command().stdin(same).status().unwrap().success());
    let mut rest = String::new();
    file.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "def");
}

#[test]
fn a_reader_that_is_gone_is_epipe() {
    const PIPE: i32 = 64; // of preview 1's errno
    let body = format!("(call $proc_exit {})", write(1, 64, 5));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = with_data(&body, "hello")
        .command()
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(PIPE), "{output:?}");
}

/// Subscribes to stdin (userdata 7) and a clock of `milliseconds` (userdata 9); exits with the
/// userdata of the first event, plus 100 times the number of events.
fn poll(milliseconds: u32) -> Guest {
    command(&format!(
        "(i64.store (i32.const 0) (i64.const 7))
         (i32.store8 (i32.const 8) (i32.const 1))
         (i64.store (i32.const 48) (i64.const 9))
         (i32.store (i32.const 64) (i32.const 1))
         (i64.store (i32.const 72) (i64.const {milliseconds}000000))
         (drop (call $poll_oneoff
           (i32.const 0) (i32.const 200) (i32.const 2) (i32.const 400)))
         (call $proc_exit (i32.add
           (i32.load (i32.const 200)) (i32.mul (i32.load (i32.const 400)) (i32.const 100))))"
    ))
}

#[test]
fn polling_ends_with_input_its_end_or_the_clock() {
    let mut child = poll(20_000).spawn();
    std::thread::sleep(Duration::from_millis(100));
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(107), "input");

    assert_eq!(poll(20_000).run().status.code(), Some(107), "/dev/null");
    assert_eq!(
        poll(20_000).run_with_input(b"").status.code(),
        Some(107),
        "end"
    );

    let before = Instant::now();
    let mut child = poll(300).spawn();
    // Given away by waiting, the pipe would be closed.
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(109), "clock");
    assert!(before.elapsed() >= Duration::from_millis(300));
    drop(stdin);
}

#[test]
fn waiting_does_not_spin() {
    let child = poll(60_000).spawn();
    wait_until_confined(child.id());
    std::thread::sleep(Duration::from_millis(200));
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", child.id())).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let before = used();
    std::thread::sleep(Duration::from_millis(500));
    assert!(
        used() - before < 5_000_000,
        "nanoseconds on a processor while waiting"
    );
}

#[test]
fn only_a_terminal_is_one() {
    // Exit code: type of descriptor 1 in preview 1's filetype, 2 = character device.
    let body = "(drop (call $fd_fdstat_get (i32.const 1) (i32.const 0)))
        (call $proc_exit (i32.load8_u (i32.const 0)))";
    let mut guest = command(body);
    assert_ne!(guest.run().status.code(), Some(2));
    let null = guest.command().stdout(Stdio::null()).status().unwrap();
    assert_ne!(null.code(), Some(2), "/dev/null is no terminal");

    // script(1) runs its command on a terminal of its own.
    let directory = guest.directory.path().display();
    let inner = format!(
        "exec script -qec \"env -i HULL_WASM_FDS=3:4 {} 3<{directory}/config 4<{directory}/artifact\" \
         {directory}/typescript",
        guest.runner.display(),
    );
    guest.prefix = ["env", "SHELL=/bin/sh", "sh", "-c", &inner]
        .map(str::to_owned)
        .to_vec();
    let output = guest.run();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
