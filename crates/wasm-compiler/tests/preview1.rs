//! Our table of WASI preview 1 against wasmtime-wasi's own functions, and our list of WASI 0.2
//! interfaces against those of its linker.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "test code")]

#[path = "../src/offered.rs"]
#[expect(dead_code, reason = "only the list is tested here")]
mod offered;
#[path = "../src/preview1.rs"]
#[expect(dead_code, reason = "only the table is tested here")]
mod preview1;

use std::collections::BTreeMap;
use wasmtime::component::{Component, ResourceTable};
use wasmtime::{Engine, Linker, Store};
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

#[test]
fn the_interfaces_are_what_wasmtime_wasi_offers() {
    let engine = Engine::new(&hull_wasm_engine::config()).unwrap();
    let mut linker: wasmtime::component::Linker<Host> = wasmtime::component::Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let offers = |interface: &str| {
        let text = format!("(component (import {interface:?} (instance)))");
        let component = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
        linker.instantiate_pre(&component).is_ok()
    };
    for interface in offered::INTERFACES {
        assert!(offers(&format!("{interface}@0.2.0")), "{interface}");
    }
    for interface in ["wasi:clocks/timezone", "wasi:http/types", "wasi:cli/run"] {
        assert!(!offers(&format!("{interface}@0.2.0")), "{interface}");
    }
    assert!(!offers("wasi:cli/exit@0.3.0"));
}
