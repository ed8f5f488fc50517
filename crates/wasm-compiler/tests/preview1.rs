//! Our table of WASI preview 1 against wasmtime-wasi's own functions, and our lists of interfaces of
//! WASI 0.2 and 0.3 against those of its linker.
#![forbid(unsafe_code)]

#[path = "../src/offered.rs"]
#[expect(dead_code, reason = "only the lists are tested here")]
mod offered;
#[path = "../src/preview1.rs"]
#[expect(dead_code, reason = "only the table is tested here")]
mod preview1;

use offered::Version;
use std::collections::BTreeMap;
use wasmtime::component::{self, ResourceTable};
use wasmtime::{Engine, Linker, Store, StoreContextMut};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// A type as text: `i32 i64 -> i32`.
fn text<T: ToString>(
    params: impl IntoIterator<Item = T>,
    results: impl IntoIterator<Item = T>,
) -> String {
    let list = |types: Vec<String>| types.join(" ");
    let params = list(params.into_iter().map(|t| t.to_string()).collect());
    let results = list(results.into_iter().map(|t| t.to_string()).collect());
    format!("{params} -> {results}")
}

#[test]
fn the_table_is_what_wasmtime_wasi_offers() {
    let engine = Engine::new(&hull_wasm_engine::config()).unwrap();
    let mut linker: Linker<WasiP1Ctx> = Linker::new(&engine);
    wasmtime_wasi::p1::add_to_linker_sync(&mut linker, |context| context).unwrap();
    let mut store = Store::new(&engine, WasiCtxBuilder::new().build_p1());
    let externs: Vec<_> = linker
        .iter(&mut store)
        .map(|(module, name, item)| (module.to_owned(), name.to_owned(), item))
        .collect();
    let mut theirs = BTreeMap::new();
    for (module, name, item) in externs {
        assert_eq!(module, preview1::MODULE);
        let function = item.into_func().unwrap().ty(&store);
        theirs.insert(name, text(function.params(), function.results()));
    }
    let ours: BTreeMap<String, String> = preview1::FUNCTIONS
        .iter()
        .map(|(name, params, results)| ((*name).to_owned(), text(*params, *results)))
        .collect();
    assert_eq!(ours, theirs);
    assert!(preview1::FUNCTIONS.is_sorted_by_key(|(name, ..)| *name));
}

struct Host(WasiCtx, ResourceTable);

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.0,
            table: &mut self.1,
        }
    }
}

/// The versions that wasmtime-wasi's own interfaces have.
const WIT_0_2: &str = "0.2.12";
const WIT_0_3: &str = "0.3.0";

/// One item of each interface of 0.3.
const ITEMS_0_3: [(&str, &str); 19] = [
    ("wasi:cli/environment", "get-environment"),
    ("wasi:cli/exit", "exit"),
    ("wasi:cli/stderr", "write-via-stream"),
    ("wasi:cli/stdin", "read-via-stream"),
    ("wasi:cli/stdout", "write-via-stream"),
    ("wasi:cli/terminal-input", "terminal-input"),
    ("wasi:cli/terminal-output", "terminal-output"),
    ("wasi:cli/terminal-stderr", "get-terminal-stderr"),
    ("wasi:cli/terminal-stdin", "get-terminal-stdin"),
    ("wasi:cli/terminal-stdout", "get-terminal-stdout"),
    ("wasi:clocks/monotonic-clock", "now"),
    ("wasi:clocks/system-clock", "now"),
    ("wasi:filesystem/preopens", "get-directories"),
    ("wasi:filesystem/types", "descriptor"),
    ("wasi:random/insecure", "get-insecure-random-u64"),
    ("wasi:random/insecure-seed", "get-insecure-seed"),
    ("wasi:random/random", "get-random-u64"),
    ("wasi:sockets/ip-name-lookup", "resolve-addresses"),
    ("wasi:sockets/types", "tcp-socket"),
];

/// One item of each interface of 0.2.
const ITEMS_0_2: [(&str, &str); 27] = [
    ("wasi:cli/environment", "get-environment"),
    ("wasi:cli/exit", "exit"),
    ("wasi:cli/stderr", "get-stderr"),
    ("wasi:cli/stdin", "get-stdin"),
    ("wasi:cli/stdout", "get-stdout"),
    ("wasi:cli/terminal-input", "terminal-input"),
    ("wasi:cli/terminal-output", "terminal-output"),
    ("wasi:cli/terminal-stderr", "get-terminal-stderr"),
    ("wasi:cli/terminal-stdin", "get-terminal-stdin"),
    ("wasi:cli/terminal-stdout", "get-terminal-stdout"),
    ("wasi:clocks/monotonic-clock", "now"),
    ("wasi:clocks/wall-clock", "now"),
    ("wasi:filesystem/preopens", "get-directories"),
    ("wasi:filesystem/types", "descriptor"),
    ("wasi:io/error", "error"),
    ("wasi:io/poll", "poll"),
    ("wasi:io/streams", "output-stream"),
    ("wasi:random/insecure", "get-insecure-random-u64"),
    ("wasi:random/insecure-seed", "insecure-seed"),
    ("wasi:random/random", "get-random-u64"),
    ("wasi:sockets/instance-network", "instance-network"),
    ("wasi:sockets/ip-name-lookup", "resolve-addresses"),
    ("wasi:sockets/network", "network"),
    ("wasi:sockets/tcp", "tcp-socket"),
    ("wasi:sockets/tcp-create-socket", "create-tcp-socket"),
    ("wasi:sockets/udp", "udp-socket"),
    ("wasi:sockets/udp-create-socket", "create-udp-socket"),
];

#[test]
fn the_interfaces_are_what_wasmtime_wasi_offers() {
    let engine = Engine::new(&hull_wasm_engine::config()).unwrap();
    let mut linker: component::Linker<Host> = component::Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    wasmtime_wasi::p3::add_to_linker(&mut linker).unwrap();
    // An item can be added once.
    let mut offers = |version: &str, interface: &str, item: &str| {
        let name = format!("{interface}@{version}");
        let mut instance = linker.instance(&name).unwrap();
        let added = instance.func_wrap(item, |_: StoreContextMut<'_, Host>, (): ()| Ok(()));
        added.is_err()
    };
    for (wit, version, items) in [
        (WIT_0_2, Version::V0_2, &ITEMS_0_2[..]),
        (WIT_0_3, Version::V0_3, &ITEMS_0_3),
    ] {
        for (interface, item) in items {
            assert!(offers(wit, interface, item), "{interface}/{item}@{wit}");
        }
        let names = items.iter().map(|(name, _)| name);
        assert!(names.eq(version.interfaces()), "{wit}");
    }
    // What is in the specifications beside them.
    for (wit, interface, item) in [
        (WIT_0_2, "wasi:clocks/timezone", "display"),
        (WIT_0_2, "wasi:cli/run", "run"),
        (WIT_0_3, "wasi:clocks/timezone", "iana-id"),
        (WIT_0_3, "wasi:cli/run", "run"),
        (WIT_0_3, "wasi:io/poll", "poll"),
    ] {
        assert!(!offers(wit, interface, item), "{interface}/{item}@{wit}");
    }
}
