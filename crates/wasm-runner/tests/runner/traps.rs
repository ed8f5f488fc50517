//! Traps: one block on stderr with the cause and the names of functions, exit code 134.

use crate::guest::{Guest, command, module, stderr};

fn assert_trap(guest: &Guest, cause: &str, function: &str) {
    let output = guest.run();
    assert_eq!(output.status.code(), Some(134), "{output:?}");
    let text = stderr(&output);
    let expected = format!("hull-wasm: trap: {cause}\n");
    assert!(text.starts_with(&expected), "{text:?}");
    assert!(text.contains(function), "{text:?}");
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text:?}");
}

#[test]
fn every_kind_of_trap_is_told() {
    for (body, cause) in [
        ("unreachable", "wasm `unreachable` instruction executed"),
        (
            "(drop (i32.load (i32.const 0x10000)))",
            "out of bounds memory access",
        ),
        (
            "(drop (i32.div_u (i32.const 1) (i32.load (i32.const 0))))",
            "integer divide by zero",
        ),
        ("(call $main)", "call stack exhausted"),
    ] {
        assert_trap(&command(body), cause, "!main");
    }
}

#[test]
fn indirect_calls_are_checked() {
    let table = "(table 2 funcref) (elem (i32.const 0) $other) (func $other (param i32)) \
                 (func (export \"_start\") (call $main))";
    let wrong_type = module("(call_indirect (i32.const 0))", table);
    assert_trap(
        &Guest::new(&wrong_type),
        "indirect call type mismatch",
        "!main",
    );
    let nothing = module("(call_indirect (i32.const 1))", table);
    assert_trap(&Guest::new(&nothing), "uninitialized element", "!main");
    let beyond = module("(call_indirect (i32.const 9))", table);
    assert_trap(
        &Guest::new(&beyond),
        "undefined element: out of bounds table access",
        "!main",
    );
}

#[test]
fn names_are_demangled_and_harmless() {
    let rest = "(func $_ZN3foo3bar17h05af221e174051e9E (unreachable)) \
                (func (export \"_start\") (call $_ZN3foo3bar17h05af221e174051e9E))";
    assert_trap(
        &Guest::new(&module("", rest)),
        "wasm `unreachable` instruction executed",
        "foo::bar",
    );
    let rest = "(func (@name \"a\\1b[31mb\") (unreachable)) (func (export \"_start\") (call 10))";
    let guest = Guest::new(&module("", rest));
    assert_trap(&guest, "wasm `unreachable` instruction executed", "a?[31mb");
}

#[test]
fn a_start_function_may_trap_too() {
    let rest = "(start $main) (func (export \"_start\"))";
    let guest = Guest::new(&module("unreachable", rest));
    assert_trap(&guest, "wasm `unreachable` instruction executed", "!main");
}

#[test]
fn an_exception_that_nobody_catches_is_told() {
    let rest = "(tag $oops) (func (export \"_start\") (throw $oops))";
    let output = Guest::new(&module("", rest)).run();
    assert_eq!(output.status.code(), Some(134), "{output:?}");
    assert!(
        stderr(&output).starts_with("hull-wasm: trap: "),
        "{output:?}"
    );
}

#[test]
fn garbage_collected_guests_run() {
    let rest = "(type $pair (struct (field i32) (field i32))) \
                (func (export \"_start\") (local $n i32) (local $p (ref null $pair)) \
                  (loop $again \
                    (local.set $p (struct.new $pair (local.get $n) (i32.const 7))) \
                    (br_if $again (i32.lt_u \
                      (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1000000)))) \
                  (call $proc_exit (struct.get $pair 1 (local.get $p))))";
    let output = Guest::new(&module("", rest)).run();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
}
