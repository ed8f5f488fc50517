//! Guests of other languages as people build them: components of 13 and 18 MB with a whole interpreter in them,
//! and commands in C as components. `make test-full` makes them and runs these.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use hull_e2e::{Container, Image, Lab, Ran, Spec, Streams, artifacts, limit, slowed};
use serde_json::Value;

const PYTHON: &str = "/wasm/python.wasm";
const TERM: u32 = 15;

fn lab() -> Lab {
    Lab::new().with_image(Image::WasmFull)
}

fn run(lab: &Lab, args: &[&str]) -> Ran {
    lab.container(&Spec::new(args.iter().copied())).run_to_end()
}

/// What it wrote, if it ended well.
#[track_caller]
fn ok(ran: Ran) -> String {
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    ran.stdout
}

#[track_caller]
fn json(ran: Ran) -> Value {
    serde_json::from_str(ok(ran).lines().next().unwrap()).unwrap()
}

/// Runs a guest with this on its standard input.
fn run_with_input(lab: &Lab, args: &[&str], input: &str) -> Ran {
    let mut c = lab.container_with(&Spec::new(args.iter().copied()), Streams::ALL);
    c.run();
    let mut stdin = c.stdio.open_stdin(limit()).unwrap();
    stdin.write_all(input.as_bytes(), limit()).unwrap();
    drop(stdin);
    hull_e2e::block(c.task.close_io(&c.id, "")).unwrap();
    let (stdout, stderr) = hull_e2e::read_output(&mut c.stdio);
    Ran {
        status: c.wait(),
        stdout,
        stderr,
    }
}

/// One world for all of it: a store of its own would compile 18 MB for each.
#[test]
fn python() {
    let lab = lab();
    compiled_once_and_then_started_at_once(&lab);
    process(&lab);
    files(&lab);
    streams(&lab);
    failure(&lab);
    stop(&lab);
    artifacts::single(&lab.artifacts());
}

fn compiled_once_and_then_started_at_once(lab: &Lab) {
    for compiled in [1, 0] {
        let mut c = lab.container(&Spec::new([PYTHON]));
        let began = Instant::now();
        assert_eq!(ok(c.run_to_end()), "hello from Python\n");
        assert_eq!(c.bundle.log().matches(": compiled ").count(), compiled);
        let took = began.elapsed();
        assert!(
            compiled == 1 || took < slowed(Duration::from_secs(2)),
            "{took:?}"
        );
    }
}

fn process(lab: &Lab) {
    let args = [PYTHON, "process", "two words", "\u{e4}\u{1f980}"];
    let spec = Spec::new(args.iter().copied())
        .env("KEY", "a=b")
        .cwd("/etc");
    let told = json(lab.container(&spec).run_to_end());
    assert_eq!(told.pointer("/args").unwrap(), &serde_json::json!(args));
    assert_eq!(told.pointer("/env/KEY").unwrap(), "a=b");
    assert_eq!(told.pointer("/env/PWD").unwrap(), "/etc");
    let digest = ok(run(lab, &[PYTHON, "digest", "abc"]));
    // The vector of FIPS 180-2, appendix B.1.
    assert!(digest.starts_with("ba7816bf8f01cfea"), "{digest}");
    let text = ok(run(lab, &[PYTHON, "clock"]));
    let (clock, different) = text.split_once('\n').unwrap();
    let clock: Value = serde_json::from_str(clock).unwrap();
    assert!(
        clock.pointer("/slept").unwrap().as_f64().unwrap() >= 0.02,
        "{clock}"
    );
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let theirs = clock.pointer("/now").unwrap().as_f64().unwrap();
    assert!(
        (now - theirs).abs() < slowed(Duration::from_secs(60)).as_secs_f64(),
        "{clock}"
    );
    assert_eq!(different, "8\n");
}

fn files(lab: &Lab) {
    let mut c = lab.container(&Spec::new([PYTHON, "write", "/etc/new", "text\n"]));
    assert_eq!(ok(c.run_to_end()), "");
    assert_eq!(
        fs::read_to_string(c.upper().join("etc/new")).unwrap(),
        "text\n"
    );
    assert!(ok(run(lab, &[PYTHON, "read", "/etc/group"])).contains("hull:x:1000:"));
    let list = json(run(lab, &[PYTHON, "list", "/wasm"]));
    assert!(
        list.as_array().unwrap().contains(&"python.wasm".into()),
        "{list}"
    );
    // Its user is the container's.
    let spec = Spec::new([PYTHON, "write", "/etc/new", "text"]).user(1000, 1000);
    let ran = lab.container(&spec).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("PermissionError: "), "{ran:?}");
}

fn streams(lab: &Lab) {
    let ran = run_with_input(lab, &[PYTHON, "count"], "one\ntwo\nthr");
    assert_eq!(ok(ran), "11 characters, 3 lines\n");
}

fn failure(lab: &Lab) {
    let ran = run(lab, &[PYTHON, "read", "/no/such/file"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.starts_with("FileNotFoundError: "), "{ran:?}");
}

/// It fits into little memory, and ends when it is told to.
fn stop(lab: &Lab) {
    let spec = Spec::new([PYTHON, "idle"]).resource("memory/limit", 128 << 20);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready\n");
    let asked = Instant::now();
    c.kill(TERM).unwrap();
    assert_eq!(c.wait(), 128 + TERM);
    assert!(asked.elapsed() < slowed(Duration::from_secs(2)));
}

/// What busybox's client gets of it, in the container's own network.
fn fetch(c: &Container<'_>, exec: &str, args: &[&str]) -> String {
    let args = [&["wget", "-q", "-O", "-"], args].concat();
    let ran = c.exec_process(exec, &c.spec.process(args));
    ran.stdout + &ran.stderr
}

#[test]
fn server_in_javascript() {
    let lab = lab();
    let mut c = lab.container(&Spec::new(["/wasm/javascript.wasm"]));
    c.run();
    let err = c.stdio.err.as_mut().unwrap();
    err.read_until(b"listening on http://", limit()).unwrap();
    let root = "http://127.0.0.1:8080";
    assert_eq!(fetch(&c, "hello", &[root]), "hello from JavaScript\n");
    let json = fetch(
        &c,
        "json",
        &["--header", "x-sent: two words", &format!("{root}/json")],
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json, serde_json::json!({ "header": "two words", "sum": 6 }));
    let sent = "x".repeat(50_000);
    let echo = fetch(&c, "echo", &["--post-data", &sent, &format!("{root}/echo")]);
    assert!(echo == sent, "{} bytes came back", echo.len());
    let none = fetch(&c, "none", &[&format!("{root}/nothing")]);
    assert!(none.contains("404 Not Found"), "{none}");
    let asked = Instant::now();
    c.kill(TERM).unwrap();
    assert_eq!(c.wait(), 128 + TERM);
    assert!(asked.elapsed() < slowed(Duration::from_secs(2)));
}

/// The same sources as in the image of small guests, through the adapter of preview 1.
#[test]
fn commands_in_c_as_components() {
    let lab = lab();
    let module = fs::read(Image::WasmFull.rootfs().join("wasm/files.wasm")).unwrap();
    assert!(module.starts_with(b"\0asm\x0d\0\x01\0"));
    let group = ok(run(&lab, &["/wasm/files.wasm", "read", "/etc/group"]));
    assert!(group.contains("hull:x:1000:"), "{group}");
    let mut c = lab.container(&Spec::new(["/wasm/files.wasm", "mkdir", "/etc/new"]));
    assert_eq!(ok(c.run_to_end()), "");
    assert!(c.upper().join("etc/new").is_dir());
    let ran = run(&lab, &["/wasm/files.wasm", "read", "/etc/none"]);
    let said = (ran.status, ran.stderr.as_str());
    assert_eq!(said, (1, "open /etc/none: No such file or directory\n"));
    let ran = run_with_input(&lab, &["/wasm/stdin.wasm"], "one\ntwo\n");
    assert_eq!(ok(ran), "8 bytes, 2 lines\n");
    let text = ok(run(&lab, &["/wasm/clock.wasm"]));
    for line in ["monotonic moves", "real moves", "random differs"] {
        assert!(text.contains(line), "{text}");
    }
    let spec = Spec::new(["/wasm/env.wasm", "a b", ""]).env("KEY", "value");
    let text = ok(lab.container(&spec).run_to_end());
    for line in ["a b", "KEY=value", "PWD=/"] {
        assert!(text.contains(line), "{text}");
    }
}
