//! Streams that are late, slow, fast, strange or missing.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also in what the tests share a panic is how they fail"
)]

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{CreateTaskRequest, ExecProcessRequest, Status};
use hull_client::{Any, make_fifo};
use hull_e2e::{
    Container, FifoReader, Lab, Spec, Streams, block, eventually, limit, procfs, slowed,
};
use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;
use protobuf::MessageField;

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// What a request to a daemon may take that is busy with output. The target is 5 ms; the rest is for
/// other tests on the same processors.
const ANSWER: Duration = Duration::from_millis(40);

/// The median time of State while something else goes on.
fn median_answer(container: &Container<'_>) -> Duration {
    let mut times: Vec<_> = (0..31)
        .map(|_| {
            let start = Instant::now();
            container.state().unwrap();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Creates with other stream names than the harness made.
fn create_with(
    container: &Container<'_>,
    change: impl FnOnce(&mut CreateTaskRequest),
) -> Result<u32, String> {
    let mut request = container.create_request();
    change(&mut request);
    block(container.task.create(&request)).map_err(|error| error.to_string())
}

/// Registers an exec with these names of stdin and stdout.
fn add_exec(container: &Container<'_>, exec: &str, args: &[&str], names: [&str; 2]) {
    let mut process = container.spec.process(["true"]);
    process["args"] = serde_json::json!(args);
    let mut any = Any::new();
    any.type_url = "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned();
    any.value = process.to_string().into_bytes();
    let mut request = ExecProcessRequest::new();
    request.id.clone_from(&container.id);
    request.exec_id = exec.to_owned();
    request.stdin = names[0].to_owned();
    request.stdout = names[1].to_owned();
    request.spec = MessageField::some(any);
    block(container.task.exec(&request)).unwrap();
}

/// A terminal of the client's.
fn client_terminal() -> (OwnedFd, PathBuf) {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    (master.into(), name.into())
}

#[test]
fn terminal_output_waits_for_a_late_reader() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo early").terminal());
    c.stdio.out = None;
    c.run();
    assert_eq!(c.wait(), 0);
    let (task, id) = (c.task.clone(), c.id.clone());
    // Delete waits for the reader, who comes while it does.
    let delete = hull_e2e::time::handle().spawn(async move { task.delete(&id, "").await });
    assert_eq!(c.status(), Status::STOPPED);
    let mut late = FifoReader::open(c.stdio.stdout_path()).unwrap();
    assert_eq!(late.read_to_end(limit()).unwrap(), b"early\r\n");
    block(delete).unwrap().unwrap();
}

#[test]
fn terminal_output_waits_for_a_slow_reader() {
    let lab = Lab::new();
    // More than the FIFO takes, less than FIFO and terminal do.
    let mut c = lab.container(&script("seq 1 12000").terminal());
    c.run();
    assert_eq!(c.wait(), 0);
    let (task, id) = (c.task.clone(), c.id.clone());
    let delete = hull_e2e::time::handle().spawn(async move { task.delete(&id, "").await });
    assert_eq!(c.status(), Status::STOPPED);
    let out = c.stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
    assert!(out.ends_with(b"\n12000\r\n"), "{} bytes", out.len());
    block(delete).unwrap().unwrap();
}

#[test]
fn log_uri_of_a_fifo_that_nobody_reads_blocks_no_request() {
    let lab = Lab::new();
    let c = lab.container_with(&script("echo through; sleep 600"), Streams::NONE);
    let path = lab.dir().join("log-fifo");
    make_fifo(&path).unwrap();
    let uri = format!("file://{}", path.display());
    create_with(&c, |request| request.stdout.clone_from(&uri)).unwrap();
    c.start();
    assert_eq!(c.status(), Status::RUNNING);
    let mut reader = FifoReader::open(&path).unwrap();
    let read = reader.read_until(b"through\n", limit()).unwrap();
    assert_eq!(read, b"through\n");
    c.kill_and_wait();
}

#[test]
fn terminal_of_the_client_that_nobody_reads_blocks_no_request() {
    let lab = Lab::new();
    let c = lab.container_with(&script("echo begun >&2; seq 1 1000000"), Streams::NONE);
    let (master, name) = client_terminal();
    create_with(&c, |request| request.stdout = name.display().to_string()).unwrap();
    c.start();
    assert_eq!(c.exec("e", ["echo", "fine"]).stdout, "fine\n");
    // The daemon leads a session without a terminal and did not get this one.
    let stat = fs::read_to_string(format!("/proc/{}/stat", c.shim_pid())).unwrap();
    let tty = stat.rsplit(") ").next().unwrap().split(' ').nth(4).unwrap();
    assert_eq!(tty, "0");
    c.kill_and_wait();
    c.delete().unwrap();
    drop(master);
}

#[test]
fn flood_into_a_file_holds_up_no_request() {
    let lab = Lab::new();
    let c = lab.container_with(&Spec::new(["cat", "/dev/zero"]), Streams::NONE);
    // A file that takes everything and grows not.
    create_with(&c, |request| request.stdout = "/dev/null".to_owned()).unwrap();
    c.start();
    let median = median_answer(&c);
    assert!(median < slowed(ANSWER), "State took {median:?}");
    c.kill_and_wait();
}

#[test]
fn flood_through_a_fifo_holds_up_no_request() {
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["cat", "/dev/zero"]));
    c.run();
    let mut out = c.stdio.out.take().unwrap();
    let reader = std::thread::spawn(move || out.read_to_end(limit()).map(|bytes| bytes.len()));
    let median = median_answer(&c);
    assert!(median < slowed(ANSWER), "State took {median:?}");
    c.kill_and_wait();
    reader.join().unwrap().unwrap();
}

/// An empty pipe and a full FIFO give splice(2) the same answer. Taking one for the other stopped a
/// fast stream now and then.
#[test]
fn fast_stream_with_a_fast_reader_never_stops() {
    let lab = Lab::new();
    let spec = Spec::new(["dd", "if=/dev/zero", "bs=1M", "count=1000"]);
    let mut c = lab.container(&spec);
    let path = c.stdio.stdout_path().to_owned();
    // Waits for the shim's end, and then reads as fast as it can.
    let reader = std::thread::spawn(move || {
        let mut fifo = fs::File::open(path).unwrap();
        std::io::copy(&mut fifo, &mut std::io::sink()).unwrap()
    });
    // The harness's reader would only be in the way.
    c.stdio.out = None;
    c.run();
    assert_eq!(c.wait(), 0);
    assert_eq!(reader.join().unwrap(), 1000 << 20);
}

#[test]
fn log_uri_is_made_with_its_directories_and_shared_by_both_streams() {
    let lab = Lab::new();
    let c = lab.container_with(&script("echo out; echo err >&2"), Streams::NONE);
    let path = lab.dir().join("logs/deep/box.log");
    let uri = format!("file://{}?max=1", path.display());
    create_with(&c, |request| {
        request.stdout.clone_from(&uri);
        request.stderr.clone_from(&uri);
    })
    .unwrap();
    c.start();
    assert_eq!(c.wait(), 0);
    let text = eventually("both lines are in the log", || {
        fs::read_to_string(&path)
            .ok()
            .filter(|text| text.len() == 8)
    });
    assert!(text.contains("out\n") && text.contains("err\n"), "{text:?}");
}

#[test]
fn silent_process_without_a_reader_is_deleted_at_once() {
    let lab = Lab::new();
    for terminal in [false, true] {
        let spec = Spec::new(["true"]);
        let spec = if terminal { spec.terminal() } else { spec };
        let mut c = lab.container(&spec);
        c.stdio.out = None;
        c.stdio.err = None;
        c.run();
        assert_eq!(c.wait(), 0);
        let start = Instant::now();
        c.delete().unwrap();
        let took = start.elapsed();
        assert!(
            took < slowed(Duration::from_secs(2)),
            "Delete took {took:?}"
        );
    }
}

#[test]
fn orphan_that_keeps_writing_delays_neither_wait_nor_delete() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let args = ["sh", "-c", "while :; do echo again; done & echo mine"];
    let mut stdio = c.add_exec("e", args);
    let mut out = stdio.out.take().unwrap();
    let reader = std::thread::spawn(move || out.read_to_end(limit()));
    let start = Instant::now();
    c.try_start("e").unwrap();
    assert_eq!(c.wait_exec("e"), 0);
    block(c.task.delete(&c.id, "e")).unwrap();
    let took = start.elapsed();
    let text = reader.join().unwrap().unwrap();
    assert!(took < slowed(Duration::from_secs(2)), "{took:?}");
    assert!(String::from_utf8_lossy(&text).contains("mine\n"));
}

#[test]
fn exec_whose_stream_is_missing_does_not_run() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let missing = lab.dir().join("not-there").display().to_string();
    for (exec, names, stream) in [
        ("in", [missing.as_str(), ""], "stdin"),
        ("out", ["", missing.as_str()], "stdout"),
    ] {
        let proof = format!("/ran-{exec}");
        add_exec(&c, exec, &["touch", &proof], names);
        let error = c.try_start(exec).unwrap_err().to_string();
        assert!(
            error.contains(stream) && error.contains("not-there") && error.contains("No such file"),
            "{error}"
        );
        let looked = c.exec(&format!("look-{exec}"), ["ls", "/"]);
        assert!(!looked.stdout.contains("ran-"), "{}", looked.stdout);
        block(c.task.delete(&c.id, exec)).unwrap();
    }
}

#[test]
fn missing_stream_of_a_container_is_one_clear_error() {
    let lab = Lab::new();
    for stream in ["stdin", "stdout", "stderr"] {
        let c = lab.container_with(&Spec::new(["true"]), Streams::NONE);
        let missing = lab.dir().join("not-there").display().to_string();
        let error = create_with(&c, |request| match stream {
            "stdin" => request.stdin.clone_from(&missing),
            "stdout" => request.stdout.clone_from(&missing),
            _ => request.stderr.clone_from(&missing),
        })
        .unwrap_err();
        assert!(
            error.contains(&format!("open {stream} {missing:?}: No such file")),
            "{error}"
        );
    }
}

#[test]
fn terminal_that_was_closed_and_opened_again_goes_on() {
    let lab = Lab::new();
    let text = "echo first; exec <&- >&- 2>&-; sleep 0.5; exec >/dev/tty; echo second";
    let mut c = lab.container(&script(text).terminal());
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "first\r\nsecond\r\n");
    eventually("no master and no slave is left", || {
        let targets = procfs::descriptors(c.shim_pid());
        let of_terminals = |target: &String| target.contains("ptmx") || target.contains("pts/");
        (!targets.iter().any(of_terminals)).then_some(())
    });
}

#[test]
fn orphan_on_a_terminal_does_not_keep_it() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let text = "trap '' HUP; sleep 600 & echo bye";
    let process = c.spec.process(["sh", "-c", text]);
    let mut stdio = c.add_exec_with("e", &process, Streams::TERMINAL);
    c.try_start("e").unwrap();
    assert_eq!(c.wait_exec("e"), 0);
    let out = stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
    assert_eq!(out, b"bye\r\n");
    block(c.task.delete(&c.id, "e")).unwrap();
}

#[test]
fn input_from_a_file_or_dev_null_is_read_to_its_end() {
    let lab = Lab::new();
    let file = lab.dir().join("input");
    fs::write(&file, vec![b'x'; 1_000_000]).unwrap();
    for (path, size) in [(Path::new("/dev/null"), "0"), (&file, "1000000")] {
        let mut c = lab.container(&Spec::new(["wc", "-c"]));
        create_with(&c, |request| request.stdin = path.display().to_string()).unwrap();
        c.start();
        let out = c.stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
        assert_eq!(String::from_utf8_lossy(&out).trim(), size);
        assert_eq!(c.wait(), 0);
    }
}

/// Once all clients are gone after CloseIO the input is at its end, even if another one comes while
/// the process has not yet read what there is.
#[test]
fn client_that_comes_after_the_end_of_input_does_not_busy_the_daemon() {
    let lab = Lab::new();
    let text = "echo ready; read go </go; cat | wc -c";
    let c = lab.container_with(&script(&format!("mkfifo /go; {text}")), Streams::ALL);
    c.run();
    let mut c = c;
    c.read_until("ready\n");
    // More than the process's pipe takes: the daemon waits for room.
    let mut input = c.stdio.open_stdin(limit()).unwrap();
    input.write_all(&vec![b'x'; 100_000], limit()).unwrap();
    block(c.task.close_io(&c.id, "")).unwrap();
    drop(input);
    c.status();
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let late = open(c.stdio.stdin_path(), flags, Mode::empty()).unwrap();
    assert!(late.as_raw_fd() > 2);
    assert_eq!(c.exec("go", ["sh", "-c", "echo >/go"]).status, 0);
    let out = c.stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
    assert_eq!(String::from_utf8_lossy(&out).trim(), "100000");
    assert_eq!(c.wait(), 0);
}

#[test]
fn exit_waits_a_moment_for_the_first_reader_of_what_was_written() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo early"));
    c.stdio.out = None;
    c.run();
    let (task, id) = (c.task.clone(), c.id.clone());
    let wait = hull_e2e::time::handle().spawn(async move { task.wait(&id, "").await });
    // A client that was told of the exit now would give its FIFO up.
    std::thread::sleep(Duration::from_millis(300));
    assert!(!wait.is_finished());
    let mut late = FifoReader::open(c.stdio.stdout_path()).unwrap();
    assert_eq!(late.read_to_end(limit()).unwrap(), b"early\n");
    assert_eq!(block(wait).unwrap().unwrap().exit_status, 0);
}
