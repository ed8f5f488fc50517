//! Against a name server on this machine that answers as a test wants.

use super::*;
use hull_abi::{Net, NetRule, Peer};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket as StdSocket};
use std::sync::Mutex;
use std::thread;

/// What was asked: the name as text, and the type.
type Question = (String, u16);
/// The messages that are sent for a message with this question.
type Script = fn(&Question, &[u8]) -> Vec<Vec<u8>>;

struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Question>>>,
}

impl Server {
    /// The thread ends with the process.
    fn start(script: Script, by_tcp: Script) -> Self {
        let udp = StdSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let tcp = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let asked = Arc::<Mutex<Vec<Question>>>::default();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            let mut buffer = [0; 600];
            loop {
                let (length, client) = udp.recv_from(&mut buffer).unwrap();
                let question = parse(&buffer[..length]);
                seen.lock().unwrap().push(question.clone());
                for message in script(&question, &buffer[..length]) {
                    udp.send_to(&message, client).unwrap();
                }
            }
        });
        thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut message).unwrap();
                for answer in by_tcp(&parse(&message), &message) {
                    let length = u16::try_from(answer.len()).unwrap();
                    stream.write_all(&length.to_be_bytes()).unwrap();
                    stream.write_all(&answer).unwrap();
                }
            }
        });
        Self { port, asked }
    }

    fn resolver(&self, config: &str, net: Net) -> Resolver {
        let config = Config::parse(&format!("nameserver 127.0.0.1\n{config}"));
        let hosts = Hosts::parse("10.9.9.9 known\n");
        let mut resolver = Resolver::new(hosts, config, Arc::new(Network::new(net)));
        resolver.port = self.port;
        resolver
    }

    fn asked(&self, kind: Kind) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        let asked = asked.iter().filter(|(_, code)| *code == kind.code());
        asked.map(|(name, _)| name.clone()).collect()
    }
}

fn parse(message: &[u8]) -> Question {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..=at + length].to_vec()).unwrap());
        at += 1 + length;
    }
    let code = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    (labels.join("."), code)
}

fn respond(message: &[u8], flags: u16, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut response = message.to_vec();
    response[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    response[6..8].copy_from_slice(&u16::try_from(addresses.len()).unwrap().to_be_bytes());
    for address in addresses {
        response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        response.extend(address);
    }
    response
}

const THERE: [u8; 4] = [10, 0, 0, 5];

/// `there.test` has an address of the fourth version, `rebound.test` only ones of this machine and link,
/// `*.none` does not exist, the rest has none.
fn ordinary((name, code): &Question, message: &[u8]) -> Vec<Vec<u8>> {
    let addresses: &[[u8; 4]] = match (name.as_str(), code) {
        ("there.test", 1) => &[THERE],
        ("rebound.test", 1) => &[[127, 0, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0]],
        _ => &[],
    };
    let flags = if name.ends_with("none") { 3 } else { 0 };
    vec![respond(message, flags, addresses)]
}

fn silent(_: &Question, _: &[u8]) -> Vec<Vec<u8>> {
    Vec::new()
}

fn resolve(resolver: &Resolver, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(resolver.resolve(name))
}

fn there() -> Result<Vec<IpAddr>, Unresolved> {
    Ok(vec![IpAddr::from(THERE)])
}

#[test]
fn hosts_first_then_search_then_servers() {
    let server = Server::start(ordinary, silent);
    let resolver = server.resolver("search x.none test\noptions ndots:2", Net::All);
    assert_eq!(resolve(&resolver, "Known"), Ok(vec![[10, 9, 9, 9].into()]));
    assert!(server.asked(Kind::A).is_empty());
    assert_eq!(resolve(&resolver, "there"), there());
    assert_eq!(server.asked(Kind::A), ["there.x.none", "there.test"]);
    assert_eq!(server.asked(Kind::Aaaa), ["there.x.none", "there.test"]);
    assert_eq!(resolve(&resolver, "there."), Err(Unresolved::Unknown));
    assert_eq!(resolve(&resolver, "a.none."), Err(Unresolved::Unknown));
    assert_eq!(resolve(&resolver, "no such name"), Err(Unresolved::Unknown));
    assert_eq!(resolve(&resolver, "a..b"), Err(Unresolved::Invalid));
    assert_eq!(
        resolve(&resolver, "[::1]"),
        Ok(vec!["::1".parse().unwrap()])
    );
}

#[test]
fn under_a_list_only_its_names_are_asked_for_and_become_reachable() {
    let server = Server::start(ordinary, silent);
    let rule = |name: &str, port| NetRule {
        peer: Peer::Name(name.to_owned()),
        port: Some(port),
    };
    let net = Net::Only(vec![rule("there.test", 80), rule("known", 81)]);
    let resolver = server.resolver("search test", net);
    assert_eq!(
        resolve(&resolver, "secret.evil.none"),
        Err(Unresolved::Denied)
    );
    assert_eq!(resolve(&resolver, "other"), Err(Unresolved::Denied));
    assert!(server.asked(Kind::A).is_empty());
    let address = |port| SocketAddr::from((THERE, port));
    assert!(!resolver.network().reaches(address(80)));
    // By its short name: what it stands for is on the list.
    assert_eq!(resolve(&resolver, "there"), there());
    assert_eq!(server.asked(Kind::A), ["there.test"]);
    assert!(resolver.network().reaches(address(80)));
    assert!(!resolver.network().reaches(address(81)));
    assert!(resolve(&resolver, "known").is_ok());
    assert!(
        resolver
            .network()
            .reaches(SocketAddr::from(([10, 9, 9, 9], 81)))
    );
    assert_eq!(
        resolve(&server.resolver("", Net::None), "127.0.0.1"),
        Err(Unresolved::Denied)
    );
}

fn rule(peer: Peer, port: u16) -> NetRule {
    let port = Some(port);
    NetRule { peer, port }
}

/// What a name stands for is asked of the file by the names that are listed, and opens only their ports.
#[test]
fn the_hosts_file_is_asked_for_listed_names_only() {
    let server = Server::start(ordinary, silent);
    let listed = |name: &str, port| rule(Peer::Name(name.to_owned()), port);
    let net = Net::Only(vec![listed("known.test", 80), listed("known.x", 81)]);
    let resolver = server.resolver("search test x", net.clone());
    assert_eq!(resolve(&resolver, "known"), Err(Unresolved::Unknown));
    assert!(!resolver.network().reaches(([10, 9, 9, 9], 80).into()));
    let mut resolver = server.resolver("search test x", net);
    resolver.hosts = Hosts::parse("10.1.1.1 known\n10.2.2.2 known.x\n");
    assert_eq!(resolve(&resolver, "known"), Ok(vec![[10, 2, 2, 2].into()]));
    for (address, port, reaches) in [
        ([10, 2, 2, 2], 81, true),
        ([10, 2, 2, 2], 80, false),
        ([10, 1, 1, 1], 81, false),
    ] {
        let address = SocketAddr::from((address, port));
        assert_eq!(resolver.network().reaches(address), reaches, "{address}");
    }
}

#[test]
fn files_of_the_image_say_nothing_where_there_are_rules() {
    let limited = || Arc::new(Network::new(Net::Only(Vec::new())));
    let resolver = Resolver::load(limited(), NameFiles::default());
    assert!(resolver.config.servers.is_empty());
    assert!(resolver.hosts.find(&this_host()).is_empty());
    let callers = NameFiles {
        hosts: true,
        resolv_conf: true,
    };
    for resolver in [
        Resolver::load(limited(), callers),
        Resolver::load(Arc::new(Network::new(Net::All)), NameFiles::default()),
    ] {
        assert!(!resolver.config.servers.is_empty());
    }
    let net = Net::Only(vec![rule(Peer::Name("web".to_owned()), 80)]);
    let resolver = Resolver::load(Arc::new(Network::new(net)), NameFiles::default());
    assert_eq!(resolve(&resolver, "web"), Err(Unresolved::NoFiles));
}

/// The first name in this machine's own file, that of nobody where there is none.
fn this_host() -> String {
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let mut names = hosts
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|name| !name.ends_with("localhost"));
    names.next().unwrap_or("nobody").to_owned()
}

#[test]
fn a_server_opens_no_address_of_this_machine_or_link() {
    let server = Server::start(ordinary, silent);
    let name = || rule(Peer::Name("rebound.test".to_owned()), 80);
    let resolver = server.resolver("", Net::Only(vec![name()]));
    assert_eq!(resolve(&resolver, "rebound.test"), Err(Unresolved::Denied));
    for address in [[127, 0, 0, 1], [169, 254, 169, 254], [0, 0, 0, 0]] {
        assert!(!resolver.network().reaches((address, 80).into()));
    }
    // Unless the rules have it themselves.
    let metadata = [169, 254, 169, 254];
    let listed = rule(Peer::Subnet(metadata.into(), 32), 8080);
    let resolver = server.resolver("", Net::Only(vec![name(), listed]));
    assert_eq!(
        resolve(&resolver, "rebound.test"),
        Ok(vec![metadata.into()])
    );
    assert!(resolver.network().reaches((metadata, 80).into()));
    let resolver = server.resolver("", Net::All);
    assert_eq!(
        resolve(&resolver, "rebound.test").map(|all| all.len()),
        Ok(3)
    );
}

#[test]
fn long_answers_come_by_tcp() {
    fn cut(_: &Question, message: &[u8]) -> Vec<Vec<u8>> {
        vec![respond(message, 0x0200, &[])]
    }
    let server = Server::start(cut, ordinary);
    let resolver = server.resolver("", Net::All);
    assert_eq!(resolve(&resolver, "there.test"), there());
}

#[test]
fn lies_before_the_answer_are_not_believed() {
    fn forged(question: &Question, message: &[u8]) -> Vec<Vec<u8>> {
        let evil = respond(message, 0, &[[6, 6, 6, 6]]);
        let (mut id, mut name, mut query) = (evil.clone(), evil.clone(), evil.clone());
        id[1] ^= 1;
        name[13] ^= 1;
        query[2] &= 0x7f;
        let mut all = vec![id, name, query, evil[..20].to_vec(), vec![0xff; 1000]];
        all.extend(ordinary(question, message));
        all
    }
    let server = Server::start(forged, silent);
    let resolver = server.resolver("", Net::All);
    assert_eq!(resolve(&resolver, "there.test"), there());
}

#[test]
fn a_flood_a_failure_and_silence_end_in_time() {
    fn flood(_: &Question, _: &[u8]) -> Vec<Vec<u8>> {
        vec![vec![0; 12]; 100]
    }
    fn failing(_: &Question, message: &[u8]) -> Vec<Vec<u8>> {
        vec![respond(message, 2, &[])]
    }
    fn circle(_: &Question, message: &[u8]) -> Vec<Vec<u8>> {
        let mut response = respond(message, 0, &[]);
        response[7] = 1;
        // An alias of itself with one label more, without end.
        response.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 4, 1, b'a', 0xc0, 12]);
        vec![response]
    }
    for script in [flood, failing, circle, silent] {
        let server = Server::start(script, silent);
        let resolver = server.resolver("options timeout:1 attempts:1", Net::All);
        let begun = std::time::Instant::now();
        assert_eq!(resolve(&resolver, "a.test"), Err(Unresolved::Temporary));
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert!(server.asked(Kind::A).len() <= MAX_ALIASES);
    }
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    let server = Server::start(ordinary, silent);
    let mut resolver = server.resolver("", Net::All);
    // Nobody is there.
    resolver.config.servers.insert(0, [127, 0, 0, 77].into());
    assert_eq!(resolve(&resolver, "there.test"), there());
}
