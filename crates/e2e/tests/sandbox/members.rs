//! What the containers of a pod have of it.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use containerd_shim_protos::cgroups::metrics::Metrics as V1;
use containerd_shim_protos::cgroups_v2::metrics::Metrics as V2;
use hull_e2e::sandbox::namespaces;
use hull_e2e::{Image, Lab, Sandbox, Streams, eventually, procfs};
use hull_proto::cri::{DNSConfig, IDMapping, NamespaceMode, UserNamespace};
use protobuf::{EnumOrUnknown, Message as _, MessageField};

const SHARED: [(&str, &str); 3] = [("network", "net"), ("ipc", "ipc"), ("uts", "uts")];

fn namespace(pid: u32, kind: &str) -> std::path::PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap()
}

#[test]
fn containers_share_what_the_pod_has() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let mut config = pod.config();
    let linux = config.linux.mut_or_insert_default();
    let sysctl = ("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    linux.sysctls.extend([sysctl]);
    let holder = pod.run(&config);
    let text = "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start \
                /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shm_rmid_forced; \
                ls /sys/class/net; echo ready; exec sleep 600";
    let shared = [&SHARED[..], &[("pid", "pid")]].concat();
    for shared in [&SHARED[..], &shared] {
        let mut c = lab.container(&pod.member(holder, shared, ["sh", "-c", text]));
        let pid = c.run();
        assert_eq!(c.shim_pid(), pod.shim_pid(), "one daemon for the pod");
        let seen = c.read_until("ready");
        let words: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(words[..6], ["the-pod", "0", "0", "2147483647", "1", "lo"]);
        for (_, kind) in shared {
            assert_eq!(namespace(pid, kind), namespace(holder, kind), "{kind}");
        }
        assert_ne!(namespace(pid, "mnt"), namespace(holder, "mnt"));
    }
    // The pod's containers come and go, the pod stays.
    assert_eq!(pod.status().unwrap().state, "SANDBOX_READY");
}

#[test]
fn native_and_wasm_share_a_pod() {
    let lab = Lab::wasm();
    let pod = Sandbox::start_shim(&lab);
    let holder = pod.run(&pod.config());
    assert_eq!(lab.image(), Image::Wasm);
    let native = pod.member(holder, &SHARED, ["hostname"]);
    let wasm = pod.member(holder, &SHARED, ["/wasm/hello.wasm"]);
    let ran = lab.container(&native).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "the-pod\n"));
    let ran = lab.container(&wasm).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
    let server = lab.container(&pod.member(holder, &SHARED, ["/wasm/http.wasm"]));
    server.run();
    let ask = "until wget -qO- http://127.0.0.1:8080/; do sleep 0.1; done";
    let client = pod.member(holder, &SHARED, ["sh", "-c", ask]);
    let ran = lab.container(&client).run_to_end();
    assert_eq!(ran.stdout, "hello from wasi:http 0.2\n");
    server.kill_and_wait();
    server.delete().unwrap();
}

/// Should containers be left at the end, as after a restart that went wrong, they keep their daemon.
#[test]
fn containers_that_outlive_their_sandbox_keep_the_daemon_until_they_are_gone() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let holder = pod.run(&pod.config());
    let c = lab.container(&pod.member(holder, &SHARED, ["sleep", "600"]));
    c.run();
    pod.shutdown().unwrap();
    assert!(procfs::has_ended(holder));
    assert_eq!(c.exec("e1", ["hostname"]).stdout, "the-pod\n");
    c.kill_and_wait();
    c.delete().unwrap();
    pod.wait_for_daemon();
}

/// CRI makes a pod's statistics from them.
#[test]
fn metrics_are_those_of_the_whole_pod() {
    const MIB: u64 = 1 << 20;
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let holder = pod.run(&pod.config());
    let text = "head -c 8388608 /dev/zero >/dev/shm/held; echo ready; exec sleep 600";
    let spec = pod.member(holder, &SHARED, ["sh", "-c", text]);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready");
    let any = pod.metrics().unwrap().metrics.data.clone().unwrap();
    let used = match any.type_url.as_str() {
        "io.containerd.cgroups.v1.Metrics" => {
            let metrics = V1::parse_from_bytes(&any.value).unwrap();
            metrics.memory.usage.usage
        }
        "io.containerd.cgroups.v2.Metrics" => {
            let metrics = V2::parse_from_bytes(&any.value).unwrap();
            metrics.memory.usage
        }
        other => unreachable!("{other}"),
    };
    assert!(used >= 8 * MIB, "{used}");
}

/// What CRI binds into a container if it is there.
#[test]
fn files_of_the_pod_are_where_cri_looks_for_them() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let (files, state) = pod.with_cri();
    let mut config = pod.config();
    let mut dns = DNSConfig::new();
    dns.servers = vec!["10.0.0.10".to_owned()];
    dns.searches = vec!["a.svc".to_owned(), "svc".to_owned()];
    dns.options = vec!["ndots:5".to_owned()];
    config.dns_config = MessageField::some(dns);
    pod.run(&config);
    let read = |name: &str| fs::read_to_string(files.join(name)).unwrap();
    assert_eq!(read("hostname"), "the-pod\n");
    assert_eq!(read("hosts"), fs::read_to_string("/etc/hosts").unwrap());
    assert_eq!(
        read("resolv.conf"),
        "search a.svc svc\nnameserver 10.0.0.10\noptions ndots:5\n"
    );
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let shm = state.join("shm").display().to_string();
    let line = mounts.lines().find(|line| line.contains(&shm)).unwrap();
    for word in ["shm ", "tmpfs", "nosuid", "nodev", "noexec", "size=65536k"] {
        assert!(line.contains(word), "{line}");
    }
    pod.shutdown().unwrap();
    assert!(!files.exists() && !state.exists());
    assert!(
        !fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .contains(&shm)
    );
}

#[test]
fn a_pod_with_the_hosts_ipc_has_the_hosts_shared_memory() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let (files, state) = pod.with_cri();
    let mut config = pod.config();
    namespaces(&mut config).ipc = EnumOrUnknown::new(NamespaceMode::NODE);
    config.hostname = String::new();
    pod.run(&config);
    assert!(!state.exists());
    let own = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(fs::read_to_string(files.join("hostname")).unwrap(), own);
}

/// A process that has a network namespace for the test, as CNI's `netns` file would.
struct Netns(Child);

impl Netns {
    fn new(args: &[&str]) -> Self {
        let mut child = Command::new("unshare")
            .args(args)
            .args(["sh", "-c", "echo made; exec sleep 600"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut word = [0; 5];
        std::io::Read::read_exact(&mut out, &mut word).unwrap();
        Self(child)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_network_of_cni_is_joined() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let netns = Netns::new(&["--net"]);
    let mut request = pod.create_request(&pod.config());
    request.netns_path = netns.path();
    pod.try_create(&request).unwrap();
    let holder = pod.try_start().unwrap();
    assert_eq!(namespace(holder, "net"), namespace(netns.0.id(), "net"));
}

fn users(host: u32) -> UserNamespace {
    let mut map = IDMapping::new();
    map.host_id = host;
    map.length = 65_536;
    let mut users = UserNamespace::new();
    users.uids.push(map.clone());
    users.gids.push(map);
    users
}

fn uid_map(pid: u32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The user namespace must be the one that owns the network namespace, or nobody in the pod could set up
/// its network.
#[test]
fn a_pod_of_users_joins_the_user_namespace_of_its_network() {
    const HOST: u32 = 300_000;
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let netns = Netns::new(&["--user", "--net"]);
    for map in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{map}", netns.0.id());
        let mut file = fs::File::options().write(true).open(path).unwrap();
        file.write_all(format!("0 {HOST} 65536").as_bytes())
            .unwrap();
    }
    let mut config = pod.config();
    namespaces(&mut config).userns_options = MessageField::some(users(HOST));
    let mut request = pod.create_request(&config);
    request.netns_path = netns.path();
    pod.try_create(&request).unwrap();
    let holder = pod.try_start().unwrap();
    assert_eq!(uid_map(holder), ["0", "300000", "65536"]);
    for kind in ["user", "net"] {
        assert_eq!(namespace(holder, kind), namespace(netns.0.id(), kind));
    }
    let status = fs::read_to_string(format!("/proc/{holder}/status")).unwrap();
    assert!(status.contains("Uid:\t365535\t"), "{status}");

    let shared = [&SHARED[..], &[("user", "user")]].concat();
    let text = "id -u; hostname; echo done";
    let spec = pod.member(holder, &shared, ["sh", "-c", text]);
    let mut c = lab.container_with(&spec, Streams::OUTPUT);
    std::os::unix::fs::chown(c.upper(), Some(HOST), Some(HOST)).unwrap();
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "0\nthe-pod\ndone\n", "{ran:?}");
}

#[test]
fn a_pod_of_users_on_the_hosts_network_has_a_new_user_namespace() {
    let lab = Lab::new();
    let pod = Sandbox::start_shim(&lab);
    let mut config = pod.config();
    let options = namespaces(&mut config);
    options.network = EnumOrUnknown::new(NamespaceMode::NODE);
    options.userns_options = MessageField::some(users(400_000));
    let holder = pod.run(&config);
    assert_eq!(uid_map(holder), ["0", "400000", "65536"]);
    assert_eq!(
        namespace(holder, "net"),
        namespace(std::process::id(), "net")
    );
    eventually("it is held", || {
        (pod.status().unwrap().state == "SANDBOX_READY").then_some(())
    });
}
