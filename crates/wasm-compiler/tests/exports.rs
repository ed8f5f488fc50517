//! What `hull-wasmc` records of what a module can be run as.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "test code")]

mod program;

use hull_artifact::{EngineId, Exports, Found, Key, Kind, ModuleDigest, Store, Wasi};
use program::{compile, wat};
use std::io::Write as _;

/// Compiles it, stores it and reads what it can be run as.
fn exports(text: &str) -> Exports {
    let outcome = compile(&wat(text));
    assert_eq!(outcome.status, Some(0), "{}", outcome.line);
    let directory = tempfile::tempdir().unwrap();
    let store = Store::prepare(&directory.path().join("store")).unwrap();
    let engine = EngineId::parse("engine").unwrap();
    let key = Key::new(&ModuleDigest::from_bytes([1; 32]), &engine);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&outcome.artifact).unwrap();
    store.insert(&key, &file).unwrap();
    let stored = match store.open(&key).unwrap() {
        Found::Good(file) => Some(file),
        Found::Bad(_) | Found::Absent => None,
    };
    Exports::of_stored(&stored.unwrap()).unwrap()
}

/// Functions as `name (types) -> (types)`, with `!` behind types without text form.
fn functions(exports: &Exports) -> Vec<String> {
    let list = |types: &[hull_artifact::Type]| {
        let texts: Vec<String> = types
            .iter()
            .map(|it| format!("{}{}", it.text, if it.has_text { "" } else { "!" }))
            .collect();
        texts.join(", ")
    };
    let functions = exports.functions().iter();
    functions
        .map(|it| {
            format!(
                "{} ({}) -> ({})",
                it.name,
                list(&it.params),
                list(&it.results)
            )
        })
        .collect()
}

#[test]
fn modules_are_commands_libraries_or_both() {
    let command = exports(r#"(module (func (export "_start")))"#);
    assert_eq!(
        (command.kind, command.commands.as_slice()),
        (Kind::Module, &[Wasi::Preview1][..])
    );
    assert!(command.functions().is_empty() && command.servers.is_empty());

    let library = exports(
        r#"(module
        (func (export "add") (param i32 i64) (result f32) (f32.const 0))
        (func (export "_start") (param f64))
        (func (export "refs") (param externref v128))
        (memory (export "memory") 1))"#,
    );
    assert_eq!((library.commands.len(), library.more()), (0, 0));
    assert_eq!(
        functions(&library),
        [
            "add (i32, i64) -> (f32)",
            "_start (f64) -> ()",
            "refs (externref!, v128!) -> ()",
        ]
    );
}

#[test]
fn components_are_known_by_what_they_export() {
    let runs = |interface: &str| {
        exports(&format!(
            r#"(component
            (core module $m (func (export "f") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (func $f (result (result)) (canon lift (core func $i "f")))
            (instance $it (export "run" (func $f)))
            (export "{interface}" (instance $it))
            (export "also" (func $f)))"#
        ))
    };
    for (interface, commands, servers) in [
        ("wasi:cli/run@0.2.6", &[Wasi::V0_2][..], &[][..]),
        ("wasi:cli/run@0.3.0", &[Wasi::V0_3], &[]),
        ("wasi:http/incoming-handler@0.2.0", &[], &[Wasi::V0_2]),
        ("wasi:http/handler@0.3.1", &[], &[Wasi::V0_3]),
    ] {
        let found = runs(interface);
        assert_eq!(found.kind, Kind::Component);
        let found_all = (found.commands.as_slice(), found.servers.as_slice());
        assert_eq!(found_all, (commands, servers), "{interface}");
        assert_eq!(functions(&found), ["also () -> (result)"]);
    }
    // Drafts and others are interfaces with functions.
    for interface in ["wasi:cli/run@0.3.0-rc-2026-01-06", "own:pkg/iface"] {
        let found = runs(interface);
        assert!(found.commands.is_empty() && found.servers.is_empty());
        let function = format!("{interface}#run () -> (result)");
        assert_eq!(
            functions(&found),
            [function.as_str(), "also () -> (result)"]
        );
    }
}

#[test]
fn types_are_written_as_people_know_them() {
    let found = exports(
        r#"(component
        (core module $m
          (memory (export "memory") 1)
          (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
          (func (export "all") (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) i32.const 0)
          (func (export "handle") (param i32) (result i32) i32.const 0)
          (func (export "nested") (param i32 i32) ))
        (core instance $i (instantiate $m))
        (type $r' (resource (rep i32)))
        (export $r "thing" (type $r'))
        (type $rec' (record (field "a" u8) (field "b" string)))
        (export $rec "rec" (type $rec'))
        (type $l (list u8)) (type $o (option char)) (type $t (tuple s8 bool))
        (type $res (result $l (error string))) (type $err (result (error u8)))
        (type $ll (list $l)) (type $lll (list $ll)) (type $llll (list $lll))
        (func (export "all")
          (param "l" $l) (param "o" $o) (param "r" $rec) (param "t" $t) (result $res)
          (canon lift (core func $i "all") (memory $i "memory") (realloc (func $i "realloc"))))
        (func (export "handle") (param "h" (borrow $r)) (result $err)
          (canon lift (core func $i "handle") (memory $i "memory")))
        (func (export "nested") (param "n" $llll)
          (canon lift (core func $i "nested") (memory $i "memory") (realloc (func $i "realloc")))))"#,
    );
    assert_eq!(
        functions(&found),
        [
            "all (list<u8>, option<char>, record, tuple<s8, bool>) -> (result<list<u8>, string>)",
            "handle (resource!) -> (result<_, u8>)",
            "nested (list<list<list<\u{2026}>>>) -> ()",
        ]
    );
}

#[test]
fn a_module_of_many_exports_is_not_too_much() {
    let mut text = String::from("(module (func $f)");
    for n in 0..20_000 {
        text.push_str(&format!("(export \"function-number-{n}\" (func $f))"));
    }
    let found = exports(&(text + ")"));
    let kept = found.functions().len();
    assert!(kept > 1000 && found.more() > 0);
    assert_eq!(kept + usize::try_from(found.more()).unwrap(), 20_000);
}
