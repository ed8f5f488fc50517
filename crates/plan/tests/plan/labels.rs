//! `linux.mountLabel` on a host with SELinux.

use crate::{host, lower_on, with};
use hull_abi::MountSource;
use hull_plan::Host;
use serde_json::{Value, json};

const LABEL: &str = "system_u:object_r:container_file_t:s0:c1,c2";

fn mount(fstype: &str, options: &[&str]) -> Value {
    json!({ "destination": "/m", "type": fstype, "source": "/s", "options": options })
}

/// The data of a mount in a container with a label.
fn data(mount: Value) -> Vec<(String, Option<String>)> {
    let host = Host {
        selinux: true,
        ..host()
    };
    let config = with(&[
        ("/mounts", json!([mount])),
        ("/linux/mountLabel", json!(LABEL)),
    ]);
    let plan = lower_on(&host, &config).unwrap();
    match plan.mounts.into_iter().next().unwrap().source {
        MountSource::Filesystem { data, .. } => data,
        MountSource::Bind { .. } | MountSource::Cgroup => Vec::new(),
    }
}

#[test]
fn new_file_systems_get_the_label_as_it_is() {
    let label = [("context".to_owned(), Some(LABEL.to_owned()))];
    for fstype in ["tmpfs", "devpts", "overlay", "ext4"] {
        assert_eq!(data(mount(fstype, &["nosuid"])), label, "{fstype}");
    }
}

#[test]
fn what_selinux_labels_otherwise_gets_none() {
    for fstype in ["proc", "sysfs", "mqueue", "cgroup", "bind"] {
        assert_eq!(data(mount(fstype, &[])), [], "{fstype}");
    }
    assert_eq!(data(mount("none", &["rbind"])), []);
}

#[test]
fn label_of_the_mount_beats_that_of_the_container() {
    let own = [("context".to_owned(), Some("a:b:c:d".to_owned()))];
    assert_eq!(data(mount("tmpfs", &["context=a:b:c:d"])), own);
}
