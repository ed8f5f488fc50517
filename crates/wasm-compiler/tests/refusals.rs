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
fn files_with_nothing_to_run() {
    for (text, line) in [
        (
            "(module)",
            "it exports no function, so that there is nothing to run",
        ),
        (
            r#"(module (memory (export "_start") 1))"#,
            "it exports no function, so that there is nothing to run",
        ),
        (
            "(component)",
            "it exports nothing, so that there is nothing to run",
        ),
        (
            r#"(component (core module $m) (export "m" (core module $m))
                (instance $i) (export "own:lib/types@1.0.0" (instance $i)))"#,
            "it exports \"m\", \"own:lib/types@1.0.0\", but no function, so that there is nothing to run",
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

/// A component of a core module, which imports this.
fn component(imports: &str) -> Vec<u8> {
    wat(&format!(
        r#"(component {imports}
            (core module $m (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func (export "run") (result u32) (canon lift (core func $i "run"))))"#
    ))
}

#[test]
fn interfaces_that_nobody_offers() {
    for (imports, line) in [
        (
            r#"(import "wasi:keyvalue/store@0.2.0" (instance (export "open" (func))))"#,
            r#"it imports "wasi:keyvalue/store@0.2.0", which is not among what WASI 0.2 and 0.3 offer here"#,
        ),
        (
            r#"(import "wasi:nn/tensor@0.2.0" (instance (export "tensor" (type (sub resource)))))
               (import "f" (func))
               (import "wasi:cli/exit@0.2.0" (instance (export "f" (func))))
               (import "wasi:cli/exit@0.3.0-rc-2026-01-06" (instance (export "f" (func))))
               (import "wasi:io/poll@0.3.0" (instance (export "f" (func))))
               (import "wasi:clocks/timezone@0.2.0" (instance (export "f" (func))))"#,
            r#"it imports "wasi:nn/tensor@0.2.0", "f", "wasi:cli/exit@0.3.0-rc-2026-01-06" and 2 more, which is not among what WASI 0.2 and 0.3 offer here"#,
        ),
    ] {
        assert_eq!(refusal(&component(imports)), line);
    }
}

#[test]
fn builtins_of_components_that_are_off() {
    // Its other half, with "async", is on.
    let line = refusal(&component(
        "(type $s (stream u8)) (core module $n (memory (export \"m\") 1))
         (core instance $n (instantiate $n))
         (core func $read (canon stream.read $s (memory $n \"m\")))",
    ));
    assert!(
        line.starts_with("it cannot be compiled: ") && line.contains("more async builtins"),
        "{line}"
    );
}
