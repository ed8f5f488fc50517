//! Sockets and names of Wasm guests, under the annotation `net` and without it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod guest;
mod peers;

use std::fs;
use std::io::Read as _;
use std::path::Path;

use guest::{ACCESS_DENIED, ADDRESS_NOT_BINDABLE, INVALID_ARGUMENT, NAME_UNRESOLVABLE};
use hull_e2e::{Container, Lab, Spec, in_own_network};

/// Where peers and guests listen.
const PORT: u16 = 4000;

const NET: &str = "io.containerd.hull.wasm.net";
const PROGRAM: &str = "/net.wasm";

/// Of a container in the network of the calling thread.
fn spec(net: Option<&str>) -> Spec {
    let spec = Spec::new([PROGRAM]).without_namespace("network");
    match net {
        Some(net) => spec.annotation(NET, net),
        None => spec,
    }
}

/// A container in the network of the calling thread, of the component that is made of this text.
fn container<'lab>(lab: &'lab Lab, text: &str, net: Option<&str>) -> Container<'lab> {
    of_spec(lab, text, &spec(net))
}

fn of_spec<'lab>(lab: &'lab Lab, text: &str, spec: &Spec) -> Container<'lab> {
    let container = lab.container(spec);
    let module = guest::component(text);
    fs::write(container.upper().join("net.wasm"), module).unwrap();
    container
}

/// Files for a resolver, in this directory.
fn resolver_files(etc: &Path) {
    fs::create_dir_all(etc).unwrap();
    fs::write(etc.join("hosts"), "127.0.0.1 known\n").unwrap();
    let servers = "nameserver 127.0.0.1\nsearch test\noptions timeout:1 attempts:1\n";
    fs::write(etc.join("resolv.conf"), servers).unwrap();
}

#[track_caller]
fn says(container: &mut Container<'_>, text: &str) {
    let ran = container.run_to_end();
    let got = (ran.status, ran.stdout.as_str(), ran.stderr.as_str());
    assert_eq!(got, (0, text, ""));
}

#[test]
fn tcp_reaches_whom_the_rules_allow() {
    in_own_network(|| {
        peers::loopback_up();
        peers::greet_by_tcp(PORT);
        let lab = Lab::wasm();
        let denied = |stage| guest::error(stage, ACCESS_DENIED);
        for (net, want) in [
            (None, "hello".to_owned()),
            (Some("all"), "hello".to_owned()),
            (Some("10.0.0.0/8,127.0.0.0/8:4000"), "hello".to_owned()),
            (Some("127.0.0.0/8:80"), denied("connect")),
            (Some("10.0.0.0/8"), denied("connect")),
            (Some("localhost:4000"), denied("connect")),
            // Without a network there is not even a socket.
            (Some("none"), denied("create")),
        ] {
            says(&mut container(&lab, &guest::tcp_hello(PORT), net), &want);
        }
    });
}

/// GHSA-hmmr-87qq-258j: connecting a UDP socket went past the rules.
#[test]
fn udp_is_checked_when_it_connects_and_when_it_sends() {
    in_own_network(|| {
        peers::loopback_up();
        let peer = peers::receive_by_udp(PORT);
        let lab = Lab::wasm();
        let mut buffer = [0; 16];
        for (connected, stage) in [(true, "connect"), (false, "send")] {
            let text = guest::udp_hello(PORT, connected);
            says(&mut container(&lab, &text, Some("127.0.0.1")), "sent");
            assert_eq!(peer.recv(&mut buffer).unwrap(), 5);
            assert_eq!(&buffer[..5], b"hello");
            for net in ["127.0.0.1:1", "10.0.0.0/8"] {
                let want = guest::error(stage, ACCESS_DENIED);
                says(&mut container(&lab, &text, Some(net)), &want);
            }
        }
        peer.set_nonblocking(true).unwrap();
        assert!(
            peer.recv(&mut buffer).is_err(),
            "a refused datagram arrived"
        );
    });
}

#[test]
fn a_guest_may_listen_on_its_own_addresses() {
    in_own_network(|| {
        peers::loopback_up();
        let lab = Lab::wasm();
        let text = guest::tcp_listen([127, 0, 0, 1], PORT);
        let listening = container(&lab, &text, Some("127.0.0.0/8"));
        listening.run();
        let mut heard = String::new();
        peers::connect(PORT).read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "hello");
        assert_eq!(listening.wait(), 0);

        // An address of nobody here.
        let text = guest::tcp_listen([10, 0, 0, 1], PORT);
        let want = guest::error("bind", ADDRESS_NOT_BINDABLE);
        says(&mut container(&lab, &text, None), &want);
    });
}

/// With files of the caller's for its resolver.
fn mounted(net: Option<&str>, files: &Path) -> Spec {
    ["hosts", "resolv.conf"]
        .iter()
        .fold(spec(net), |spec, file| {
            let source = files.join(file);
            spec.mount("bind", &source, &format!("/etc/{file}"), &["bind", "ro"])
        })
}

#[test]
fn names_come_from_the_containers_own_files_and_servers() {
    in_own_network(|| {
        peers::loopback_up();
        peers::greet_by_tcp(PORT);
        peers::name_server("db.test", peers::OTHER);
        let lab = Lab::wasm();
        let files = lab.dir().join("files");
        resolver_files(&files);
        let hello = "hello".to_owned();
        let error = |code| guest::error("resolve", code);
        for (name, net, want) in [
            ("known", None, hello.clone()),
            ("db", None, hello.clone()),
            ("DB.test.", None, hello.clone()),
            ("db", Some("db:4000"), hello.clone()),
            ("db", Some("db.test"), hello.clone()),
            ("known", Some("known"), hello.clone()),
            ("127.0.0.1", Some("127.0.0.0/8"), hello.clone()),
            ("other", None, error(NAME_UNRESOLVABLE)),
            ("a..b", None, error(INVALID_ARGUMENT)),
            ("known", Some("db"), error(ACCESS_DENIED)),
            ("known", Some("none"), error(ACCESS_DENIED)),
            ("db", Some("db:80"), guest::error("connect", ACCESS_DENIED)),
        ] {
            let text = guest::named_hello(name, PORT);
            let mut container = of_spec(&lab, &text, &mounted(net, &files));
            says(&mut container, &want);
        }
    });
}

/// An image that brings the files itself would choose whom a rule for a name opens.
#[test]
fn rules_for_names_do_not_believe_the_image() {
    in_own_network(|| {
        peers::loopback_up();
        peers::greet_by_tcp(PORT);
        peers::name_server("db.test", peers::OTHER);
        let lab = Lab::wasm();
        let unknown = guest::error("resolve", NAME_UNRESOLVABLE);
        for (name, net, want) in [
            ("known", None, "hello"),
            ("db", None, "hello"),
            ("known", Some("known"), unknown.as_str()),
            ("db", Some("db,db.test"), &unknown),
        ] {
            let mut container = container(&lab, &guest::named_hello(name, PORT), net);
            resolver_files(&container.upper().join("etc"));
            says(&mut container, want);
        }
    });
}

/// What a name server says of a listed name does not lead to this machine.
#[test]
fn a_name_does_not_become_one_of_this_machine() {
    in_own_network(|| {
        peers::loopback_up();
        peers::greet_by_tcp(PORT);
        peers::name_server("db.test", [127, 0, 0, 1]);
        let lab = Lab::wasm();
        let files = lab.dir().join("files");
        resolver_files(&files);
        let denied = guest::error("resolve", ACCESS_DENIED);
        for (net, want) in [
            (None, "hello"),
            (Some("db.test"), denied.as_str()),
            (Some("db.test,127.0.0.1"), "hello"),
        ] {
            let text = guest::named_hello("db", PORT);
            let spec = mounted(net, &files);
            says(&mut of_spec(&lab, &text, &spec), want);
        }
    });
}
