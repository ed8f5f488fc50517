//! Whom the guests talk to, in the network namespace of the calling thread.

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::thread;

use hull_e2e::{eventually, limit};

/// Another address of this machine, not one that every machine has.
pub(crate) const OTHER: [u8; 4] = [10, 77, 0, 1];

/// Brings the loopback device up, with that address.
pub(crate) fn loopback_up() {
    let ip = |words: &str| {
        let ip = Command::new("ip").args(words.split(' ')).status();
        assert!(ip.unwrap().success());
    };
    ip("link set lo up");
    ip("address add 10.77.0.1/32 dev lo");
}

/// Says hello to every client by TCP, as long as this process is there.
pub(crate) fn greet_by_tcp(port: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            stream.unwrap().write_all(b"hello").unwrap();
        }
    });
}

/// Takes datagrams.
pub(crate) fn receive_by_udp(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(limit())).unwrap();
    socket
}

/// Connects once somebody listens there.
pub(crate) fn connect(port: u16) -> TcpStream {
    eventually("the guest listens", || {
        let sockets = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        let listening = format!(":{port:04X} 00000000:0000 0A");
        sockets.contains(&listening).then_some(())
    });
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// A name server that knows one name, and all else not to exist. It stays as long as this process.
pub(crate) fn name_server(name: &str, address: [u8; 4]) {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let mut known: Vec<u8> = Vec::new();
    for label in name.split('.') {
        known.push(u8::try_from(label.len()).unwrap());
        known.extend(label.as_bytes());
    }
    known.push(0);
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let mut answer = buffer[..length].to_vec();
            let is_name = answer[12..length - 4] == known;
            let is_v4 = answer[length - 3] == 1;
            answer[2] = 0x81;
            answer[3] = if is_name { 0x80 } else { 0x83 };
            if is_name && is_v4 {
                answer[7] = 1;
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
                answer.extend(address);
            }
            socket.send_to(&answer, client).unwrap();
        }
    });
}
