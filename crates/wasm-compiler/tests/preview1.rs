//! Our table of WASI preview 1 against wasmtime-wasi's own functions, and our list of WASI 0.2
//! interfaces against those of its linker.
#![forbid(unsafe_code)]

#[path = "../src/offered.rs"]
mod offered;
#[path = "../src/preview1.rs"]
#[expect(dead_code, reason = "only the table is tested here")]
mod preview1;

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

/// The version that wasmtime-wasi's own interfaces have.
const WIT: &str = "0.2.12";

/// One item of each interface.
const ITEMS: [(&str, &str); 27] = [
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
    // An item can be added once.
    let mut offers = |interface: &str, item: &str| {
        let name = format!("{interface}@{WIT}");
        let mut instance = linker.instance(&name).unwrap();
        let added = instance.func_wrap(item, |_: StoreContextMut<'_, Host>, (): ()| Ok(()));
        added.is_err()
    };
    for (interface, item) in ITEMS {
        assert!(offers(interface, item), "{interface}/{item}");
    }
    assert!(ITEMS.iter().map(|(name, _)| name).eq(offered::INTERFACES));
    // What is in the specification beside them.
    for (interface, item) in [
        ("wasi:clocks/timezone", "display"),
        ("wasi:cli/run", "run"),
        ("wasi:http/types", "fields"),
    ] {
        assert!(!offers(interface, item), "{interface}/{item}");
    }
}
