//! Components: `wasi:cli/run` of WASI 0.2.

use crate::guest::{Guest, stderr, stdout};

/// A component whose `wasi:cli/run` is `body` of a core function that results in 0 (ok) or 1 (err).
fn component(imports: &str, core: &str, body: &str) -> Guest {
    Guest::new(&format!(
        "(component
           {imports}
           (core module $m
             {core}
             (func $run (export \"run\") (result i32) {body}))
           (core instance $i (instantiate $m {}))
           (func $run (result (result)) (canon lift (core func $i \"run\")))
           (instance $command (export \"run\" (func $run)))
           (export \"wasi:cli/run@0.2.0\" (instance $command)))",
        if imports.is_empty() {
            ""
        } else {
            "(with \"host\" (instance $host))"
        }
    ))
}

#[test]
fn the_result_is_the_exit_code() {
    let ok = component("", "", "(i32.const 0)").run();
    assert_eq!(ok.status.code(), Some(0), "{ok:?}");
    let failed = component("", "", "(i32.const 1)").run();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
}

#[test]
fn a_component_traps_like_a_module() {
    let output = component("", "", "unreachable").run();
    assert_eq!(output.status.code(), Some(134), "{output:?}");
    let text = stderr(&output);
    assert!(
        text.starts_with("hull-wasm: trap: wasm `unreachable`"),
        "{text}"
    );
    assert!(text.contains("!run"), "{text}");
}

#[test]
fn exit_ends_it() {
    let imports = "(import \"wasi:cli/exit@0.2.0\" (instance $exit
          (export \"exit\" (func (param \"status\" (result))))))
        (core func $exit (canon lower (func $exit \"exit\")))
        (core instance $host (export \"exit\" (func $exit)))";
    let core = "(import \"host\" \"exit\" (func $exit (param i32)))";
    let output = component(imports, core, "(call $exit (i32.const 1)) unreachable").run();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = component(imports, core, "(call $exit (i32.const 0)) unreachable").run();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn output_goes_to_the_descriptor() {
    let imports = "(import \"wasi:io/error@0.2.0\" (instance $error
          (export \"error\" (type (sub resource)))))
        (alias export $error \"error\" (type $error_type))
        (import \"wasi:io/streams@0.2.0\" (instance $streams
          (export \"output-stream\" (type $stream (sub resource)))
          (alias outer 1 $error_type (type $outer))
          (export \"error\" (type $error (eq $outer)))
          (type $failure (variant (case \"last-operation-failed\" (own $error)) (case \"closed\")))
          (export \"stream-error\" (type $stream_error (eq $failure)))
          (export \"[method]output-stream.blocking-write-and-flush\"
            (func (param \"self\" (borrow $stream)) (param \"contents\" (list u8))
              (result (result (error $stream_error)))))))
        (alias export $streams \"output-stream\" (type $stream))
        (import \"wasi:cli/stdout@0.2.0\" (instance $stdout
          (alias outer 1 $stream (type $outer))
          (export \"output-stream\" (type $stream (eq $outer)))
          (export \"get-stdout\" (func (result (own $stream))))))
        (core module $memory (memory (export \"memory\") 1) (data (i32.const 64) \"hello\"))
        (core instance $memory (instantiate $memory))
        (core func $get (canon lower (func $stdout \"get-stdout\")))
        (core func $write
          (canon lower (func $streams \"[method]output-stream.blocking-write-and-flush\")
            (memory $memory \"memory\")))
        (core instance $host (export \"get\" (func $get)) (export \"write\" (func $write)))";
    let core = "(import \"host\" \"get\" (func $get (result i32)))
        (import \"host\" \"write\" (func $write (param i32 i32 i32 i32)))";
    let body =
        "(call $write (call $get) (i32.const 64) (i32.const 5) (i32.const 128)) (i32.const 0)";
    let output = component(imports, core, body).run();
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "hello"),
        "{output:?}"
    );
}

#[test]
fn a_component_that_cannot_fit_is_not_started() {
    let mut guest = component("", "(memory 800)", "(i32.const 0)");
    guest.config.memory_limit = Some(40 << 20);
    let output = guest.run();
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    assert!(
        stderr(&output).contains("cannot make its memory"),
        "{output:?}"
    );
}
