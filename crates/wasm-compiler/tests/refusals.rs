//! What `hull-wasmc` does not compile, and the one line that it says.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "test code")]

mod program;

use program::{Outcome, compile, wat};

/// Runs the compiler on bytes that are to blame, and returns its line.
fn refusal(module: &[u8]) -> String {
    let Outcome {
        status,
        artifact,
        line,
    } = compile(module);
    assert_eq!(status, Some(1), "{line}");
    assert!(artifact.is_empty());
    let line = line.strip_suffix('\n').unwrap().to_owned();
    assert!(!line.contains('\n'), "{line:?}");
    assert!(line.chars().count() <= 1000);
    line
}

#[test]
fn files_that_are_no_wasm() {
    for (bytes, line) in [
        (b"".as_slice(), "it is empty"),
        (b"#!/bin/sh\n", "it is not a Wasm file"),
        (b"\0as", "it is not a Wasm file"),
        (
            b"(module)",
            "it is Wasm text: compile it to a Wasm file first",
        ),
        (
            b"\n ;; hello\n(module)",
            "it is Wasm text: compile it to a Wasm file first",
        ),
        (b"\0asm\x01\0\0", "it ends within the first 8 bytes"),
        (
            b"\0asm\x02\0\0\0",
            "its Wasm version is unknown ([02, 00, 00, 00])",
        ),
        (b"\x7fELF\x02\x01\x01\x03", "it is not a Wasm file"),
        (
            b"\x7fELF\x02\x01\x01\xc8 and more",
            "it is native code that wasmtime compiled, which is never taken from an image: \
             give the Wasm file that it was made of",
        ),
    ] {
        assert_eq!(refusal(bytes), line);
    }
}

#[test]
fn files_that_are_not_valid() {
    let truncated = wat(r#"(module (func (export "_start")))"#);
    let truncated = truncated.get(..truncated.len() - 1).unwrap();
    for (bytes, line) in [
        (
            b"\0asm\x01\0\0\0\xff\x00".to_vec(),
            "it cannot be compiled: failed to parse WebAssembly module: \
             malformed section id (at offset 0x8)",
        ),
        (
            truncated.to_vec(),
            "it cannot be compiled: failed to parse WebAssembly module: \
             unexpected end-of-file (at offset 0x22)",
        ),
        (
            wat(r#"(module (func (export "_start") i32.add drop))"#),
            "it cannot be compiled: failed to compile: wasm[0]::function[0]: \
             WebAssembly translation error: Invalid input WebAssembly code at offset 35: \
             type mismatch: expected i32 but nothing on stack",
        ),
    ] {
        assert_eq!(refusal(&bytes), line);
    }
}

#[test]
fn modules_that_are_no_command() {
    for (text, line) in [
        ("(module)", "it is not a command: it exports no function"),
        (
            r#"(module (func (export "add")) (func (export "_initialize")))"#,
            r#"it is not a command: it exports "add", "_initialize", but no function "_start""#,
        ),
        (
            r#"(module (func $f)
                (export "a" (func $f)) (export "b" (func $f)) (export "c" (func $f))
                (export "d" (func $f)) (export "e" (func $f)))"#,
            r#"it is not a command: it exports "a", "b", "c" and 2 more, but no function "_start""#,
        ),
        (
            r#"(module (memory (export "_start") 1))"#,
            r#"it is not a command: "_start" is a memory, not a function"#,
        ),
        (
            r#"(module (func (export "_start") (param i32 i64) (result f32) unreachable))"#,
            r#"it is not a command: "_start" is (i32, i64) -> (f32), but must be () -> ()"#,
        ),
    ] {
        assert_eq!(refusal(&wat(text)), line);
    }
}

#[test]
fn imports_that_nobody_offers() {
    for (imports, line) in [
        (
            r#"(import "env" "foo" (func))"#,
            r#"it imports "env"."foo" (function), which WASI preview 1 does not offer"#,
        ),
        (
            r#"(import "env" "m" (memory 1)) (import "env" "t" (table 1 funcref))
               (import "env" "g" (global i32)) (import "x" "y" (func)) (import "x" "z" (func))"#,
            r#"it imports "env"."m" (memory), "env"."t" (table), "env"."g" (global) and 2 more, which WASI preview 1 does not offer"#,
        ),
        (
            r#"(import "wasi_snapshot_preview1" "fd_wrote" (func))"#,
            r#"it imports "wasi_snapshot_preview1"."fd_wrote" (function), which WASI preview 1 does not offer"#,
        ),
        (
            r#"(import "wasi_snapshot_preview1" "fd_write" (global i32))"#,
            r#"it imports "wasi_snapshot_preview1"."fd_write" (global), which WASI preview 1 does not offer"#,
        ),
        (
            r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32)))"#,
            r#"it imports "wasi_snapshot_preview1"."fd_write" as (i32) -> (), but WASI preview 1 has it as (i32, i32, i32, i32) -> (i32)"#,
        ),
        (
            r#"(import "wasi_unstable" "fd_write" (func (param i32)))"#,
            r#"it imports "wasi_unstable", which is WASI preview 0 and is not supported"#,
        ),
        (
            r#"(import "wasi_snapshot_preview1" "sched_yield" (func (result i32)))"#,
            r#"it imports WASI functions, but exports no memory "memory""#,
        ),
    ] {
        let text = format!(r#"(module {imports} (func (export "_start")))"#);
        assert_eq!(refusal(&wat(&text)), line);
    }
}

#[test]
fn names_cannot_disturb_the_line() {
    let text = r#"(module (import "a\n\1b[2J" "\e2\80\ae" (func)) (func (export "_start")))"#;
    assert_eq!(
        refusal(&wat(text)),
        r#"it imports "a\n\u{1b}[2J"."\u{202e}" (function), which WASI preview 1 does not offer"#
    );
    let long = "x".repeat(100_000);
    let text = format!(r#"(module (import "{long}" "y" (func)) (func (export "_start")))"#);
    let cut = "x".repeat(80);
    assert_eq!(
        refusal(&wat(&text)),
        format!(r#"it imports "{cut}"…."y" (function), which WASI preview 1 does not offer"#)
    );
}

#[test]
fn proposals_that_are_off() {
    let line = refusal(&wat(
        r#"(module (memory (export "memory") 1 1 shared) (func (export "_start")))"#,
    ));
    assert!(
        line.starts_with("it cannot be compiled: ") && line.contains("threads"),
        "{line}"
    );
}

#[test]
fn components_that_are_no_command() {
    for (text, line) in [
        (
            "(component)",
            r#"it is not a command: it exports nothing, but no "wasi:cli/run@0.2.x""#,
        ),
        (
            r#"(component (instance $i) (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#,
            r#"it is not a command: it exports "wasi:http/incoming-handler@0.2.0", but no "wasi:cli/run@0.2.x""#,
        ),
        (
            r#"(component (instance $i) (export "wasi:cli/run@0.3.0" (instance $i)))"#,
            r#"it is not a command: it exports "wasi:cli/run@0.3.0", but no "wasi:cli/run@0.2.x""#,
        ),
        (
            r#"(component
                (import "wasi:http/types@0.2.0" (instance (export "fields" (type (sub resource)))))
                (import "f" (func))
                (import "wasi:cli/exit@0.2.0" (instance (export "f" (func))))
                (import "wasi:cli/exit@0.3.0" (instance (export "f" (func))))
                (import "wasi:clocks/timezone@0.2.0" (instance (export "f" (func))))
                (instance $i) (export "wasi:cli/run@0.2.0" (instance $i)))"#,
            r#"it imports "wasi:http/types@0.2.0", "f", "wasi:cli/exit@0.3.0" and 1 more, which is not among what WASI 0.2 offers to commands"#,
        ),
    ] {
        assert_eq!(refusal(&wat(text)), line);
    }
}
