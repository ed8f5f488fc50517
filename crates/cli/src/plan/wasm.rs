//! What annotations ask of Wasm processes, in words.

use super::text::Section;
use crate::layout::Row;
use crate::units::exact_bytes as bytes;
use hull_abi::{HttpSettings, Net, NetRule, Peer, Preopen, Proposal, WasmSettings, World};

/// Only what differs from the defaults.
pub(super) fn section(settings: &WasmSettings) -> Section {
    let world = match settings.world {
        World::ByExports => None,
        World::Command => Some("command".to_owned()),
        World::Http => Some("server of HTTP requests".to_owned()),
    };
    let rows = [
        ("world", world),
        (
            "proposals",
            (!settings.proposals.is_empty()).then(|| Proposal::list(&settings.proposals)),
        ),
        ("directories", settings.preopens.as_deref().map(directories)),
        ("network", net(&settings.net)),
        ("ends after", settings.timeout_ms.map(milliseconds)),
        ("linear memory", settings.max_memory.map(bytes)),
        ("stack", settings.stack.map(bytes)),
        ("core dumps", settings.coredump.clone()),
        (
            "backtrace",
            settings.no_backtrace.then(|| "none".to_owned()),
        ),
    ];
    let rows = rows.into_iter().chain(http(&settings.http));
    let row = |(what, text): (&str, Option<String>)| -> Option<Row> {
        Some(vec![what.into(), text?.into()])
    };
    Section::rows("Wasm", rows.filter_map(row).collect())
}

fn http(http: &HttpSettings) -> [(&'static str, Option<String>); 6] {
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    [
        ("listens on", http.addr.map(|address| address.to_string())),
        ("requests at once", number(http.max_concurrency)),
        ("answer within", http.request_timeout_ms.map(milliseconds)),
        ("drains for", http.drain_timeout_ms.map(milliseconds)),
        ("largest body", http.max_body.map(bytes)),
        ("requests per instance", number(http.max_reuse)),
    ]
}

fn directories(preopens: &[Preopen]) -> String {
    if preopens.is_empty() {
        return "none".to_owned();
    }
    let one = |preopen: &Preopen| {
        let access = if preopen.readonly { " read-only" } else { "" };
        if preopen.path == preopen.guest {
            return format!("{}{access}", preopen.path);
        }
        format!("{} as {}{access}", preopen.path, preopen.guest)
    };
    preopens.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn net(net: &Net) -> Option<String> {
    match net {
        Net::All => None,
        Net::None => Some("none".to_owned()),
        Net::Only(rules) => {
            let rules: Vec<String> = rules.iter().map(rule).collect();
            Some(format!("only {}", rules.join(", ")))
        }
    }
}

fn rule(rule: &NetRule) -> String {
    let peer = match &rule.peer {
        Peer::Subnet(address, bits) => format!("{address}/{bits}"),
        Peer::Name(name) => name.clone(),
    };
    match rule.port {
        Some(port) => format!("{peer} port {port}"),
        None => peer,
    }
}

fn milliseconds(time: u64) -> String {
    match (time / 1000, time % 1000) {
        (seconds, 0) => format!("{seconds} s"),
        _ => format!("{time} ms"),
    }
}
