//! Standard input, output and terminals.

use std::time::Duration;

use containerd_shim_protos::api::Status;
use hull_e2e::{
    FifoReader, Lab, Spec, Streams, block, eventually, limit, procfs, read_output, slowed,
};

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

#[test]
fn output_and_errors_go_their_own_ways() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo out; echo err >&2"));
    let ran = c.run_to_end();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn end_of_file_comes_with_the_exit_and_not_with_delete() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo last"));
    c.run();
    assert_eq!(read_output(&mut c.stdio).0, "last\n");
    c.wait();
    assert_eq!(c.status(), Status::STOPPED);
}

/// A client of containerd 2 closes its readers once Wait has returned. The runc shim of 1.6 loses
/// output here.
#[test]
fn output_is_there_before_wait_returns() {
    let lab = Lab::new();
    for _ in 0..20 {
        let mut c = lab.container(&script("printf 'no newline'"));
        c.run();
        c.wait();
        assert_eq!(
            c.stdio.out.as_mut().unwrap().read_available(),
            b"no newline"
        );
    }
}

#[test]
fn twenty_megabytes_on_a_pipe_arrive_in_order() {
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["seq", "1", "2500000"]));
    c.run();
    let bytes = c.stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
    assert_eq!(first_gap(&bytes, 2_500_000), None);
    assert_eq!(c.wait(), 0);
}

#[test]
fn seven_megabytes_on_a_terminal_arrive_in_order() {
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["seq", "1", "1000000"]).terminal());
    c.run();
    let bytes = c.stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
    let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != b'\r').collect();
    assert_eq!(first_gap(&bytes, 1_000_000), None);
    assert_eq!(c.wait(), 0);
}

#[test]
fn close_io_ends_the_input() {
    let lab = Lab::new();
    let mut c = lab.container_with(&Spec::new(["cat"]), Streams::ALL);
    c.run();
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(b"one\n", limit()).unwrap();
    let out = c.stdio.out.as_mut().unwrap();
    assert_eq!(out.read_until(b"one\n", limit()).unwrap(), b"one\n");
    // The client goes, the process keeps its input: another client may attach.
    drop(input);
    let mut second = c.stdio.open_stdin(limit()).unwrap();
    second.write_all(b"two\n", limit()).unwrap();
    let out = c.stdio.out.as_mut().unwrap();
    assert_eq!(out.read_until(b"two\n", limit()).unwrap(), b"two\n");
    assert_eq!(c.status(), Status::RUNNING);
    block(c.task.close_io(&c.id, "")).unwrap();
    block(c.task.close_io(&c.id, "")).unwrap();
    drop(second);
    assert_eq!(c.wait(), 0);
}

#[test]
fn large_input_arrives_whole() {
    let lab = Lab::new();
    let mut c = lab.container_with(&Spec::new(["wc", "-c"]), Streams::ALL);
    c.run();
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(&vec![b'x'; 5_000_000], limit()).unwrap();
    drop(input);
    block(c.task.close_io(&c.id, "")).unwrap();
    assert_eq!(read_output(&mut c.stdio).0.trim(), "5000000");
}

#[test]
fn close_io_of_an_exec_ends_its_input_only() {
    let lab = Lab::new();
    let c = lab.container_with(&Spec::new(["cat"]), Streams::ALL);
    c.run();
    let mut stdio = c.add_exec_with("e", &c.spec.process(["cat"]), Streams::ALL);
    c.try_start("e").unwrap();
    let mut input = stdio.open_stdin(limit()).unwrap();
    input.write_all(b"to the exec", limit()).unwrap();
    drop(input);
    block(c.task.close_io(&c.id, "e")).unwrap();
    assert_eq!(read_output(&mut stdio).0, "to the exec");
    assert_eq!(c.wait_exec("e"), 0);
    assert_eq!(c.status(), Status::RUNNING);
}

#[test]
fn without_streams_there_is_dev_null() {
    let lab = Lab::new();
    let c = lab.container_with(
        &script("cat && echo x && echo y >&2 && exit 3"),
        Streams::NONE,
    );
    c.run();
    assert_eq!(c.wait(), 3);
}

#[test]
fn no_stdin_path_means_end_of_file_at_once() {
    let lab = Lab::new();
    let mut c = lab.container(&script("wc -c"));
    assert_eq!(c.run_to_end().stdout.trim(), "0");
}

/// The runc shim of 1.6 makes Create wait for the reader.
#[test]
fn reader_that_comes_late_gets_all_output() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo early; echo done >&2; sleep 600"));
    c.stdio.out = None;
    c.run();
    // The process is past its echo: nothing waits for the reader.
    c.stdio
        .err
        .as_mut()
        .unwrap()
        .read_until(b"done\n", limit())
        .unwrap();
    let mut late = FifoReader::open(c.stdio.stdout_path()).unwrap();
    assert_eq!(late.read_until(b"early\n", limit()).unwrap(), b"early\n");
    c.kill_and_wait();
    late.read_to_end(limit()).unwrap();
}

#[test]
fn vanished_reader_blocks_the_process_and_does_not_kill_it() {
    let lab = Lab::new();
    let mut c = lab.container(&script("seq 1 200000; echo finished >&2"));
    c.run();
    let first = c.read_until("1000\n");
    assert!(first.starts_with("1\n2\n"));
    let seen = c.stdio.out.as_mut().unwrap().read_available();
    c.stdio.out = None;
    // A new client reads on where the old one stopped, without a gap.
    let mut reader = FifoReader::open(c.stdio.stdout_path()).unwrap();
    let rest = reader.read_to_end(limit()).unwrap();
    assert_eq!(
        first_gap(&[first.into_bytes(), seen, rest].concat(), 200_000),
        None
    );
    assert_eq!(c.wait(), 0);
}

#[test]
fn blocked_output_does_not_hold_up_other_requests() {
    let lab = Lab::new();
    let c = lab.container(&script("seq 1 10000000"));
    c.run();
    // Nobody reads: FIFO and pipe fill, the process blocks. The shim must not.
    for number in 0..5 {
        assert_eq!(
            c.exec(&format!("e{number}"), ["echo", "fine"]).stdout,
            "fine\n"
        );
    }
    assert_eq!(c.kill_and_wait(), 137);
    c.delete().unwrap();
}

#[test]
fn orphan_that_holds_the_output_delays_neither_wait_nor_delete() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    // The exec ends at once; its child keeps the pipe.
    let mut stdio = c.add_exec("e", ["sh", "-c", "sleep 600 & echo gone"]);
    c.try_start("e").unwrap();
    assert_eq!(c.wait_exec("e"), 0);
    stdio
        .out
        .as_mut()
        .unwrap()
        .read_until(b"gone\n", limit())
        .unwrap();
    block(c.task.delete(&c.id, "e")).unwrap();
    // Delete closes the shim's end, though the orphan lives.
    stdio
        .out
        .as_mut()
        .unwrap()
        .read_to_end(slowed(Duration::from_secs(5)))
        .unwrap();
}

#[test]
fn terminal_is_the_controlling_one_and_has_its_size() {
    let lab = Lab::new();
    let spec = script("tty; stty size; echo >/dev/tty via-dev-tty; test -t 0 -a -t 1 -a -t 2")
        .terminal()
        .set(
            "/process/consoleSize",
            serde_json::json!({ "height": 33, "width": 99 }),
        );
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(ran.status, 0, "{ran:?}");
    assert!(
        ran.stdout.contains("33 99") && ran.stdout.contains("via-dev-tty"),
        "{ran:?}"
    );
}

#[test]
fn terminal_of_an_exec_has_its_own_size() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let mut process = c.spec.process(["stty", "size"]);
    process["terminal"] = true.into();
    process["consoleSize"] = serde_json::json!({ "height": 22, "width": 111 });
    let mut stdio = c.add_exec_with("e", &process, Streams::TERMINAL);
    c.try_start("e").unwrap();
    assert!(read_output(&mut stdio).0.contains("22 111"));
    assert_eq!(c.wait_exec("e"), 0);
    block(c.task.delete(&c.id, "e")).unwrap();
}

#[test]
fn resize_reaches_the_running_process() {
    let lab = Lab::new();
    let text = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.1; done";
    let mut c = lab.container(&script(text).terminal());
    c.run();
    let out = c.stdio.out.as_mut().unwrap();
    out.read_until(b"ready", limit()).unwrap();
    block(c.task.resize_pty(&c.id, "", 123, 45)).unwrap();
    let text = out.read_to_end(limit()).unwrap();
    assert!(
        String::from_utf8_lossy(&text).contains("45 123"),
        "{text:?}"
    );
}

#[test]
fn size_set_in_created_state_is_seen_by_the_program() {
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["stty", "size"]).terminal());
    c.create();
    block(c.task.resize_pty(&c.id, "", 61, 21)).unwrap();
    c.start();
    assert!(read_output(&mut c.stdio).0.contains("21 61"));
}

#[test]
fn input_on_a_terminal_is_echoed_and_read() {
    let lab = Lab::new();
    let mut c = lab.container(&script("read line; echo \"got $line\"").terminal());
    c.run();
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(b"hello\n", limit()).unwrap();
    let out = read_output(&mut c.stdio).0;
    assert!(out.contains("got hello"), "{out:?}");
    assert_eq!(c.wait(), 0);
}

#[test]
fn exec_with_a_terminal() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let process = c.spec.process(["sh", "-c", "tty && stty size"]);
    let mut stdio = c.add_exec_with("e", &process, Streams::TERMINAL);
    c.try_start("e").unwrap();
    let out = read_output(&mut stdio).0;
    assert!(out.contains("/dev/pts/"), "{out:?}");
    assert_eq!(c.wait_exec("e"), 0);
    block(c.task.delete(&c.id, "e")).unwrap();
}

/// containerd issue 11160: the runc shim of 1.6 keeps the master until Delete.
#[test]
fn one_terminal_master_while_running_and_none_after() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo ready; read line").terminal());
    c.run();
    c.read_until("ready");
    let masters = || {
        let targets = procfs::descriptors(c.shim_pid());
        targets
            .iter()
            .filter(|target| target.contains("ptmx"))
            .count()
    };
    assert_eq!(masters(), 1, "{:?}", procfs::descriptors(c.shim_pid()));
    c.kill_and_wait();
    eventually("no master is left", || (masters() == 0).then_some(()));
}

/// Whether the lines are the numbers 1 to `last`: the first that is not, if any.
fn first_gap(bytes: &[u8], last: u32) -> Option<String> {
    let mut expected = 0;
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        expected += 1;
        let text = String::from_utf8_lossy(line);
        if text.parse() != Ok(expected) {
            return Some(format!("{expected}: {text:?}"));
        }
    }
    (expected != last).then(|| format!("ends at {expected}"))
}
