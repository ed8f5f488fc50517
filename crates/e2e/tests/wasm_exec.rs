//! Processes beside a Wasm init, its streams, and the rest of the task API.

use std::thread;
use std::time::Duration;

use containerd_shim_protos::api::Status;
use hull_e2e::{Case, Lab, Spec, Streams, block, limit, procfs, read_output};

/// Long enough for ten lines of the guest that writes one every 20 ms.
const SEVERAL_TICKS: Duration = Duration::from_millis(200);

#[test]
fn native_program_runs_beside_a_wasm_init() {
    let case = Case::wasm();
    let id = case.run_detached(&["--null-io"], &["/wasm/sleep.wasm"]);
    let list = case.exec(&id, &["busybox", "ls", "/wasm"]).ok();
    assert!(list.lines().any(|name| name == "sleep.wasm"), "{list}");
    case.exec(&id, &["sh", "-c", "exit 3"]).expect(3);
    let line = case.exec(&id, &["sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"]);
    assert_eq!(line.ok(), "/wasm/sleep.wasm ");
    case.remove(&id);
}

#[test]
fn wasm_runs_beside_wasm_and_native_inits() {
    let case = Case::wasm();
    for init in [&["/wasm/sleep.wasm"][..], &["sleep", "600"]] {
        let id = case.run_detached(&["--null-io"], init);
        let out = case.exec(&id, &["/wasm/output.wasm"]).expect(0);
        assert_eq!(
            (out.text().as_str(), out.stderr.as_str()),
            ("out\n", "err\n")
        );
        case.exec(&id, &["/wasm/exit.wasm", "9"]).expect(9);
        let out = case.exec_with(&id, &["--user", "1000:1000"], &["hello.wasm"]);
        assert_eq!(out.ok(), "hello from Wasm\n");
        case.remove(&id);
    }
}

#[test]
fn exec_of_a_missing_or_broken_module_leaves_the_container_alone() {
    let case = Case::wasm();
    let id = case.run_detached(&["--null-io"], &["/wasm/sleep.wasm"]);
    for (program, cause) in [
        ("/wasm/missing.wasm", "no such file or directory"),
        ("missing.wasm", "not found"),
        ("/wasm/corrupt.wasm", "cannot be compiled"),
        ("/wasm/dir.wasm", "directory"),
    ] {
        let out = case.exec(&id, &[program]);
        assert_ne!(out.code, 0, "{program}");
        assert!(out.stderr.contains(program), "{}", out.stderr);
        assert!(out.stderr.contains(cause), "{}", out.stderr);
        assert_eq!(out.stderr.trim().lines().count(), 1, "{}", out.stderr);
    }
    assert_eq!(case.exec(&id, &["hello.wasm"]).ok(), "hello from Wasm\n");
    case.remove(&id);
}

#[test]
fn pids_has_the_runner_and_every_exec() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    let init = c.run();
    c.read_until("ready\n");
    let _stdio = c.add_exec("e", ["/wasm/sleep.wasm"]);
    let exec = c.try_start("e").unwrap();
    let processes = block(c.task.pids(&c.id)).unwrap().processes;
    let mut pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    pids.sort_unstable();
    let mut expected = vec![init, exec];
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert_eq!(procfs::field(init, "Threads").unwrap(), "1");
}

#[test]
fn ctr_lists_and_measures_it() {
    let case = Case::wasm();
    let id = case.run_detached(&["--null-io"], &["/wasm/loop.wasm"]);
    let pid = case.pid(&id).to_string();
    let list = case.ctr(&["task", "ps", &id]).ok();
    assert!(
        list.lines()
            .any(|line| line.split_whitespace().next() == Some(&pid)),
        "{list}"
    );
    let number = |key: &str| {
        let text = case.ctr(&["task", "metrics", &id]).ok();
        let value = text.lines().find_map(|line| {
            let (name, value) = line.split_once(char::is_whitespace)?;
            name.contains(key)
                .then(|| value.trim().parse::<u64>().ok())?
        });
        value.unwrap_or_else(|| panic!("no {key}: {text}"))
    };
    assert!(number("memory.usage") > 0);
    assert!(number("cpu") > 0);
    case.remove(&id);
}

#[test]
fn pause_stops_the_output_and_resume_lets_it_go_on() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/ticks.wasm"]));
    c.run();
    c.read_until("tick\n");
    block(c.task.pause(&c.id)).unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    // What was on its way when it stopped.
    thread::sleep(SEVERAL_TICKS);
    c.stdio.out.as_mut().unwrap().read_available();
    thread::sleep(SEVERAL_TICKS);
    let more = c.stdio.out.as_mut().unwrap().read_available();
    assert_eq!(String::from_utf8_lossy(&more), "");
    block(c.task.resume(&c.id)).unwrap();
    c.read_until("tick\n");
    assert_eq!(c.kill_and_wait(), 137);
}

#[test]
fn streams_that_are_no_terminal_are_none() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/isatty.wasm"]));
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "stdin none\nstdout none\nstderr none\n");
}

#[test]
fn terminal_is_a_terminal() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/isatty.wasm"]).terminal());
    c.run();
    let out = read_output(&mut c.stdio).0;
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        ["stdin terminal", "stdout terminal", "stderr terminal"]
    );
    assert_eq!(c.wait(), 0);
}

#[test]
fn terminal_of_a_guest_is_resized_and_echoes() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/cat.wasm"]).terminal());
    c.run();
    block(c.task.resize_pty(&c.id, "", 123, 45)).unwrap();
    let size = c.exec("s", ["stty", "-F", "/dev/console", "size"]);
    assert_eq!(size.stdout, "45 123\n", "{size:?}");
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(b"line\n", limit()).unwrap();
    // Once from the terminal, once from the guest.
    c.read_until("line\r\nline\r\n");
    // The terminal's own end of file.
    input.write_all(&[4], limit()).unwrap();
    assert_eq!(c.wait(), 0);
}

#[test]
fn exec_with_a_terminal() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    c.run();
    c.read_until("ready\n");
    let mut process = c.spec.process(["/wasm/isatty.wasm"]);
    process["terminal"] = true.into();
    let mut stdio = c.add_exec_with("e", &process, Streams::TERMINAL);
    c.try_start("e").unwrap();
    let out = read_output(&mut stdio).0;
    assert_eq!(out.matches("terminal").count(), 3, "{out}");
    assert_eq!(c.wait_exec("e"), 0);
}

#[test]
fn close_io_is_the_end_of_input() {
    let lab = Lab::wasm();
    let mut c = lab.container_with(&Spec::new(["/wasm/cat.wasm"]), Streams::ALL);
    c.run();
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(b"one\n", limit()).unwrap();
    assert_eq!(c.read_until("one\n"), "one\n");
    drop(input);
    assert_eq!(c.status(), Status::RUNNING);
    block(c.task.close_io(&c.id, "")).unwrap();
    assert_eq!(c.wait(), 0);
}

#[test]
fn input_of_megabytes_arrives_whole() {
    let case = Case::wasm();
    let input = "line\n".repeat(1_000_000);
    let out = case
        .run_with_input(&[], &["/wasm/stdin.wasm"], input.as_bytes())
        .ok();
    assert_eq!(out, "5000000 bytes, 1000000 lines\n");
}

#[test]
fn megabytes_pass_through_in_order() {
    let case = Case::wasm();
    let input: Vec<u8> = (0..500_000_u32)
        .flat_map(|number| format!("{number}\n").into_bytes())
        .collect();
    let out = case
        .run_with_input(&[], &["/wasm/cat.wasm"], &input)
        .expect(0);
    assert!(
        out.stdout == input,
        "{} of {}",
        out.stdout.len(),
        input.len()
    );
}

#[test]
fn no_input_is_the_end_of_input() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/stdin.wasm"]));
    assert_eq!(c.run_to_end().stdout, "0 bytes, 0 lines\n");
}
