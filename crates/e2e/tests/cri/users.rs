//! Pods with `hostUsers: false`.

use std::fs;

use hull_e2e::cri::{ContainerConfig, PodConfig, on_newest};
use hull_e2e::{Image, procfs};
use serde_json::{Value, json};

use crate::SERVER;

const ROOT: u32 = 300_000;

fn users() -> Value {
    let map = json!([{ "host_id": ROOT, "container_id": 0, "length": 65_536 }]);
    json!({ "mode": 0, "uids": map, "gids": map })
}

const POINTER: &str = "/linux/security_context/namespace_options/userns_options";

#[test]
fn root_of_the_pod_is_nobody_on_the_host() {
    on_newest(|case| {
        let pod = case.pod_with(&PodConfig::new().set(POINTER, users()));
        let text =
            format!("cat /proc/self/uid_map; stat -c %u:%g / /bin/busybox /etc/hosts; {SERVER}");
        let one = ContainerConfig::shell(&text)
            .set(POINTER, users())
            .security("capabilities/add_capabilities", vec!["NET_ADMIN"]);
        let one = pod.start(&one.called("one", 0));
        one.wait_for("ready");
        let seen = one.written("stdout");
        let words: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(words[..3], ["0", "300000", "65536"], "{seen}");
        assert_eq!(words[3..5], ["0:0", "0:0"], "{seen}");
        let user = ContainerConfig::new(
            Image::Busybox,
            ["sh", "-c", "echo out > /dev/stdout; id -u"],
        )
        .set(POINTER, users())
        .security("run_as_user", json!({ "value": 1000 }))
        .called("other", 0);
        assert_eq!(pod.start(&user).output(), "out\n1000\n");
        for pid in [pod.pid(), one.pid()] {
            assert!(procfs::field(pid, "Uid").unwrap().starts_with("300000\t"));
        }
        let of = |pid: u32, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(one.pid(), "user"), of(pod.pid(), "user"));
        assert_ne!(of(one.pid(), "user"), of(std::process::id(), "user"));
        // Its network belongs to its users.
        assert_eq!(one.shell("ip link set lo down && id -u"), "0\n");
        assert!(one.shell("ls /sys/class/net").contains("eth0"));
    });
}

#[test]
fn volumes_of_such_a_pod_keep_their_owners() {
    on_newest(|case| {
        let dir = case.node().containerd().dir().join("volume-of-users");
        fs::create_dir_all(&dir).unwrap();
        let map = json!([{ "host_id": ROOT, "container_id": 0, "length": 65_536 }]);
        let mount = json!({
            "container_path": "/volume",
            "host_path": dir.display().to_string(),
            "uidMappings": map,
            "gidMappings": map,
        });
        let pod = case.pod_with(&PodConfig::new().set(POINTER, users()));
        let text = "stat -c %u /volume; touch /volume/made; stat -c %u /volume/made";
        let config = ContainerConfig::shell(text)
            .set(POINTER, users())
            .set("/mounts", vec![mount]);
        assert_eq!(pod.start(&config).output(), "0\n0\n");
        let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(dir.join("made")).unwrap());
        assert_eq!(owner, 0);
    });
}
