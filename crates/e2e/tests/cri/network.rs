//! The pod's network, its names and its files in `/etc`.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use hull_e2e::cri::{ContainerConfig, PodConfig, on_each};
use hull_e2e::slowed;
use serde_json::json;

const WEB: &str =
    "mkdir /web; echo page > /web/index.html; echo ready; exec httpd -f -p 8080 -h /web";

#[test]
fn port_is_reached_from_the_pod_another_pod_and_the_node() {
    on_each(|case| {
        let pod = case.pod();
        let server = pod.start(&ContainerConfig::shell(WEB).called("server", 0));
        server.wait_for("ready");
        let address = pod.address();
        assert!(address.starts_with("10.88."), "{address}");
        let ask = |host: &str| {
            format!(
                "for i in $(seq 50); do wget -qO- http://{host}:8080/ && exit; sleep 0.1; done; exit 1"
            )
        };
        let beside = pod.start(&ContainerConfig::shell(&ask("127.0.0.1")).called("beside", 0));
        assert_eq!(beside.output(), "page\n");
        let other = case.pod();
        let client = other.start(&ContainerConfig::shell(&ask(&address)));
        assert_eq!(client.output(), "page\n");
        let answer = case.node().containerd().inside(|| {
            let mut stream = TcpStream::connect((address.as_str(), 8080)).unwrap();
            let limit = slowed(Duration::from_secs(10));
            stream.set_read_timeout(Some(limit)).unwrap();
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert!(answer.ends_with("\r\n\r\npage\n"), "{answer}");
    });
}

#[test]
fn names_and_resolvers_are_those_of_the_pod() {
    on_each(|case| {
        let config = PodConfig::new().set("/hostname", "web-0").set(
            "/dns_config",
            json!({ "servers": ["10.0.0.10"], "searches": ["ns.svc"], "options": ["ndots:5"] }),
        );
        let pod = case.pod_with(&config);
        let text = "hostname; cat /etc/hostname /etc/resolv.conf; grep -c localhost /etc/hosts";
        let config = ContainerConfig::shell(text);
        let seen = pod.start(&config).output();
        assert!(
            seen.starts_with(
                "web-0\nweb-0\nsearch ns.svc\nnameserver 10.0.0.10\noptions ndots:5\n"
            ),
            "{seen}"
        );
        assert_ne!(seen.lines().last(), Some("0"));
    });
}
