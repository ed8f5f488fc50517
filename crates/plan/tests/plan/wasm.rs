//! The annotations of Wasm processes.

use crate::refused::check;
use crate::{lower_value, with};
use hull_abi::{MAX_CONCURRENCY, Net, NetRule, Peer, Preopen, Proposal, WasmSettings, World};
use proptest::prelude::*;
use serde_json::json;
use std::net::IpAddr;

const PREFIX: &str = "/annotations/io.containerd.hull.wasm.";

fn settings(annotations: &[(&str, &str)]) -> WasmSettings {
    let paths: Vec<(String, &str)> = annotations
        .iter()
        .map(|(name, value)| (format!("{PREFIX}{name}"), *value))
        .collect();
    let changes: Vec<(&str, serde_json::Value)> = paths
        .iter()
        .map(|(path, value)| (path.as_str(), json!(value)))
        .collect();
    lower_value(&with(&changes)).unwrap().wasm
}

/// Checks that each value is refused for the reason behind it.
fn refused(name: &str, rows: &[(&str, &str)]) {
    for (value, why) in rows {
        let want = format!("annotations[\"io.containerd.hull.wasm.{name}\"]: {why}");
        check(&[(&format!("{PREFIX}{name}"), json!(value), &want)]);
    }
}

fn preopen(path: &str, guest: &str, readonly: bool) -> Preopen {
    Preopen {
        path: path.to_owned(),
        guest: guest.to_owned(),
        readonly,
    }
}

fn subnet(address: &str, bits: u8, port: Option<u16>) -> NetRule {
    let peer = Peer::Subnet(address.parse().unwrap(), bits);
    NetRule { peer, port }
}

fn name(name: &str, port: Option<u16>) -> NetRule {
    let peer = Peer::Name(name.to_owned());
    NetRule { peer, port }
}

#[test]
fn without_annotations_everything_is_as_it_was() {
    assert_eq!(settings(&[]), WasmSettings::default());
}

#[test]
fn all_at_once() {
    let got = settings(&[
        ("world", "http"),
        ("features", "gc,wide-arithmetic"),
        ("preopens", "/data=/guest:ro;/=/:rw"),
        ("net", "10.0.0.0/8:443,example.com"),
        ("timeout", "90s"),
        ("max-memory", "64Mi"),
        ("max-wasm-stack", "1Mi"),
        ("coredump", "/dumps/"),
        ("backtrace", "off"),
        ("http.addr", "[::1]:80"),
        ("http.max-concurrency", "16"),
        ("http.request-timeout", "500ms"),
        ("http.drain-timeout", "0s"),
        ("http.max-body", "0"),
        ("http.max-reuse", "128"),
    ]);
    let want = WasmSettings {
        world: World::Http,
        proposals: vec![Proposal::WideArithmetic],
        preopens: Some(vec![
            preopen("/data", "/guest", true),
            preopen("/", "/", false),
        ]),
        net: Net::Only(vec![
            subnet("10.0.0.0", 8, Some(443)),
            name("example.com", None),
        ]),
        timeout_ms: Some(90_000),
        max_memory: Some(64 << 20),
        stack: Some(1 << 20),
        coredump: Some("/dumps".to_owned()),
        no_backtrace: true,
        http: hull_abi::HttpSettings {
            addr: Some("[::1]:80".parse().unwrap()),
            max_concurrency: Some(16),
            request_timeout_ms: Some(500),
            drain_timeout_ms: Some(0),
            max_body: Some(0),
            max_reuse: Some(128),
        },
    };
    assert_eq!(got, want);
}

#[test]
fn a_name_with_a_mistake_is_not_ignored() {
    let names = "world, features, preopens, net, timeout, max-memory, max-wasm-stack, coredump, backtrace, \
         http.addr, http.max-concurrency, http.request-timeout, http.drain-timeout, http.max-body, http.max-reuse";
    let why = format!("hull has no such annotation; it has {names}");
    for name in ["preopen", "Net", "http", "http.", ""] {
        refused(name, &[("x", &why)]);
    }
}

#[test]
fn worlds_and_switches() {
    assert_eq!(settings(&[("world", "command")]).world, World::Command);
    assert!(!settings(&[("backtrace", "on")]).no_backtrace);
    refused(
        "world",
        &[("proxy", "\"proxy\" is not \"command\" or \"http\"")],
    );
    refused("backtrace", &[("no", "\"no\" is not \"on\" or \"off\"")]);
}

#[test]
fn preopens() {
    let of = |value| settings(&[("preopens", value)]).preopens.unwrap();
    assert_eq!(of("none"), []);
    assert_eq!(of("/a//b/../c"), [preopen("/a/c", "/a/c", false)]);
    assert_eq!(of("/a=.:ro"), [preopen("/a", ".", true)]);
    assert_eq!(of("/a=b=c:rw"), [preopen("/a", "b=c", false)]);
    // What is above the root is the root.
    assert_eq!(of("/../..=x"), [preopen("/", "x", false)]);
    let form = "is not PATH, PATH=NAME or one of them with :ro or :rw, where PATH is absolute in the \
         container, as in \"/data=/guest:ro\"";
    refused(
        "preopens",
        &[
            ("", &format!("\"\" {form}")),
            ("data", &format!("\"data\" {form}")),
            ("/a;", &format!("\"\" {form}")),
            ("=/a", &format!("\"=/a\" {form}")),
            ("none;/a", &format!("\"none\" {form}")),
            ("/a=", "\"/a=\" names nothing behind the ="),
            ("/a=:ro", "\"/a=:ro\" names nothing behind the ="),
            ("/a=/x;/b=/x", "two directories are called \"/x\""),
        ],
    );
    let many: Vec<String> = (0..65).map(|number| format!("/{number}")).collect();
    refused(
        "preopens",
        &[(&many.join(";"), "there are more than 64 directories")],
    );
}

#[test]
fn peers() {
    let of = |value| settings(&[("net", value)]).net;
    assert_eq!(of("all"), Net::All);
    assert_eq!(of("none"), Net::None);
    for (value, rule) in [
        ("192.168.1.7", subnet("192.168.1.7", 32, None)),
        ("192.168.1.7:53", subnet("192.168.1.7", 32, Some(53))),
        ("0.0.0.0/0:443", subnet("0.0.0.0", 0, Some(443))),
        ("fd00::/8", subnet("fd00::", 8, None)),
        ("::1", subnet("::1", 128, None)),
        ("[::1]", subnet("::1", 128, None)),
        ("[fd00::/8]:443", subnet("fd00::", 8, Some(443))),
        ("[::1]:65535", subnet("::1", 128, Some(65535))),
        ("Example.COM.", name("example.com", None)),
        ("db:5432", name("db", Some(5432))),
        ("my_db.ns.svc", name("my_db.ns.svc", None)),
        ("10.in-addr.arpa", name("10.in-addr.arpa", None)),
    ] {
        assert_eq!(of(value), Net::Only(vec![rule]), "{value:?}");
    }
}

#[test]
fn peers_that_are_none() {
    let form = "is not an address, a subnet or a host name, with or without a port, as in \
         \"10.0.0.0/8:443\", \"[fd00::/8]:443\" or \"example.com:443\"";
    let form = |text: &str| format!("{text:?} {form}");
    let port = |text: &str, port: &str| {
        format!("{text:?}: {port:?} is not a port, a whole number from 1 to 65535")
    };
    refused(
        "net",
        &[
            ("", &form("")),
            ("a,,b", &form("")),
            (" a", &form(" a")),
            ("*.example.com", &form("*.example.com")),
            (
                "http://example.com",
                "\"http://example.com\": \"//example.com\" is not a port, a whole number from 1 to 65535",
            ),
            ("-a", &form("-a")),
            ("a..b", &form("a..b")),
            ("1.2.3", &form("1.2.3")),
            ("1.2.3.256", &form("1.2.3.256")),
            ("[1.2.3.4]:80", &form("[1.2.3.4]:80")),
            ("[::1", &form("[::1")),
            ("[::1]80", &form("[::1]80")),
            ("a,all", "\"all\" stands alone or not at all"),
            ("none,none", "\"none\" stands alone or not at all"),
            ("a:0", &port("a:0", "0")),
            ("a:", &port("a:", "")),
            ("a:+1", &port("a:+1", "+1")),
            ("a:65536", &port("a:65536", "65536")),
            (
                "10.0.0.0/33",
                "\"10.0.0.0/33\": \"33\" is not a number of bits from 0 to 32",
            ),
            (
                "10.0.0.0/",
                "\"10.0.0.0/\": \"\" is not a number of bits from 0 to 32",
            ),
            (
                "::/129",
                "\"::/129\": \"129\" is not a number of bits from 0 to 128",
            ),
            (
                "example.com/8",
                "\"example.com/8\": \"example.com\" is not an IP address",
            ),
            (
                "::ffff:1.2.3.4",
                "\"::ffff:1.2.3.4\": ::ffff:1.2.3.4 is an IPv4 address as IPv6; a guest connects to 1.2.3.4",
            ),
        ],
    );
    let many = vec!["a"; 257].join(",");
    refused("net", &[(&many, "there are more than 256 peers")]);
}

#[test]
fn times_sizes_and_numbers() {
    for (value, want) in [
        ("1ms", 1),
        ("5m", 300_000),
        ("2h", 7_200_000),
        ("007s", 7000),
    ] {
        assert_eq!(settings(&[("timeout", value)]).timeout_ms, Some(want));
    }
    for (value, want) in [("1", 1), ("3k", 3000), ("2Ti", 2 << 40)] {
        assert_eq!(settings(&[("max-memory", value)]).max_memory, Some(want));
    }
    let time = |text: &str| {
        format!("{text:?} is not a whole number with a unit of ms, s, m or h, as in \"90s\"")
    };
    refused(
        "timeout",
        &[
            ("", &time("")),
            ("90", &time("90")),
            ("1.5s", &time("1.5s")),
            ("-1s", &time("-1s")),
            ("1 s", &time("1 s")),
            ("99999999999999999999s", &time("99999999999999999999s")),
            ("0s", "\"0s\" is no time at all"),
            ("9000h", "\"9000h\" is longer than a year"),
        ],
    );
    let size = |text: &str| {
        format!(
            "{text:?} is not a number of bytes, alone or with a unit of k, M, G, T, Ki, Mi, Gi or Ti, as in \"64Mi\""
        )
    };
    refused(
        "max-memory",
        &[
            ("64MB", &size("64MB")),
            ("Mi", &size("Mi")),
            ("99999999Ti", &size("99999999Ti")),
            ("0", "\"0\" is less than 1 bytes"),
        ],
    );
    refused(
        "max-wasm-stack",
        &[
            ("1Ki", "\"1Ki\" is less than 65536 bytes"),
            ("1Gi", "\"1Gi\" is more than 268435456 bytes"),
        ],
    );
    let count = |text: &str| format!("{text:?} is not a whole number from 1 to {MAX_CONCURRENCY}");
    refused(
        "http.max-concurrency",
        &[
            ("0", &count("0")),
            ("4097", &count("4097")),
            ("1k", &count("1k")),
        ],
    );
}

#[test]
fn addresses_and_directories() {
    let form = |text: &str| {
        format!("{text:?} is not ADDRESS:PORT, as in \"0.0.0.0:8080\" or \"[::]:8080\"")
    };
    refused(
        "http.addr",
        &[
            ("8080", &form("8080")),
            (":8080", &form(":8080")),
            ("localhost:8080", &form("localhost:8080")),
            ("0.0.0.0:0", &form("0.0.0.0:0")),
        ],
    );
    refused(
        "coredump",
        &[(
            "dumps",
            "\"dumps\" is not an absolute path in the container",
        )],
    );
}

proptest! {
    /// Whatever is written, there is an answer, and it is one line.
    #[test]
    fn any_value_is_answered(
        name in prop::sample::select(vec![
            "world", "preopens", "net", "timeout", "max-memory", "max-wasm-stack", "coredump", "backtrace",
            "http.addr", "http.max-concurrency", "http.request-timeout", "http.max-body", "x",
        ]),
        value in prop_oneof![any::<String>(), "[0-9a-z/.:=;,\\[\\]%]{0,40}"],
    ) {
        let config = with(&[(&format!("{PREFIX}{name}"), json!(value))]);
        match lower_value(&config) {
            Ok(plan) => {
                for preopen in plan.wasm.preopens.iter().flatten() {
                    prop_assert!(preopen.path.starts_with('/') && !preopen.guest.is_empty());
                    prop_assert!(!preopen.path.split('/').any(|part| part == ".."));
                }
            }
            Err(invalid) => {
                let message = invalid.to_string();
                prop_assert!(message.contains("annotations") && !message.contains('\n'), "{}", message);
            }
        }
    }

    /// A rule says what was written.
    #[test]
    fn subnets_survive(address: IpAddr, bits in 0_u8..=128, port in 1_u16..) {
        prop_assume!(address.to_canonical() == address);
        let bits = if address.is_ipv4() { bits % 33 } else { bits };
        let text = match address {
            IpAddr::V4(address) => format!("{address}/{bits}:{port}"),
            IpAddr::V6(address) => format!("[{address}/{bits}]:{port}"),
        };
        let rule = NetRule { peer: Peer::Subnet(address, bits), port: Some(port) };
        prop_assert_eq!(settings(&[("net", &text)]).net, Net::Only(vec![rule]));
    }

    #[test]
    fn times_survive(milliseconds in 1_u64..31_536_000_000) {
        let text = format!("{milliseconds}ms");
        prop_assert_eq!(settings(&[("timeout", &text)]).timeout_ms, Some(milliseconds));
    }
}
