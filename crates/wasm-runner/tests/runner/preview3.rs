//! Components of WASI 0.3, and such that use both 0.2 and 0.3.

use crate::guest::{Guest, stderr, stdout, wait_until_confined};
use std::io::Write as _;
use std::process::Output;

/// What the test images have, too.
const HELLO: &str = include_str!("../../../../test-images/guests/command-0.3.wat");

/// A component whose `wasi:cli/run@0.3.0` is `body` of a core function that results in 0 (ok) or 1
/// (err). `host` are core functions that it may import from "host".
fn component(imports: &str, host: &str, core: &str, body: &str) -> Guest {
    Guest::new(&format!(
        "(component
           {imports}
           (core module $memory (memory (export \"memory\") 1))
           (core instance $memory (instantiate $memory))
           (core instance $host {host})
           (core module $m
             {core}
             (import \"memory\" \"memory\" (memory 1))
             (func $run (export \"run\") (result i32) {body}))
           (core instance $i (instantiate $m
             (with \"host\" (instance $host)) (with \"memory\" (instance $memory))))
           (func $run async (result (result)) (canon lift (core func $i \"run\")))
           (instance $command (export \"run\" (func $run)))
           (export \"wasi:cli/run@0.3.0\" (instance $command)))"
    ))
}

#[track_caller]
fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

#[test]
fn the_result_is_the_exit_code() {
    ends(&component("", "", "", "(i32.const 0)").run(), 0);
    ends(&component("", "", "", "(i32.const 1)").run(), 1);
}

#[test]
fn what_is_written_to_the_stream_is_out() {
    let output = Guest::new(HELLO).run();
    ends(&output, 0);
    assert_eq!(
        (stdout(&output), stderr(&output)),
        ("hello from WASI 0.3\n", "")
    );
}

#[test]
fn a_closed_reader_is_an_error_and_no_signal() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Guest::new(HELLO).command().stdout(writer).output().unwrap();
    ends(&output, 1);
    assert_eq!(stderr(&output), "");
}

/// `exit-with-code` takes the whole range.
#[test]
fn exit_ends_it_with_a_code() {
    let imports = "(import \"wasi:cli/exit@0.3.0\" (instance $exit
          (export \"exit-with-code\" (func (param \"status-code\" u8)))))
        (core func $exit (canon lower (func $exit \"exit-with-code\")))";
    let core = "(import \"host\" \"exit\" (func $exit (param i32)))";
    for code in [0, 7, 255] {
        let body = format!("(call $exit (i32.const {code})) unreachable");
        let host = "(export \"exit\" (func $exit))";
        ends(&component(imports, host, core, &body).run(), code);
    }
}

#[test]
fn a_trap_is_one() {
    let output = component("", "", "", "unreachable").run();
    ends(&output, 134);
    let text = stderr(&output);
    assert!(
        text.starts_with("hull-wasm: trap: wasm `unreachable`"),
        "{text}"
    );
}

/// Stdin, from which the guest reads up to 3 bytes.
const READ: &str = "(import \"wasi:cli/types@0.3.0\" (instance $types
      (type $code (enum \"io\" \"illegal-byte-sequence\" \"pipe\"))
      (export \"error-code\" (type (eq $code)))))
    (alias export $types \"error-code\" (type $error_code))
    (import \"wasi:cli/stdin@0.3.0\" (instance $stdin
      (alias outer 1 $error_code (type $outer))
      (export \"error-code\" (type $code (eq $outer)))
      (type $bytes (stream u8))
      (type $end (future (result (error $code))))
      (export \"read-via-stream\" (func (result (tuple $bytes $end))))))
    (import \"wasi:cli/exit@0.3.0\" (instance $exit
      (export \"exit-with-code\" (func (param \"status-code\" u8)))))
    (core func $exit (canon lower (func $exit \"exit-with-code\")))
    (type $bytes (stream u8))
    (core module $early (memory (export \"memory\") 1))
    (core instance $early (instantiate $early))
    (core func $open (canon lower (func $stdin \"read-via-stream\") (memory $early \"memory\")))
    (core func $read (canon stream.read $bytes async (memory $early \"memory\")))
    (core func $set (canon waitable-set.new))
    (core func $join (canon waitable.join))
    (core func $wait (canon waitable-set.wait (memory $early \"memory\")))";
const READ_HOST: &str = "(export \"open\" (func $open)) (export \"read\" (func $read))
    (export \"set\" (func $set)) (export \"join\" (func $join)) (export \"wait\" (func $wait))
    (export \"exit\" (func $exit)) (export \"early\" (memory $early \"memory\"))";
const READ_CORE: &str = "(import \"host\" \"open\" (func $open (param i32)))
    (import \"host\" \"read\" (func $read (param i32 i32 i32) (result i32)))
    (import \"host\" \"exit\" (func $exit (param i32)))
    (import \"host\" \"set\" (func $set (result i32)))
    (import \"host\" \"join\" (func $join (param i32 i32)))
    (import \"host\" \"wait\" (func $wait (param i32 i32) (result i32)))
    (import \"host\" \"early\" (memory $early 1))";

/// Exits with what the read gave: 16 times the bytes, plus 1 if the stream has ended.
const READ_BODY: &str = "(local $set i32) (local $stream i32) (local $code i32)
    (call $open (i32.const 0))
    (local.set $stream (i32.load $early (i32.const 0)))
    (local.set $code (call $read (local.get $stream) (i32.const 64) (i32.const 3)))
    (if (i32.eq (local.get $code) (i32.const -1)) (then
      (local.set $set (call $set))
      (call $join (local.get $stream) (local.get $set))
      (drop (call $wait (local.get $set) (i32.const 16)))
      (local.set $code (i32.load $early (i32.const 20)))))
    (call $exit (local.get $code))
    unreachable";

#[test]
fn input_comes_from_the_descriptor_and_no_more_than_was_asked_for() {
    let guest = component(READ, READ_HOST, READ_CORE, READ_BODY);
    ends(&guest.run_with_input(b"ab"), 2 << 4);
    ends(&guest.run_with_input(b""), 1);

    let file = guest.directory.path().join("input");
    std::fs::write(&file, "abcdef").unwrap();
    let mut file = std::fs::File::open(file).unwrap();
    let same = file.try_clone().unwrap();
    let output = guest.command().stdin(same).output().unwrap();
    ends(&output, 3 << 4);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut file, &mut rest).unwrap();
    assert_eq!(rest, "def");
}

#[test]
fn waiting_for_input_ends_with_it() {
    let mut child = component(READ, READ_HOST, READ_CORE, READ_BODY).spawn();
    wait_until_confined(child.id());
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1 << 4));
}

/// Asks the clock of 0.3 to wait, and the one of 0.2 how long that took; its exit code is the milliseconds
/// over 10, so that it fits.
#[test]
fn interfaces_of_both_versions_can_be_mixed() {
    let imports = "(import \"wasi:clocks/types@0.3.0\" (instance $types
          (type $length u64) (export \"duration\" (type (eq $length)))))
        (alias export $types \"duration\" (type $duration))
        (import \"wasi:clocks/monotonic-clock@0.3.0\" (instance $new
          (alias outer 1 $duration (type $outer))
          (export \"duration\" (type $length (eq $outer)))
          (export \"wait-for\" (func async (param \"how-long\" $length)))))
        (import \"wasi:clocks/monotonic-clock@0.2.3\" (instance $old
          (type $moment u64) (export \"instant\" (type $instant (eq $moment)))
          (export \"now\" (func (result $instant)))))
        (import \"wasi:cli/exit@0.3.0\" (instance $exit
          (export \"exit-with-code\" (func (param \"status-code\" u8)))))
        (core func $exit (canon lower (func $exit \"exit-with-code\")))
        (core func $wait (canon lower (func $new \"wait-for\")))
        (core func $now (canon lower (func $old \"now\")))";
    let host = "(export \"wait\" (func $wait)) (export \"now\" (func $now))
        (export \"exit\" (func $exit))";
    let core = "(import \"host\" \"wait\" (func $wait (param i64)))
        (import \"host\" \"now\" (func $now (result i64)))
        (import \"host\" \"exit\" (func $exit (param i32)))";
    let body = "(local $began i64) (local.set $began (call $now))
        (call $wait (i64.const 100000000))
        (call $exit (select (i32.const 42) (i32.const 43)
          (i64.ge_u (i64.sub (call $now) (local.get $began)) (i64.const 100000000))))
        unreachable";
    ends(&component(imports, host, core, body).run(), 42);
}

/// Nothing can wake it any more: better a trap than a container that hangs.
#[test]
fn a_guest_that_waits_for_itself_traps() {
    let imports = "(core module $early (memory (export \"memory\") 1))
        (core instance $early (instantiate $early))
        (core func $set (canon waitable-set.new))
        (core func $wait (canon waitable-set.wait (memory $early \"memory\")))";
    let host = "(export \"set\" (func $set)) (export \"wait\" (func $wait))";
    let core = "(import \"host\" \"set\" (func $set (result i32)))
        (import \"host\" \"wait\" (func $wait (param i32 i32) (result i32)))";
    let body = "(call $wait (call $set) (i32.const 0))";
    let output = component(imports, host, core, body).run();
    ends(&output, 134);
    assert!(stderr(&output).contains("deadlock"), "{output:?}");
}

#[test]
fn names_are_resolved_where_there_is_a_network() {
    let imports = "(import \"wasi:sockets/types@0.3.0\" (instance $types
          (type $v4 (tuple u8 u8 u8 u8)) (export \"ipv4-address\" (type $four (eq $v4)))
          (type $v6 (tuple u16 u16 u16 u16 u16 u16 u16 u16))
          (export \"ipv6-address\" (type $six (eq $v6)))
          (type $any (variant (case \"ipv4\" $four) (case \"ipv6\" $six)))
          (export \"ip-address\" (type (eq $any)))))
        (alias export $types \"ip-address\" (type $address))
        (import \"wasi:sockets/ip-name-lookup@0.3.0\" (instance $lookup
          (alias outer 1 $address (type $outer))
          (export \"ip-address\" (type $address (eq $outer)))
          (type $codes (variant (case \"access-denied\") (case \"invalid-argument\")
            (case \"name-unresolvable\") (case \"temporary-resolver-failure\")
            (case \"permanent-resolver-failure\") (case \"other\" (option string))))
          (export \"error-code\" (type $code (eq $codes)))
          (type $found (list $address))
          (export \"resolve-addresses\"
            (func async (param \"name\" string) (result (result $found (error $code)))))))
        (core module $early (memory (export \"memory\") 1)
          (data (i32.const 0) \"localhost\")
          (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
        (core instance $early (instantiate $early))
        (core func $resolve (canon lower (func $lookup \"resolve-addresses\")
          (memory $early \"memory\") (realloc (func $early \"realloc\"))))";
    let host = "(export \"resolve\" (func $resolve)) (export \"early\" (memory $early \"memory\"))";
    let core = "(import \"host\" \"resolve\" (func $resolve (param i32 i32 i32)))
        (import \"host\" \"early\" (memory $early 1))";
    let resolve = "(call $resolve (i32.const 0) (i32.const 9) (i32.const 64))";
    // Success (0) in the first byte, and a list that is not empty behind it.
    let body = format!(
        "{resolve} (i32.or (i32.load8_u $early (i32.const 64))
           (i32.eqz (i32.load $early (i32.const 72))))"
    );
    ends(&component(imports, host, core, &body).run(), 0);
    // Error (1) in the first byte, and the code, which is the first (0), behind it.
    let body = format!(
        "{resolve} (i32.ne (i32.load8_u $early (i32.const 64)) (i32.const 1))
         (i32.or (i32.load8_u $early (i32.const 68)))"
    );
    let mut denied = component(imports, host, core, &body);
    denied.config.settings.net = hull_abi::Net::None;
    ends(&denied.run(), 0);
}

/// All codes of `wasi:filesystem/types` but the last one, which has a text.
const CODES: &str = "access already bad-descriptor busy deadlock quota exist file-too-large \
    illegal-byte-sequence in-progress interrupted invalid io is-directory loop \
    too-many-links message-size name-too-long no-device no-entry no-lock insufficient-memory \
    insufficient-space not-directory not-empty not-recoverable unsupported no-tty \
    no-such-device overflow not-permitted pipe read-only invalid-seek text-file-busy \
    cross-device";

/// Lists the first preopened directory; exits with the length of the first entry's name plus 100 if there
/// is a second one.
fn list() -> Guest {
    let codes: String = CODES
        .split_whitespace()
        .map(|code| format!("(case \"{code}\") "))
        .collect();
    let imports = format!(
        "(import \"wasi:filesystem/types@0.3.0\" (instance $types
          (export \"descriptor\" (type $descriptor (sub resource)))
          (type $kinds (variant (case \"block-device\") (case \"character-device\")
            (case \"directory\") (case \"fifo\") (case \"symbolic-link\") (case \"regular-file\")
            (case \"socket\") (case \"other\" (option string))))
          (export \"descriptor-type\" (type $kind (eq $kinds)))
          (type $entries (record (field \"type\" $kind) (field \"name\" string)))
          (export \"directory-entry\" (type $entry (eq $entries)))
          (type $codes (variant {codes} (case \"other\" (option string))))
          (export \"error-code\" (type $code (eq $codes)))
          (type $list (stream $entry))
          (type $end (future (result (error $code))))
          (export \"[method]descriptor.read-directory\"
            (func (param \"self\" (borrow $descriptor)) (result (tuple $list $end))))))
        (alias export $types \"descriptor\" (type $descriptor))
        (alias export $types \"directory-entry\" (type $entry))
        (import \"wasi:filesystem/preopens@0.3.0\" (instance $preopens
          (alias outer 1 $descriptor (type $outer))
          (export \"descriptor\" (type $descriptor (eq $outer)))
          (export \"get-directories\" (func (result (list (tuple (own $descriptor) string)))))))
        (import \"wasi:cli/exit@0.3.0\" (instance $exit
          (export \"exit-with-code\" (func (param \"status-code\" u8)))))
        (core func $exit (canon lower (func $exit \"exit-with-code\")))
        (core module $early (memory (export \"memory\") 1)
          (global $free (mut i32) (i32.const 4096))
          (func (export \"realloc\") (param i32 i32 i32 i32) (result i32)
            (global.get $free)
            (global.set $free (i32.add (global.get $free)
              (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -8))))))
        (core instance $early (instantiate $early))
        (type $entries (stream $entry))
        (core func $roots (canon lower (func $preopens \"get-directories\")
          (memory $early \"memory\") (realloc (func $early \"realloc\"))))
        (core func $list (canon lower (func $types \"[method]descriptor.read-directory\")
          (memory $early \"memory\")))
        (core func $read (canon stream.read $entries async
          (memory $early \"memory\") (realloc (func $early \"realloc\"))))
        (core func $set (canon waitable-set.new))
        (core func $join (canon waitable.join))
        (core func $wait (canon waitable-set.wait (memory $early \"memory\")))"
    );
    let host = "(export \"roots\" (func $roots)) (export \"list\" (func $list))
        (export \"read\" (func $read)) (export \"exit\" (func $exit))
        (export \"set\" (func $set)) (export \"join\" (func $join)) (export \"wait\" (func $wait))
        (export \"early\" (memory $early \"memory\"))";
    let core = "(import \"host\" \"roots\" (func $roots (param i32)))
        (import \"host\" \"list\" (func $list (param i32 i32)))
        (import \"host\" \"read\" (func $read (param i32 i32 i32) (result i32)))
        (import \"host\" \"set\" (func $set (result i32)))
        (import \"host\" \"join\" (func $join (param i32 i32)))
        (import \"host\" \"wait\" (func $wait (param i32 i32) (result i32)))
        (import \"host\" \"exit\" (func $exit (param i32)))
        (import \"host\" \"early\" (memory $early 1))";
    // An entry has 24 bytes; the length of its name is the last number of them.
    let body = "(local $got i32) (local $set i32)
        (call $roots (i32.const 0))
        (call $list (i32.load $early (i32.load $early (i32.const 0))) (i32.const 8))
        (local.set $got (call $read (i32.load $early (i32.const 8)) (i32.const 64) (i32.const 4)))
        (if (i32.eq (local.get $got) (i32.const -1)) (then
          (local.set $set (call $set))
          (call $join (i32.load $early (i32.const 8)) (local.get $set))
          (drop (call $wait (local.get $set) (i32.const 16)))
          (local.set $got (i32.load $early (i32.const 20)))))
        (call $exit (i32.add (i32.load $early (i32.const 84))
          (i32.mul (i32.const 100) (i32.gt_u (local.get $got) (i32.const 31)))))
        unreachable";
    component(&imports, host, core, body)
}

/// Where a directory is read on another thread there is none.
#[test]
fn a_directory_is_listed() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("seven!!"), "").unwrap();
    ends(&list().preopen(directory.path(), true).run(), 7);
    std::fs::write(directory.path().join("other!!"), "").unwrap();
    ends(&list().preopen(directory.path(), true).run(), 107);
}
