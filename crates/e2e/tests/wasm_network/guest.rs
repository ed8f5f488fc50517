//! Components that use the network, made of core WebAssembly text as toolchains make them.

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

/// Numbers of `wasi:sockets/network.error-code`.
pub(crate) const ACCESS_DENIED: u32 = 1;
pub(crate) const INVALID_ARGUMENT: u32 = 3;
pub(crate) const ADDRESS_NOT_BINDABLE: u32 = 11;
pub(crate) const NAME_UNRESOLVABLE: u32 = 18;

/// What a guest says of an error, before it ends with success.
pub(crate) fn error(stage: &str, code: u32) -> String {
    format!("{stage} {code:02}")
}

const STAGES: [&str; 7] = [
    "create", "bind", "listen", "accept", "connect", "resolve", "send",
];

/// Imports, and functions that the guests' own code calls.
const PRELUDE: &str = include_str!("network.wat");

/// Where results are written, and where an address and a name are.
const RESULT: u32 = 128;
const ADDRESS: u32 = 200;
const NAME: u32 = 300;

/// Ends with the stage and the code if the last result is an error; `at` is where its payload is.
fn check(stage: &str, at: u32) -> String {
    let number = STAGES.iter().position(|name| *name == stage).unwrap();
    format!(
        "(if (i32.load8_u (i32.const {RESULT})) (then
           (call $fail (i32.const {}) (i32.const {}) (i32.load8_u (i32.const {})))
           (return (i32.const 0))))",
        16 * number,
        stage.len() + 1,
        RESULT + at
    )
}

/// Repeats a call until its error, at offset 4, is another than would-block.
fn until_ready(call: &str, pollable: &str) -> String {
    format!(
        "(loop $again
           {call}
           (if (i32.and (i32.load8_u (i32.const {RESULT}))
                        (i32.eq (i32.load8_u (i32.const {})) (i32.const 8)))
             (then (call $block {pollable}) (br $again))))",
        RESULT + 4
    )
}

/// The flat form of the IPv4 address in memory at [`ADDRESS`], or of these bytes.
fn flat(bytes: Option<[u8; 4]>, port: u16) -> String {
    let byte = |number: u32| match bytes {
        Some(bytes) => format!("(i32.const {})", bytes[number as usize]),
        None => format!("(i32.load8_u (i32.const {}))", ADDRESS + number),
    };
    let bytes: String = (0..4).map(byte).collect();
    let rest = "(i32.const 0)".repeat(6);
    format!("(i32.const 0) (i32.const {port}) {bytes} {rest}")
}

fn create(protocol: &str) -> String {
    format!(
        "(call $create_{protocol} (i32.const 0) (i32.const {RESULT})) {}
         (global.set $socket (i32.load (i32.const {}))) (global.set $net (call $network))",
        check("create", 4),
        RESULT + 4
    )
}

/// Connects to the address in memory and prints what comes.
fn connect_and_read(port: u16) -> String {
    let finish = format!("(call $finish_connect (global.get $socket) (i32.const {RESULT}))");
    format!(
        "(call $start_connect (global.get $socket) (global.get $net) {} (i32.const {RESULT})) {}
         {} {}
         (call $read (i32.load (i32.const {})) (i64.const 16) (i32.const {RESULT}))
         (if (i32.load8_u (i32.const {RESULT})) (then unreachable))
         (call $print (i32.load (i32.const {})) (i32.load (i32.const {})))",
        flat(None, port),
        check("connect", 1),
        until_ready(&finish, "(call $subscribe (global.get $socket))"),
        check("connect", 4),
        RESULT + 4,
        RESULT + 4,
        RESULT + 8,
    )
}

/// Prints what a peer on this machine says by TCP.
pub(crate) fn tcp_hello(port: u16) -> String {
    module("", &format!("{} {}", create("tcp"), connect_and_read(port)))
}

/// Looks a name up first, and connects to its first address.
pub(crate) fn named_hello(name: &str, port: u16) -> String {
    let next = format!("(call $next (local.get $names) (i32.const {RESULT}))");
    // The error of this result is at offset 2, where that of a success says whether there is an address.
    let body = format!(
        "(global.set $net (call $network))
         (call $resolve (global.get $net) (i32.const {NAME}) (i32.const {}) (i32.const {RESULT})) {}
         (local.set $names (i32.load (i32.const {})))
         (call $block (call $names (local.get $names)))
         {next} {}
         (if (i32.eqz (i32.load8_u (i32.const {}))) (then unreachable))
         (i32.store (i32.const {ADDRESS}) (i32.load (i32.const {})))
         {} {}",
        name.len(),
        check("resolve", 4),
        RESULT + 4,
        check("resolve", 2),
        RESULT + 2,
        RESULT + 6,
        create("tcp"),
        connect_and_read(port),
    );
    module(name, &body)
}

/// Sends a datagram to this machine, with or without connecting first.
pub(crate) fn udp_hello(port: u16, connect: bool) -> String {
    let (some, datagram) = if connect {
        (1, "(i32.store8 (i32.const 408) (i32.const 0))".to_owned())
    } else {
        let remote = format!(
            "(i32.store8 (i32.const 408) (i32.const 1)) (i32.store8 (i32.const 412) (i32.const 0))
             (i32.store16 (i32.const 416) (i32.const {port}))
             (i32.store (i32.const 418) (i32.load (i32.const {ADDRESS})))"
        );
        (0, remote)
    };
    let body = format!(
        "{}
         (call $udp_start_bind (global.get $socket) (global.get $net) {} (i32.const {RESULT})) {}
         (call $udp_finish_bind (global.get $socket) (i32.const {RESULT})) {}
         (call $udp_stream (global.get $socket) (i32.const {some}) {} (i32.const {RESULT})) {}
         (local.set $names (i32.load (i32.const {})))
         (call $check_send (local.get $names) (i32.const {RESULT})) {}
         (i32.store (i32.const 400) (i32.const 700)) (i32.store (i32.const 404) (i32.const 5))
         {datagram}
         (call $send (local.get $names) (i32.const 400) (i32.const 1) (i32.const {RESULT})) {}
         (call $print (i32.const 710) (i32.const 4))",
        create("udp"),
        flat(Some([0, 0, 0, 0]), 0),
        check("bind", 1),
        check("bind", 1),
        flat(None, port),
        check("connect", 4),
        RESULT + 8,
        check("send", 8),
        check("send", 8),
    );
    module("", &body)
}

/// Listens on an address and says hello to the first client.
pub(crate) fn tcp_listen(address: [u8; 4], port: u16) -> String {
    let accept = format!("(call $accept (global.get $socket) (i32.const {RESULT}))");
    let body = format!(
        "{}
         (call $tcp_start_bind (global.get $socket) (global.get $net) {} (i32.const {RESULT})) {}
         (call $tcp_finish_bind (global.get $socket) (i32.const {RESULT})) {}
         (call $start_listen (global.get $socket) (i32.const {RESULT})) {}
         (call $finish_listen (global.get $socket) (i32.const {RESULT})) {}
         {} {}
         (call $write (i32.load (i32.const {})) (i32.const 700) (i32.const 5) (i32.const {RESULT}))
         (if (i32.load8_u (i32.const {RESULT})) (then unreachable))",
        create("tcp"),
        flat(Some(address), port),
        check("bind", 1),
        check("bind", 1),
        check("listen", 1),
        check("listen", 1),
        until_ready(&accept, "(call $subscribe (global.get $socket))"),
        check("accept", 4),
        RESULT + 12,
    );
    module("", &body)
}

fn module(name: &str, body: &str) -> String {
    format!(
        "(module {PRELUDE} (data (i32.const {NAME}) \"{name}\")
           (func (export \"wasi:cli/run@0.2.0#run\") (result i32) (local $names i32)
             {body} (i32.const 0)))"
    )
}

/// The component of a core module.
pub(crate) fn component(text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve
        .push_str("network.wit", include_str!("network.wit"))
        .unwrap();
    let world = resolve.select_world(&[package], Some("test")).unwrap();
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .unwrap();
    let encoder = ComponentEncoder::default().validate(true);
    encoder.module(&module).unwrap().encode().unwrap()
}
