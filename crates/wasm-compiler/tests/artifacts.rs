//! What `hull-wasmc` does compile, and how it behaves otherwise.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "test code")]

mod program;

use program::{compile, compiler, run, wat};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
    (func (export "_start")
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#;

/// A command that is written in many functions, so that threads have something to share.
fn large() -> Vec<u8> {
    let mut text = String::from("(module (func (export \"_start\"))");
    for n in 0..500 {
        write!(
            text,
            "(func (param i32) (result i32)
                (i32.add (i32.mul (local.get 0) (i32.const {n})) (i32.const {})))",
            n * n
        )
        .unwrap();
    }
    text.push(')');
    wat(&text)
}

#[test]
fn proposals_are_on_for_who_names_them() {
    let wide = wat(r#"(module (func (export "_start")
            (drop (i64.mul_wide_u (i64.const 1) (i64.const 2))) (drop)))"#);
    let with = |names: &str| run(&mut compiler(&["compile", names]), &wide);
    assert_eq!(with("custom-page-sizes,wide-arithmetic").status, Some(0));
    let without = with("custom-page-sizes");
    let advice = "features=wide-arithmetic switches that on\n";
    assert!(without.line.ends_with(advice), "{}", without.line);
    assert_eq!(without.status, Some(1));
    let unknown = with("threads");
    assert_eq!(unknown.status, Some(2));
    assert!(unknown.line.contains("\"threads\""), "{}", unknown.line);
}

#[test]
fn commands_become_artifacts() {
    for text in [
        r#"(module (func (export "_start")))"#,
        HELLO,
        // An imported function may be the entry, a start function too.
        r#"(module (func $f) (start $f) (export "_start" (func $f)))"#,
        // Proposals that are on.
        r#"(module (type $s (struct (field i32))) (tag $t)
            (func (export "_start") (drop (struct.new $s (i32.const 1)))))"#,
        // An interface that consists of types needs no host.
        r#"(component
            (import "wasi:io/error@0.2.3" (instance $e (export "error" (type (sub resource)))))
            (alias export $e "error" (type $error))
            (import "app:own/types" (instance
                (export "error" (type (eq $error)))
                (type $size u32) (export "size" (type (eq $size)))))
            (type $size u32) (import "size" (type (eq $size)))
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (component $c (import "f" (func $f (result (result)))) (export "run" (func $f)))
            (instance $r (instantiate $c (with "f" (func $run))))
            (export "wasi:cli/run@0.2.0" (instance $r)))"#,
    ] {
        let outcome = compile(&wat(text));
        assert_eq!(
            (outcome.status, outcome.line.as_str()),
            (Some(0), ""),
            "{text}"
        );
        assert!(hull_artifact::is_artifact(&outcome.artifact), "{text}");
        // The artifact itself is no input.
        let again = compile(&outcome.artifact);
        assert_eq!(again.status, Some(1));
        assert!(
            again
                .line
                .starts_with("it is native code that wasmtime compiled")
        );
    }
}

#[test]
fn the_same_module_always_becomes_the_same_artifact() {
    let module = large();
    let first = compile(&module).artifact;
    assert!(!first.is_empty());
    for threads in ["1", "2", "5"] {
        let mut command = compiler(&["compile"]);
        let outcome = run(command.env("RAYON_NUM_THREADS", threads), &module);
        assert!(outcome.artifact == first, "on {threads} threads");
    }
}

#[test]
fn a_module_may_come_through_a_pipe() {
    let mut child = compiler(&["compile"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let module = large();
    child.stdin.take().unwrap().write_all(&module).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(output.stdout == compile(&module).artifact);
}

#[test]
fn the_id_is_one_line_that_does_not_change() {
    let first = run(&mut compiler(&["--id"]), b"");
    assert_eq!((first.status, first.line.as_str()), (Some(0), ""));
    let text = String::from_utf8(first.artifact.clone()).unwrap();
    let id = hull_artifact::EngineId::parse(&text).unwrap();
    let (version, hash) = id.as_str().split_once(' ').unwrap();
    assert_eq!(version, format!("wasmtime-{}", hull_wasm_engine::VERSION));
    assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()));
    let mut other = compiler(&["--id"]);
    other
        .env("RAYON_NUM_THREADS", "7")
        .env("WASMTIME_BACKTRACE_DETAILS", "1");
    assert_eq!(run(&mut other, b"").artifact, first.artifact);
}

#[test]
fn the_host_is_to_blame_for_what_no_module_can_cause() {
    for args in [
        &[][..],
        &["--version"],
        &["compile", "x", "y"],
        &["--id", "x"],
    ] {
        let outcome = run(&mut compiler(args), b"");
        assert_eq!(outcome.status, Some(2));
        assert_eq!(
            outcome.line,
            "usage: hull-wasmc --id | hull-wasmc compile [PROPOSAL,...] <module.wasm >artifact\n"
        );
    }
    let output = compiler(&["compile"])
        .stdin(std::fs::File::open("/").unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stderr, b"reading the module: Is a directory\n");

    let full = std::fs::File::create("/dev/full").unwrap();
    let output = compiler(&["--id"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stderr, b"writing the id: No space left on device\n");
}

#[test]
fn an_artifact_beyond_the_limit_is_refused() {
    let program = env!("CARGO_BIN_EXE_hull-wasmc");
    let script = format!("ulimit -f 2; exec {program} compile");
    let mut shell = std::process::Command::new("/bin/sh");
    let outcome = run(shell.env_clear().args(["-c", &script]), &wat(HELLO));
    assert_eq!(outcome.status, Some(1), "{}", outcome.line);
    assert!(outcome.artifact.is_empty());
    let (size, limit) = outcome
        .line
        .strip_prefix("its compiled form has ")
        .and_then(|rest| rest.split_once(" bytes, but at most "))
        .unwrap();
    assert!(size.parse::<u64>().unwrap() > 1024);
    assert_eq!(limit, "1024 are allowed\n");
}
