//! Network devices that are moved into a container (`linux.netDevices`). Every test has a network of its
//! own, in which containerd's part is played and the shim lives.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use hull_e2e::{
    Container, HookKind, Lab, Spec, eventually, in_own_network, is_one_clear_line, procfs,
};
use serde_json::json;

/// Runs ip(8) in the network of this thread; gives what it prints.
#[track_caller]
fn ip(args: &str) -> String {
    let (done, text) = try_ip(args);
    assert!(done, "ip {args}: {text}");
    // The kernel notices this a while later.
    text.replace("NO-CARRIER,", "")
}

fn try_ip(args: &str) -> (bool, String) {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn exists(device: &str) -> bool {
    try_ip(&format!("link show {device}")).0
}

/// Makes a pair of devices that are connected, `NAME` and one that the kernel calls `veth0`, `veth1`, …
fn make(name: &str) {
    ip(&format!("link add {name} type veth"));
}

/// Gives a device an address, and brings it up.
fn set_up(name: &str, address: &str) {
    ip(&format!("addr add {address} dev {name}"));
    ip(&format!("link set {name} up"));
}

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

fn moving(spec: Spec, host: &str, name: &str) -> Spec {
    spec.set(&format!("/linux/netDevices/{host}/name"), name)
}

/// What ip(8) prints in the container.
#[track_caller]
fn inside(c: &Container<'_>, exec: &str, args: &str) -> String {
    let ran = c.exec(exec, ["sh", "-c", &format!("ip {args}")]);
    assert_eq!(ran.status, 0, "{ran:?}");
    ran.stdout
}

/// A network namespace that containers join, with nothing in it.
struct OtherNetwork(Child);

impl OtherNetwork {
    fn new() -> Self {
        let unshared = Command::new("unshare")
            .args(["-n", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
        let other = Self(unshared);
        eventually("a network namespace", || {
            let entered = fs::read_link(other.path()).is_ok_and(|link| link != own);
            let running = procfs::command_line(other.0.id()).starts_with("sleep");
            (entered && running).then_some(())
        });
        other
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }

    fn ip(&self, args: &str) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path()))
            .arg("ip")
            .args(args.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "{args}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn joined(&self, spec: Spec) -> Spec {
        spec.namespace("network", Some(Path::new(&self.path())))
    }
}

impl Drop for OtherNetwork {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// It is refused in one line with these parts, and the container can be made without it.
#[track_caller]
fn refused(lab: &Lab, spec: &Spec, parts: &[&str]) {
    let c = lab.container(spec);
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), parts);
    assert_eq!(lab.events().of(&c.id), []);
    c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
    c.run();
    assert_eq!(c.wait(), 4);
}

#[test]
fn device_arrives_under_its_new_name_with_its_addresses_and_is_up() {
    in_own_network(|| {
        let lab = Lab::new();
        make("hull0");
        ip("link set hull0 mtu 1400 address 02:00:00:00:09:01");
        set_up("hull0", "10.9.0.1/24");
        ip("addr add 10.9.1.1/28 dev hull0");
        ip("addr add fd09::1/64 dev hull0");
        set_up("veth0", "10.9.0.2/24");
        let c = lab.container(&moving(sleeper(), "hull0", "eth0"));
        c.create();
        assert!(!exists("hull0") && !exists("eth0"), "it is still here");
        c.start();
        let seen = inside(&c, "a", "addr show eth0");
        for part in [
            "UP",
            "mtu 1400",
            "02:00:00:00:09:01",
            "inet 10.9.0.1/24",
            "inet 10.9.1.1/28",
            "inet6 fd09::1/64",
        ] {
            assert!(seen.contains(part), "{part}: {seen}");
        }
        // Packets really go there and back.
        let ping = c.exec("b", ["ping", "-c", "1", "-W", "5", "10.9.0.2"]);
        assert_eq!(ping.status, 0, "{ping:?}");
    });
}

#[test]
fn device_that_gets_no_name_keeps_its_own() {
    in_own_network(|| {
        let lab = Lab::new();
        make("hull0");
        let c = lab.container(&sleeper().set("/linux/netDevices/hull0", json!({})));
        c.run();
        assert!(inside(&c, "a", "link show hull0").contains("UP"));
        assert!(!exists("hull0"));
    });
}

/// They mean nothing elsewhere: the device makes new ones for its new link.
#[test]
fn addresses_of_the_link_stay_behind() {
    in_own_network(|| {
        let lab = Lab::new();
        make("hull0");
        ip("addr add 169.254.7.7/16 dev hull0 scope link");
        set_up("hull0", "10.9.0.1/24");
        let c = lab.container(&moving(sleeper(), "hull0", "eth0"));
        c.run();
        let seen = inside(&c, "a", "addr show eth0");
        assert!(seen.contains("10.9.0.1/24"), "{seen}");
        assert!(!seen.contains("169.254.7.7"), "{seen}");
    });
}

#[test]
fn several_devices_and_one_whose_name_is_a_template() {
    in_own_network(|| {
        let lab = Lab::new();
        let names = [("aaa", "eth%d"), ("bbb", "eth1"), ("ccc", "eth0")];
        let spec = names.into_iter().fold(sleeper(), |spec, (host, name)| {
            make(host);
            let number = host.bytes().next().unwrap();
            ip(&format!("addr add 10.9.{number}.1/24 dev {host}"));
            moving(spec, host, name)
        });
        let c = lab.container(&spec);
        c.run();
        for (name, host) in [("eth0", b'c'), ("eth1", b'b'), ("eth2", b'a')] {
            let seen = inside(&c, name, &format!("addr show {name}"));
            assert!(seen.contains(&format!("10.9.{host}.1/24")), "{seen}");
        }
    });
}

#[test]
fn device_moves_into_a_network_that_is_joined() {
    in_own_network(|| {
        let lab = Lab::new();
        let other = OtherNetwork::new();
        make("hull0");
        ip("addr add 10.9.0.1/24 dev hull0");
        let c = lab.container(&moving(other.joined(sleeper()), "hull0", "eth%d"));
        c.run();
        let seen = other.ip("addr show eth0");
        assert!(
            seen.contains("10.9.0.1/24") && seen.contains("UP"),
            "{seen}"
        );
        c.kill_and_wait();
        c.delete().unwrap();
        // It is not brought back: the namespace lives on.
        assert!(other.ip("addr show eth0").contains("10.9.0.1/24"));
        assert!(!exists("hull0"));
    });
}

#[test]
fn hooks_and_sysctls_find_the_device_in_its_place() {
    in_own_network(|| {
        let lab = Lab::new();
        let file = lab.dir().join("seen");
        let look = format!(
            "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); \
             nsenter --net=/proc/$pid/ns/net ip link show eth0 >{}",
            file.display()
        );
        make("hull0");
        let spec = moving(sleeper(), "hull0", "eth0")
            .hook(HookKind::Prestart, "/bin/sh", &["sh", "-c", &look])
            .set("/linux/sysctl/net.ipv4.conf.eth0.forwarding", "1")
            .set(
                "/hooks/prestart/0/env",
                json!(["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]),
            );
        let c = lab.container(&spec);
        c.run();
        let seen = fs::read_to_string(file).unwrap();
        assert!(seen.contains("eth0") && seen.contains("UP"), "{seen}");
        let forwarding = c.exec("a", ["cat", "/proc/sys/net/ipv4/conf/eth0/forwarding"]);
        assert_eq!(forwarding.stdout, "1\n");
    });
}

#[test]
fn device_that_is_not_there_is_refused() {
    in_own_network(|| {
        let lab = Lab::new();
        let parts = ["\"none\"", "\"eth0\"", "no such device"];
        refused(&lab, &moving(sleeper(), "none", "eth0"), &parts);
    });
}

#[test]
fn device_that_belongs_to_its_namespace_is_refused_and_stays_as_it_is() {
    in_own_network(|| {
        let lab = Lab::new();
        let parts = ["\"lo\"", "\"lo0\"", "does not let"];
        refused(&lab, &moving(sleeper(), "lo", "lo0"), &parts);
        assert!(exists("lo"));
        ip("link add hullbr type bridge");
        set_up("hullbr", "10.9.0.1/24");
        let parts = ["\"hullbr\"", "does not let"];
        refused(&lab, &moving(sleeper(), "hullbr", "eth0"), &parts);
        let seen = ip("addr show hullbr");
        assert!(
            seen.contains("10.9.0.1/24") && seen.contains(",UP"),
            "{seen}"
        );
    });
}

#[test]
fn name_that_is_taken_is_refused_before_anything_moves() {
    in_own_network(|| {
        let lab = Lab::new();
        make("hull0");
        set_up("hull0", "10.9.0.1/24");
        let before = ip("addr show hull0");
        let parts = ["\"hull0\"", "\"lo\"", "has a device of that name"];
        refused(&lab, &moving(sleeper(), "hull0", "lo"), &parts);
        assert_eq!(ip("addr show hull0"), before);
        let other = OtherNetwork::new();
        other.ip("link add eth0 type veth");
        let parts = ["\"hull0\"", "\"eth0\"", "has a device of that name"];
        refused(
            &lab,
            &moving(other.joined(sleeper()), "hull0", "eth0"),
            &parts,
        );
        assert_eq!(ip("addr show hull0"), before);
    });
}

#[test]
fn device_comes_back_as_it_was_when_the_next_cannot_move() {
    in_own_network(|| {
        let lab = Lab::new();
        make("aaa");
        set_up("aaa", "10.9.0.1/24");
        ip("addr add fd09::1/64 dev aaa");
        make("bbb");
        ip("addr add 10.9.8.1/24 dev bbb");
        // It comes after the others, and cannot go.
        ip("link add zzz type bridge");
        let spec = [("aaa", "eth0"), ("bbb", "eth1"), ("zzz", "eth2")]
            .into_iter()
            .fold(sleeper(), |spec, (host, name)| moving(spec, host, name));
        refused(&lab, &spec, &["\"zzz\"", "\"eth2\"", "does not let"]);
        let aaa = ip("addr show aaa");
        for part in [",UP", "inet 10.9.0.1/24", "inet6 fd09::1/64"] {
            assert!(aaa.contains(part), "{part}: {aaa}");
        }
        let bbb = ip("addr show bbb");
        assert!(bbb.contains("10.9.8.1/24") && !bbb.contains(",UP"), "{bbb}");
    });
}

#[test]
fn network_that_is_the_runtimes_own_is_refused() {
    in_own_network(|| {
        let lab = Lab::new();
        make("hull0");
        let spec = moving(sleeper(), "hull0", "eth0");
        let parts = ["linux.netDevices", "needs a network namespace"];
        refused(&lab, &spec.clone().without_namespace("network"), &parts);
        let tid = nix::unistd::gettid();
        let own = format!("/proc/{}/task/{tid}/ns/net", std::process::id());
        let spec = spec.namespace("network", Some(Path::new(&own)));
        refused(&lab, &spec, &["network devices", "the runtime's own"]);
        assert!(exists("hull0"));
    });
}

#[test]
fn impossible_names_are_refused() {
    in_own_network(|| {
        let lab = Lab::new();
        make("hull0");
        for (name, part) in [
            ("a/b", "slash"),
            ("a:b", "colon"),
            ("a b", "blank"),
            ("..", "not a name"),
            ("abcdefghijklmnop", "longer than 15 bytes"),
            ("eth%s", "single %d"),
        ] {
            let c = lab.container(&moving(sleeper(), "hull0", name));
            let error = c.try_create().unwrap_err();
            is_one_clear_line(error.message(), &["linux.netDevices[\"hull0\"].name", part]);
        }
        make("hull1");
        let spec = moving(moving(sleeper(), "hull0", "eth0"), "hull1", "eth0");
        let parts = ["linux.netDevices[\"hull1\"].name", "\"hull0\" too"];
        refused(&lab, &spec, &parts);
        assert!(exists("hull0") && exists("hull1"));
    });
}
