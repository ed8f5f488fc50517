//! Calling one function: arguments as text, results on standard output.

use crate::guest::{Guest, stderr, stdout};
use hull_abi::Entry;
use std::process::Output;

/// Sets what is called and with what.
fn call(guest: &mut Guest, function: &str, arguments: &[&str]) -> Output {
    guest.config.entry = Entry::Function(function.to_owned());
    guest.config.args.truncate(1);
    let arguments = arguments.iter().map(|&argument| argument.to_owned());
    guest.config.args.extend(arguments);
    guest.run()
}

#[track_caller]
fn gives(output: &Output, text: &str) {
    assert_eq!(
        (output.status.code(), stdout(output), stderr(output)),
        (Some(0), text, ""),
        "{output:?}"
    );
}

/// Not started, for this reason in one line.
#[track_caller]
fn refused(output: &Output, causes: &[&str]) {
    assert_eq!(
        (output.status.code(), stdout(output)),
        (Some(126), ""),
        "{output:?}"
    );
    let text = stderr(output);
    assert_eq!(text.lines().count(), 1, "{text}");
    for cause in causes {
        assert!(text.contains(cause), "{text}");
    }
}

const MATHS: &str = r#"(module
    (func (export "add") (param i32 i32) (result i32)
      (i32.add (local.get 0) (local.get 1)))
    (func (export "half") (param f64) (result f64)
      (f64.div (local.get 0) (f64.const 2)))
    (func (export "both") (param i64 f32) (result f32 i64) (local.get 1) (local.get 0))
    (func (export "nothing"))
    (func (export "trap") unreachable))"#;

#[test]
fn functions_of_a_module_are_called() {
    let mut maths = Guest::new(MATHS);
    gives(&call(&mut maths, "add", &["40", "2"]), "42\n");
    gives(&call(&mut maths, "add", &["0xff", "-1"]), "254\n");
    gives(&call(&mut maths, "add", &["4294967295", "0"]), "-1\n");
    gives(&call(&mut maths, "half", &["-3"]), "-1.5\n");
    gives(
        &call(&mut maths, "both", &["9223372036854775807", "1e3"]),
        "1000\n9223372036854775807\n",
    );
    gives(&call(&mut maths, "nothing", &[]), "");
    let trapped = call(&mut maths, "trap", &[]);
    assert_eq!(trapped.status.code(), Some(134), "{trapped:?}");
}

#[test]
fn a_module_is_initialized_before_it_is_called() {
    let mut library = Guest::new(
        r#"(module
        (global $set (mut i32) (i32.const 0))
        (func (export "_initialize") (global.set $set (i32.const 5)))
        (func (export "get") (result i32) (global.get $set)))"#,
    );
    gives(&call(&mut library, "get", &[]), "5\n");
}

#[test]
fn a_function_of_a_command_is_called_without_the_command() {
    let mut guest = Guest::new(
        r#"(module (func (export "_start") unreachable)
        (func (export "seven") (result i32) (i32.const 7)))"#,
    );
    gives(&call(&mut guest, "seven", &[]), "7\n");
}

#[test]
fn wrong_arguments_of_a_module_are_named() {
    let mut maths = Guest::new(MATHS);
    refused(
        &call(&mut maths, "add", &["1"]),
        &["takes 2, but 1 are given"],
    );
    refused(
        &call(&mut maths, "add", &["1", "two"]),
        &["argument 2 (i32) is \"two\""],
    );
    refused(&call(&mut maths, "half", &["half"]), &["argument 1 (f64)"]);
    refused(&call(&mut maths, "missing", &[]), &["\"missing\""]);
}

/// Functions at the outermost level and in an interface. `greet` gives its argument back, `check` an
/// error unless it is true.
const LIBRARY: &str = r#"(component
    (core module $m
      (memory (export "memory") 1)
      (global $free (mut i32) (i32.const 1024))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $free)
        (global.set $free (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 16)))))
      (func (export "greet") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0))
        (i32.store (i32.const 20) (local.get 1))
        (i32.const 16))
      (func (export "add") (param i32 i64) (result i64)
        (i64.add (i64.extend_i32_u (local.get 0)) (local.get 1)))
      (func (export "check") (param i32) (result i32) (i32.eqz (local.get 0)))
      (func (export "swap") (param i32 f32) (result i32)
        (f32.store (i32.const 32) (local.get 1))
        (i32.store8 (i32.const 36) (local.get 0))
        (i32.const 32)))
    (core instance $i (instantiate $m))
    (func (export "greet") (param "name" string) (result string)
      (canon lift (core func $i "greet") (memory $i "memory") (realloc (func $i "realloc"))))
    (func (export "add") (param "a" u8) (param "b" s64) (result s64)
      (canon lift (core func $i "add")))
    (func (export "check") (param "it" bool) (result (result))
      (canon lift (core func $i "check")))
    (type $point' (record (field "x" bool) (field "y" f32)))
    (export $point "point" (type $point'))
    (func $swap (param "p" $point) (result (tuple f32 bool))
      (canon lift (core func $i "swap") (memory $i "memory")))
    (export "swap" (func $swap))
    (func $echo (param "name" string) (result string)
      (canon lift (core func $i "greet") (memory $i "memory") (realloc (func $i "realloc"))))
    (instance $echoes (export "echo" (func $echo)))
    (export "own:lib/echoes@1.2.0" (instance $echoes)))"#;

#[test]
fn functions_of_a_component_take_and_give_wave() {
    let mut library = Guest::new(LIBRARY);
    gives(
        &call(&mut library, "greet", &["\"w\u{f6}rld \\\"x\\\"\""]),
        "\"w\u{f6}rld \\\"x\\\"\"\n",
    );
    gives(&call(&mut library, "add", &["200", "-1"]), "199\n");
    gives(
        &call(&mut library, "swap", &["{x: true, y: 1.5}"]),
        "(1.5, true)\n",
    );
    gives(
        &call(&mut library, "own:lib/echoes@1.2.0#echo", &["\"hi\""]),
        "\"hi\"\n",
    );
}

#[test]
fn a_result_that_is_an_error_is_exit_code_one() {
    let mut library = Guest::new(LIBRARY);
    gives(&call(&mut library, "check", &["true"]), "ok\n");
    let failed = call(&mut library, "check", &["false"]);
    assert_eq!((failed.status.code(), stdout(&failed)), (Some(1), "err\n"));
}

#[test]
fn wrong_arguments_of_a_component_are_named() {
    let mut library = Guest::new(LIBRARY);
    refused(
        &call(&mut library, "add", &[]),
        &["takes 2, but 0 are given"],
    );
    refused(
        &call(&mut library, "add", &["300", "1"]),
        &["argument 1 (a) is \"300\""],
    );
    refused(
        &call(&mut library, "greet", &["unquoted"]),
        &["argument 1 (name) is \"unquoted\""],
    );
    refused(
        &call(&mut library, "swap", &["{x: true}"]),
        &["argument 1 (p)"],
    );
    refused(&call(&mut library, "echo", &["\"x\""]), &["\"echo\""]);
    refused(
        &call(&mut library, "own:lib/echoes@1.2.0#missing", &[]),
        &["missing"],
    );
}

#[test]
fn a_result_that_nobody_takes_is_told() {
    let mut maths = Guest::new(MATHS);
    maths.config.entry = Entry::Function("add".to_owned());
    maths.config.args.extend(["1".to_owned(), "2".to_owned()]);
    let full = std::fs::File::create("/dev/full").unwrap();
    let output = maths.command().stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("cannot print the result"),
        "{output:?}"
    );
}
