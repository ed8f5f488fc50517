//! Containers that share the user namespace of a pod, as containerd's CRI plugin asks for it where a
//! pod has `hostUsers: false`: user, network, IPC and UTS namespace by path, the others new.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use hull_e2e::{Container, Lab, Spec, Streams, cgroup, is_one_clear_line, procfs};
use serde_json::json;

const ROOT: u32 = 200_000;
const SIZE: u32 = 65_536;
const SHARED: [(&str, &str); 4] = [
    ("user", "user"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
];

fn container<'lab>(lab: &'lab Lab, spec: &Spec) -> Container<'lab> {
    let c = lab.container_with(spec, Streams::OUTPUT);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    c
}

/// The container that makes the namespaces.
fn sandbox(lab: &Lab) -> Container<'_> {
    let spec = Spec::new(["sleep", "600"])
        .user_namespace(ROOT, SIZE)
        .set("/hostname", "pod")
        .namespace("cgroup", None);
    let c = container(lab, &spec);
    c.run();
    c
}

/// A spec of a further container.
fn member(sandbox: u32, text: &str) -> Spec {
    let path = |file: &str| PathBuf::from(format!("/proc/{sandbox}/ns/{file}"));
    SHARED
        .iter()
        .fold(Spec::new(["sh", "-c", text]), |spec, (kind, file)| {
            spec.namespace(kind, Some(&path(file)))
        })
        .namespace("cgroup", None)
}

fn with_maps(spec: Spec, host: u32, size: u32) -> Spec {
    let map = json!([{ "containerID": 0, "hostID": host, "size": size }]);
    spec.set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

fn pid(c: &Container<'_>) -> u32 {
    c.state().unwrap().pid
}

#[test]
fn members_share_the_namespaces_of_the_pod_and_have_their_own_others() {
    let lab = Lab::new();
    let sandbox = sandbox(&lab);
    let text = "id -u; hostname; cat /proc/self/uid_map; ls -d /proc/[0-9]* | wc -l; \
                ls /sys/class/net; touch /made; echo ready; exec sleep 600";
    let plain = member(pid(&sandbox), text);
    let described = with_maps(plain.clone(), ROOT, SIZE);
    for spec in [plain, described] {
        let mut c = container(&lab, &spec);
        let own = c.run();
        let seen = c.read_until("ready");
        let words: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(words[..5], ["0", "pod", "0", "200000", "65536"], "{seen}");
        assert!(words.contains(&"lo"), "{seen}");
        let of = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        for (_, kind) in SHARED {
            assert_eq!(of(own, kind), of(pid(&sandbox), kind), "{kind}");
        }
        for kind in ["mnt", "pid", "cgroup"] {
            assert_ne!(of(own, kind), of(pid(&sandbox), kind), "{kind}");
        }
        assert!(procfs::field(own, "Uid").unwrap().starts_with("200000\t"));
        assert_eq!(c.exec("e", ["id", "-u"]).stdout, "0\n");
        c.kill_and_wait();
    }
    assert_eq!(sandbox.exec("e", ["hostname"]).stdout, "pod\n");
}

#[test]
fn member_may_share_the_pid_namespace_too() {
    let lab = Lab::new();
    let sandbox = sandbox(&lab);
    let path = PathBuf::from(format!("/proc/{}/ns/pid", pid(&sandbox)));
    let text = "cat /proc/1/cmdline | tr '\\0' ' '; stat -c %u /proc/1";
    let spec = member(pid(&sandbox), text).namespace("pid", Some(&path));
    let mut c = container(&lab, &spec);
    let ran = c.run_to_end();
    assert!(ran.stdout.starts_with("sleep 600 0\n"), "{ran:?}");
}

/// The sandbox of such a pod: whoever made its user namespace made its network in it, the rest is new.
#[test]
fn other_namespaces_are_new_and_belong_to_the_joined_one() {
    let lab = Lab::new();
    let holder = sandbox(&lab);
    let text = "set -e; hostname inside; hostname; ls /sys/class/net; stat -c %u /dev/mqueue; \
                mkdir /mnt; mount -t tmpfs none /mnt; cat /proc/sys/kernel/msgmax";
    let spec = member(pid(&holder), text)
        .namespace("ipc", None)
        .namespace("uts", None)
        .set("/linux/sysctl", json!({ "kernel.msgmax": "4321" }));
    let spec = ["bounding", "effective", "permitted"]
        .iter()
        .fold(with_maps(spec, ROOT, SIZE), |spec, set| {
            spec.set(&format!("/process/capabilities/{set}/-"), "CAP_SYS_ADMIN")
        });
    let ran = container(&lab, &spec).run_to_end();
    assert_eq!(ran.stdout, "inside\nlo\n0\n4321\n", "{ran:?}");
    assert_eq!(holder.exec("e", ["hostname"]).stdout, "pod\n");
}

#[test]
fn user_of_a_member_owns_its_streams() {
    let lab = Lab::new();
    let sandbox = sandbox(&lab);
    let spec = member(pid(&sandbox), "echo out > /dev/stdout").user(1000, 1000);
    let mut c = container(&lab, &spec);
    assert_eq!(c.run_to_end().stdout, "out\n");
}

#[track_caller]
fn refuses(lab: &Lab, spec: &Spec, parts: &[&str]) {
    let c = container(lab, spec);
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), parts);
    let rootfs = c.bundle.rootfs().display().to_string();
    assert!(procfs::mounts_naming(&rootfs).is_empty());
    let groups = cgroup::directories_naming(&c.cgroup());
    assert!(groups.is_empty(), "{groups:?}");
}

#[test]
fn what_is_not_as_described_is_refused() {
    let lab = Lab::new();
    let sandbox = sandbox(&lab);
    let spec = member(pid(&sandbox), "true");
    let cause = ["join the user namespace", "uidMappings"];
    refuses(&lab, &with_maps(spec.clone(), ROOT + 1, SIZE), &cause);
    refuses(&lab, &with_maps(spec.clone(), ROOT, SIZE - 1), &cause);
    refuses(&lab, &spec.clone().user(SIZE, 0), &["65536", "not map"]);
    let half = spec.set("/linux/uidMappings", json!([{ "size": 1 }]));
    refuses(&lab, &half, &["linux.gidMappings", "missing"]);
    assert_eq!(sandbox.exec("e", ["id", "-u"]).stdout, "0\n");
}

#[test]
fn the_hosts_user_namespace_is_refused() {
    let lab = Lab::new();
    let own = PathBuf::from(format!("/proc/{}/ns/user", std::process::id()));
    let spec = Spec::new(["true"]).namespace("user", Some(&own));
    refuses(&lab, &spec, &["user namespace", "the host's"]);
    let wrong = PathBuf::from(format!("/proc/{}/ns/net", std::process::id()));
    let spec = Spec::new(["true"]).namespace("user", Some(&wrong));
    refuses(
        &lab,
        &spec,
        &["ns/net", "not a namespace file of that type"],
    );
}
