//! Much output, many processes, sinks that fail: nothing is lost, doubled or kept.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "also in what the tests share a panic is how they fail"
)]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::{CreateTaskRequest, Status};
use hull_e2e::{
    Case, Container, Containerd, FifoReader, Lab, Spec, Streams, block, eventually, limit, procfs,
    pulse, slowed,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

fn create_with(c: &Container<'_>, change: impl FnOnce(&mut CreateTaskRequest)) {
    let mut request = c.create_request();
    change(&mut request);
    block(c.task.create(&request)).unwrap();
}

/// Memory of a process in KiB: what it has now, or the most it had.
fn memory(pid: u32, key: &str) -> u64 {
    let text = procfs::field(pid, key).unwrap();
    text.trim_end_matches(" kB").parse().unwrap()
}

/// Reads a FIFO to its end as fast as it can and gives the numbers that were not the next ones, and how
/// many there were.
fn count_numbers(path: &Path) -> JoinHandle<(u64, u64)> {
    // Waits for the shim's end.
    let mut fifo = fs::File::open(path).unwrap();
    thread::spawn(move || {
        let (mut wrong, mut lines, mut number) = (0, 0, 0u64);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = fifo.read(&mut buffer).unwrap();
            if read == 0 {
                return (wrong, lines);
            }
            for byte in buffer.get(..read).unwrap() {
                match byte {
                    b'\n' => {
                        lines += 1;
                        wrong += u64::from(number != lines);
                        number = 0;
                    }
                    b'0'..=b'9' => number = number * 10 + u64::from(byte - b'0'),
                    b'\r' => {}
                    _ => wrong += 1,
                }
            }
        }
    })
}

#[test]
fn a_hundred_megabytes_arrive_in_order_through_a_daemon_that_does_not_grow() {
    let lab = Lab::new();
    // 100,888,896 bytes.
    let mut c = lab.container(&Spec::new(["seq", "1", "12500000"]));
    let path = c.stdio.stdout_path().to_owned();
    c.create();
    let before = memory(c.shim_pid(), "VmRSS");
    c.start();
    let counted = count_numbers(&path);
    // The harness's reader would only be in the way.
    c.stdio.out = None;
    assert_eq!(counted.join().unwrap(), (0, 12_500_000));
    assert_eq!(c.wait(), 0);
    let most = memory(c.shim_pid(), "VmHWM");
    println!("daemon: {before} KiB at create, {most} KiB at most");
    assert!(most < before + 2048, "{before} KiB became {most} KiB");
}

/// Both streams of one process: each keeps its order, and neither loses a line.
#[test]
fn twenty_thousand_small_writes_on_both_streams_keep_their_order() {
    let lab = Lab::new();
    let text = "i=0; while [ $i -lt 10000 ]; do i=$((i+1)); echo $i; echo $i >&2; done";
    let mut c = lab.container(&script(text));
    let (out, err) = (
        c.stdio.stdout_path().to_owned(),
        c.stdio.stderr_path().to_owned(),
    );
    c.run();
    let readers = [&out, &err].map(|path| count_numbers(path));
    (c.stdio.out, c.stdio.err) = (None, None);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), (0, 10_000));
    }
    assert_eq!(c.wait(), 0);
}

/// containerd issues 3738 and 4107, and its TestContainerExecLargeOutputWithTTY. Every second client
/// closes the input at once.
#[test]
fn execs_that_write_seven_megabytes_each_on_a_terminal_lose_nothing() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    // As many as in containerd's test in `make test-soak`.
    let execs = pulse::times(6, 100);
    let mut process = c.spec.process(["seq", "1", "1000000"]);
    process["terminal"] = true.into();
    let before = procfs::open_files(c.shim_pid());
    for number in 0..execs {
        let exec = format!("e{number}");
        let mut stdio = c.add_exec_with(&exec, &process, Streams::TERMINAL);
        c.try_start(&exec).unwrap();
        let counted = count_numbers(stdio.stdout_path());
        stdio.out = None;
        if number % 2 == 0 {
            drop(stdio.open_stdin(limit()).unwrap());
            block(c.task.close_io(&c.id, &exec)).unwrap();
        }
        assert_eq!(counted.join().unwrap(), (0, 1_000_000), "{exec}");
        assert_eq!(c.wait_exec(&exec), 0);
        block(c.task.delete(&c.id, &exec)).unwrap();
    }
    assert_eq!(procfs::open_files(c.shim_pid()), before);
}

/// Reads all the time until it is told that the process has ended, as containerd's client does.
fn read_until_told(mut fifo: FifoReader, told: &Arc<AtomicBool>) -> JoinHandle<Vec<u8>> {
    let told = Arc::clone(told);
    thread::spawn(move || {
        let mut read = Vec::new();
        loop {
            let last = told.load(Ordering::SeqCst);
            read.extend(fifo.read_available());
            if last {
                return read;
            }
            thread::sleep(Duration::from_micros(200));
        }
    })
}

/// containerd issue 5741: what a short exec writes was dropped now and then, for a client closes its
/// readers once Wait has returned.
#[test]
fn short_execs_lose_nothing_and_leave_no_descriptor() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    let one = |number: u32| {
        let exec = format!("e{number}");
        let process = c.spec.process(["sh", "-c", "echo out; cat >&2"]);
        let mut stdio = c.add_exec_with(&exec, &process, Streams::ALL);
        let ended = Arc::new(AtomicBool::new(false));
        let out = read_until_told(stdio.out.take().unwrap(), &ended);
        let err = read_until_told(stdio.err.take().unwrap(), &ended);
        c.try_start(&exec).unwrap();
        let mut input = stdio.open_stdin(limit()).unwrap();
        input.write_all(b"in", limit()).unwrap();
        drop(input);
        block(c.task.close_io(&c.id, &exec)).unwrap();
        assert_eq!(c.wait_exec(&exec), 0);
        ended.store(true, Ordering::SeqCst);
        assert_eq!(out.join().unwrap(), b"out\n", "{exec}");
        assert_eq!(err.join().unwrap(), b"in", "{exec}");
        block(c.task.delete(&c.id, &exec)).unwrap();
    };
    one(0);
    let before = procfs::open_files(c.shim_pid());
    (1..200).for_each(one);
    assert_eq!(procfs::open_files(c.shim_pid()), before);
}

/// rust-extensions pull 112: FIFO and copy stayed when the input had been closed.
#[test]
fn closed_input_leaves_no_descriptor_though_the_process_goes_on() {
    let lab = Lab::new();
    let mut c = lab.container_with(&script("cat; echo end; sleep 600"), Streams::ALL);
    c.run();
    let name = c.stdio.stdin_path().display().to_string();
    let open = || procfs::open_files(c.shim_pid());
    assert!(open().contains(&name));
    let pipes = |open: &[String]| open.iter().filter(|file| file.starts_with("pipe:")).count();
    let before = pipes(&open());
    drop(c.stdio.open_stdin(limit()).unwrap());
    block(c.task.close_io(&c.id, "")).unwrap();
    eventually("the FIFO is closed", || {
        (!open().contains(&name)).then_some(())
    });
    assert_eq!(pipes(&open()), before - 1);
    c.read_until("end\n");
}

#[test]
fn delete_gives_a_reader_that_does_not_read_ten_seconds_whatever_orphans_do() {
    let lab = Lab::new();
    let mut c = lab.container(&Spec::new(["sleep", "600"]));
    c.run();
    // The exec and its child fill FIFO and pipe; the child goes on.
    let mut stdio = c.add_exec("e", ["sh", "-c", "yes & yes | head -c 200000"]);
    c.try_start("e").unwrap();
    let killed = block(c.task.kill(&c.id, "e", 9));
    killed.unwrap();
    assert_eq!(c.wait_exec("e"), 137);
    let start = Instant::now();
    block(c.task.delete(&c.id, "e")).unwrap();
    let took = start.elapsed();
    assert!(took < slowed(Duration::from_secs(14)), "{took:?}");
    // Nobody writes to it any more: it has an end.
    stdio.out.as_mut().unwrap().read_to_end(limit()).unwrap();
    c.stdio.out = None;
}

/// The disk under a log file is full for a while: the process waits, and the log has no gap.
#[test]
fn full_disk_holds_the_process_up_and_loses_nothing() {
    let lab = Lab::new();
    let dir = lab.dir().join("small");
    fs::create_dir(&dir).unwrap();
    let size = Some("size=256k");
    mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), size).unwrap();
    fs::write(dir.join("ballast"), vec![0; 128 * 1024]).unwrap();
    let log = dir.join("log");
    {
        let text = "seq 1 30000; touch /through; sleep 600";
        let c = lab.container_with(&script(text), Streams::NONE);
        let uri = format!("file://{}", log.display());
        create_with(&c, |request| request.stdout = uri);
        c.start();
        let mut said = String::new();
        eventually("the log says so", || {
            said.push_str(&c.bundle.log());
            said.contains("waits for space").then_some(())
        });
        assert!(said.contains("stdout: No space left on device"), "{said}");
        assert_eq!(c.status(), Status::RUNNING);
        fs::remove_file(dir.join("ballast")).unwrap();
        let through = c.upper().join("through");
        eventually("there is room", || through.exists().then_some(()));
        let text = eventually("the last line", || {
            let text = fs::read_to_string(&log).unwrap();
            text.ends_with("\n30000\n").then_some(text)
        });
        assert!(
            (1..)
                .zip(text.lines())
                .all(|(n, line)| line.parse() == Ok(n))
        );
        c.kill_and_wait();
        c.delete().unwrap();
    }
    umount2(&dir, MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn sink_that_fails_for_good_blocks_the_process_and_not_its_deletion() {
    let lab = Lab::new();
    let c = lab.container_with(&script("seq 1 100000; touch /through"), Streams::NONE);
    // Takes opens and no bytes.
    create_with(&c, |request| request.stdout = "/proc/self/mem".to_owned());
    c.start();
    let mut said = String::new();
    eventually("the log says so", || {
        said.push_str(&c.bundle.log());
        said.contains("the rest of the output is kept back")
            .then_some(())
    });
    assert_eq!(c.status(), Status::RUNNING);
    assert_eq!(c.kill_and_wait(), 137, "it was not SIGPIPE");
    let start = Instant::now();
    c.delete().unwrap();
    assert!(start.elapsed() < slowed(Duration::from_secs(5)));
}

#[test]
fn file_with_two_names_that_are_the_same_is_opened_once_and_appended_to() {
    let lab = Lab::new();
    let log = lab.dir().join("plain");
    fs::write(&log, "before\n").unwrap();
    let c = lab.container_with(&script("echo out; echo err >&2; sleep 600"), Streams::NONE);
    let path = log.display().to_string();
    create_with(&c, |request| {
        request.stdout.clone_from(&path);
        request.stderr.clone_from(&path);
    });
    let open = procfs::open_files(c.shim_pid());
    assert_eq!(
        open.iter().filter(|file| **file == path).count(),
        1,
        "{open:?}"
    );
    c.start();
    let text = eventually("both lines", || {
        let text = fs::read_to_string(&log).unwrap();
        (text.len() == 15).then_some(text)
    });
    assert!(text.starts_with("before\n") && text.contains("out\n") && text.contains("err\n"));
    c.kill_and_wait();
    c.delete().unwrap();
    let open = procfs::open_files(c.shim_pid());
    assert!(!open.contains(&path), "{open:?}");
}

/// Made as the runc shim makes it: directories 0755, the file 0644, both less what the umask takes.
#[test]
fn log_file_has_the_mode_that_containerd_gives_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::new();
    let log = lab.dir().join("new dir/deep/box.log");
    let c = lab.container_with(&script("echo out"), Streams::NONE);
    let uri = format!("file://localhost{}?x=y#z", log.display()).replace(' ', "%20");
    create_with(&c, |request| {
        request.stdout.clone_from(&uri);
        request.stderr.clone_from(&uri);
    });
    c.start();
    assert_eq!(c.wait(), 0);
    c.delete().unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap(), "out\n");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&log), 0o644);
    assert_eq!(mode(log.parent().unwrap()), 0o755);
}

/// Reads this many bytes of lines and gives the first and the last whole number; all between must be there.
fn read_numbers(from: &mut impl Read, bytes: usize) -> (u64, u64) {
    let mut text = vec![0; bytes];
    from.read_exact(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    // The first may be the rest of a line that another client has begun, and the last the beginning of one.
    let lines: Vec<&str> = text.split('\n').collect();
    let [_, whole @ .., _] = lines.as_slice() else {
        panic!("{text:?}");
    };
    let numbers: Vec<u64> = whole.iter().map(|line| line.parse().unwrap()).collect();
    assert!(
        numbers.is_sorted_by(|a, b| a + 1 == *b),
        "a line is missing"
    );
    (*numbers.first().unwrap(), *numbers.last().unwrap())
}

/// The client dies, containerd dies: the program is stopped by its full pipe and not by SIGPIPE, and goes on
/// for the next client where it was.
#[test]
fn output_waits_for_a_client_that_attaches_after_a_restart_of_containerd() {
    const READ: usize = 1 << 20;
    let case = Case::with(Containerd::start_own());
    case.expect_lost_events();
    let id = case.id("attach");
    let mut first = case.run_command(&id, &[], &["seq", "1", "1000000000"]);
    let mut first = first.stdout(Stdio::piped()).spawn().unwrap();
    let (begin, before) = read_numbers(first.stdout.as_mut().unwrap(), READ);
    assert_eq!(begin, 2);
    first.kill().unwrap();
    first.wait().unwrap();
    case.containerd().kill();
    case.containerd().resume();
    let mut second = case.containerd().ctr_command();
    second.args(["task", "attach", &id]).stdout(Stdio::piped());
    let mut second = second.spawn().unwrap();
    let (after, _) = read_numbers(second.stdout.as_mut().unwrap(), READ);
    // What the first client had read and we did not, in lines of at least 7 bytes.
    let lost = after.checked_sub(before).unwrap();
    assert!(
        lost < 200_000 / 7,
        "{lost} lines lie between {before} and {after}"
    );
    case.remove(&id);
    // It may have ended with its container.
    drop(second.kill());
    second.wait().unwrap();
}
