//! Rules.

use super::*;

fn subnet(address: &str, bits: u8, port: Option<u16>) -> NetRule {
    let peer = Peer::Subnet(address.parse().unwrap(), bits);
    NetRule { peer, port }
}

fn only(rules: &[NetRule]) -> Network {
    Network::new(Net::Only(rules.to_vec()))
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const OUT: [SocketAddrUse; 2] = [SocketAddrUse::TcpConnect, SocketAddrUse::UdpSend];
const IN: [SocketAddrUse; 2] = [SocketAddrUse::TcpAccept, SocketAddrUse::UdpReceive];
const OWN: [SocketAddrUse; 3] = [
    SocketAddrUse::TcpBind,
    SocketAddrUse::TcpListen,
    SocketAddrUse::UdpBind,
];

#[test]
fn all_and_none() {
    let (all, none) = (Network::new(Net::All), Network::new(Net::None));
    for purpose in OUT.into_iter().chain(IN).chain(OWN) {
        assert!(all.permits(address("1.2.3.4:5"), purpose));
        assert!(!none.permits(address("127.0.0.1:5"), purpose));
    }
    assert!(all.resolves("a") && !none.resolves("a"));
}

#[test]
fn a_list_is_all_there_is() {
    let network = only(&[subnet("10.0.0.0", 8, Some(443)), subnet("fd00::", 8, None)]);
    for (peer, may) in [
        ("10.255.0.1:443", true),
        ("10.255.0.1:80", false),
        ("11.0.0.1:443", false),
        ("[::ffff:10.0.0.1]:443", true),
        ("[fdff::1]:1", true),
        ("[fe00::1]:1", false),
        ("127.0.0.1:443", false),
    ] {
        for purpose in OUT {
            assert_eq!(network.permits(address(peer), purpose), may, "{peer}");
        }
    }
    for purpose in IN {
        assert!(network.permits(address("10.0.0.1:40000"), purpose));
        assert!(!network.permits(address("127.0.0.1:443"), purpose));
    }
    for purpose in OWN {
        assert!(network.permits(address("0.0.0.0:0"), purpose));
    }
    assert!(!network.resolves("10.0.0.1"));
}

#[test]
fn this_machine_and_this_link_are_local_in_any_form() {
    for (address, local) in [
        ("127.9.9.9", true),
        ("169.254.0.1", true),
        ("0.0.0.0", true),
        ("::", true),
        ("::1", true),
        ("fe80::1", true),
        ("febf::1", true),
        ("::ffff:127.0.0.1", true),
        ("::ffff:169.254.169.254", true),
        ("10.0.0.1", false),
        ("fd00::1", false),
        ("fec0::1", false),
        ("8.8.8.8", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(!only(&[]).may_have_a_name(address), local, "{address}");
    }
}

#[test]
fn bits_count_from_the_left() {
    for (subnet, bits, other, within) in [
        ("0.0.0.0", 0, "255.255.255.255", true),
        ("10.0.0.1", 31, "10.0.0.0", true),
        ("10.0.0.1", 32, "10.0.0.0", false),
        ("::", 0, "ffff::", true),
        ("::", 1, "8000::", false),
        ("::1", 128, "::1", true),
        ("::", 0, "0.0.0.0", false),
    ] {
        let [subnet, other] = [subnet, other].map(|text| text.parse().unwrap());
        assert_eq!(
            is_within(other, subnet, bits),
            within,
            "{subnet}/{bits} {other}"
        );
    }
}

#[test]
fn a_name_opens_its_addresses_on_its_port_once_it_was_looked_up() {
    let peer = Peer::Name("db".to_owned());
    let port = Some(5432);
    let network = only(&[NetRule { peer, port }]);
    let (db, ssh) = (address("10.0.0.7:5432"), address("10.0.0.7:22"));
    assert!(network.resolves("db") && !network.resolves("db2"));
    assert!(!network.reaches(db));
    network.learn("other", &[db.ip()]);
    assert!(!network.reaches(db));
    network.learn("db", &[db.ip()]);
    assert!(network.reaches(db) && !network.reaches(ssh));
}

#[test]
fn what_is_remembered_is_bounded() {
    let peer = Peer::Name("many".to_owned());
    let network = only(&[NetRule { peer, port: None }]);
    let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(number));
    for number in 0..2000 {
        network.learn("many", &[address(number), address(number)]);
    }
    assert!(!network.reaches(SocketAddr::new(address(0), 1)));
    assert!(network.reaches(SocketAddr::new(address(1999), 1)));
    assert_eq!(network.known.lock().unwrap().len(), MAX_KNOWN);
}
