//! The annotation `io.containerd.hull.wasm.features`: proposals that a guest is compiled with.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;

use hull_e2e::{Container, Lab, Spec, Streams, is_one_clear_line};

const FEATURES: &str = "io.containerd.hull.wasm.features";

/// Adds two numbers of 128 bits; exits with the low half of the high word.
const WIDE: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (func (export "_start") (local $low i64) (local $high i64)
        (i64.add128 (i64.const -1) (i64.const 40) (i64.const 1) (i64.const 1))
        (local.set $high) (local.set $low)
        (call $exit (i32.wrap_i64 (i64.add (local.get $low) (local.get $high))))))"#;

/// Exits with the size of a memory of 77 pages of one byte, after growing it by one.
const SMALL_PAGES: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 76 (pagesize 1))
    (func (export "_start")
        (drop (memory.grow (i32.const 1)))
        (call $exit (memory.size))))"#;

/// Exits with a number that went through a struct of the garbage collector.
const GC: &str = r#"(module
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (type $box (struct (field i32)))
    (memory (export "memory") 1)
    (func (export "_start")
        (call $exit (struct.get $box 0 (struct.new $box (i32.const 9))))))"#;

fn guest<'lab>(lab: &'lab Lab, text: &str, features: Option<&str>) -> Container<'lab> {
    let spec = Spec::new(["/guest.wasm"]);
    let spec = match features {
        Some(names) => spec.annotation(FEATURES, names),
        None => spec,
    };
    let container = lab.container_with(&spec, Streams::ALL);
    let module = wat::parse_str(text).unwrap();
    fs::write(container.upper().join("guest.wasm"), module).unwrap();
    container
}

#[test]
fn guest_has_the_features_that_it_asks_for() {
    let lab = Lab::wasm();
    for (text, features, code) in [
        (WIDE, Some("wide-arithmetic"), 42),
        (WIDE, Some("gc,wide-arithmetic,custom-page-sizes"), 42),
        (SMALL_PAGES, Some("custom-page-sizes"), 77),
        (GC, Some("gc,function-references"), 9),
        (GC, None, 9),
    ] {
        let ran = guest(&lab, text, features).run_to_end();
        assert_eq!((ran.status, &*ran.stderr), (code, ""), "{features:?}");
    }
}

#[test]
fn guest_that_asks_for_none_gets_none_even_if_another_got_it() {
    let lab = Lab::wasm();
    assert_eq!(
        guest(&lab, WIDE, Some("wide-arithmetic"))
            .run_to_end()
            .status,
        42
    );
    for features in [None, Some("custom-page-sizes"), Some("simd")] {
        let refused = guest(&lab, WIDE, features).try_create().unwrap_err();
        let advice = "features=wide-arithmetic switches that on";
        is_one_clear_line(refused.message(), &["/guest.wasm", advice]);
    }
    let refused = guest(&lab, SMALL_PAGES, None).try_create().unwrap_err();
    let advice = "features=custom-page-sizes switches that on";
    is_one_clear_line(refused.message(), &["/guest.wasm", advice]);
    assert_eq!(
        guest(&lab, WIDE, Some("wide-arithmetic"))
            .run_to_end()
            .status,
        42
    );
}

#[test]
fn feature_that_there_is_not_is_refused_with_those_that_there_are() {
    let lab = Lab::wasm();
    let refused = guest(&lab, GC, Some("threads")).try_create().unwrap_err();
    is_one_clear_line(
        refused.message(),
        &[FEATURES, "\"threads\"", "memory64", "wide-arithmetic"],
    );
}
