//! Single decisions that the golden files do not show.

use crate::{host, lower_on, lower_value, smallest, with};
use hull_abi::{ContainerId, DeviceKind, MountFlags, MountSource, Propagation};
use hull_plan::{Host, Inputs, lower};
use serde_json::{Value, json};

fn mount(mount: Value) -> hull_abi::Mount {
    let plan = lower_value(&with(&[("/mounts", json!([mount]))])).unwrap();
    plan.mounts.into_iter().next().unwrap()
}

#[test]
fn the_smallest_config_has_safe_defaults() {
    let plan = lower_value(&smallest()).unwrap();
    assert_eq!(
        plan.process.capabilities,
        hull_abi::CapabilitySets::default()
    );
    assert_eq!(plan.process.user.umask, 0o022);
    assert_eq!(plan.process.env, Vec::<String>::new());
    assert_eq!(plan.cgroups_path, "/default/c1");
    assert_eq!(plan.root.path, "/run/bundle/rootfs");
    assert!(plan.root.pivot && !plan.root.readonly);
    assert!(plan.device_links);
    assert_eq!(plan.devices.len(), 6);
    let rules = plan.resources.devices.unwrap();
    assert!(!rules[0].allow && rules[0].kind == DeviceKind::All);
    assert!(rules[1..].iter().all(|rule| rule.allow));
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn a_leading_deny_all_is_not_repeated() {
    let deny = json!({ "allow": false, "access": "mrw" });
    let allow = json!({ "allow": true, "type": "b", "major": 8, "minor": -1, "access": "r" });
    let rules = |list: Value| {
        let plan = lower_value(&with(&[("/linux/resources/devices", list)])).unwrap();
        plan.resources.devices.unwrap()
    };
    let without = rules(json!([allow]));
    let given = rules(json!([deny, allow]));
    assert_eq!(without, given);
    assert_eq!((given[1].major, given[1].minor), (Some(8), None));
    assert!(given[1].read && !given[1].write && !given[1].mknod);
    assert_eq!(rules(json!([allow, deny]))[2], given[0]);
}

#[test]
fn a_rule_for_all_kinds_means_everything_or_is_two_rules() {
    let rules =
        json!([{ "allow": true, "access": "rwm" }, { "allow": true, "major": 7, "access": "r" }]);
    let plan = lower_value(&with(&[("/linux/resources/devices", rules)])).unwrap();
    let rules = plan.resources.devices.unwrap();
    let kinds: Vec<_> = rules[..4]
        .iter()
        .map(|rule| (rule.kind, rule.major))
        .collect();
    let (all, char, block) = (DeviceKind::All, DeviceKind::Char, DeviceKind::Block);
    assert_eq!(
        kinds,
        [(all, None), (all, None), (char, Some(7)), (block, Some(7))]
    );
}

#[test]
fn containerds_rootfs_beats_the_config() {
    let id = ContainerId::parse("c1").unwrap();
    let config = with(&[("/root", Value::Null)]).to_string();
    let inputs = Inputs {
        config: config.as_bytes(),
        bundle: "/run/bundle",
        id: &id,
        namespace: "k8s.io",
        rootfs: Some("/run/bundle/rootfs"),
        no_pivot: true,
        terminal: false,
    };
    let plan = lower(&inputs, &host()).unwrap();
    assert_eq!(
        (plan.root.path.as_str(), plan.root.pivot),
        ("/run/bundle/rootfs", false)
    );
    assert_eq!(plan.cgroups_path, "/k8s.io/c1");
}

#[test]
fn binds_are_recognised_by_type_or_option() {
    let bind = |recursive| MountSource::Bind {
        source: "/run/bundle/s".to_owned(),
        recursive,
        id_map: None,
    };
    for (typ, options, recursive) in [
        (json!("bind"), json!([]), false),
        (json!("none"), json!(["bind"]), false),
        (json!(null), json!(["rbind"]), true),
        (json!("tmpfs"), json!(["rbind", "bind"]), true),
    ] {
        let lowered =
            mount(json!({ "destination": "/d", "type": typ, "source": "s", "options": options }));
        assert_eq!(lowered.source, bind(recursive));
    }
}

#[test]
fn mount_attributes_come_from_the_options_only() {
    let proc = mount(json!({ "destination": "/proc", "type": "proc" }));
    assert_eq!((proc.set, proc.clear), (MountFlags(0), MountFlags(0)));
    let options = json!(["ro", "rro", "rshared", "hidepid=2", "lazytime"]);
    let lowered = mount(json!({ "destination": "/p", "type": "proc", "options": options }));
    assert_eq!(
        (lowered.set, lowered.set_recursive),
        (MountFlags::RDONLY, MountFlags::RDONLY)
    );
    assert_eq!(lowered.propagation, Some((Propagation::Shared, true)));
    let data = vec![
        ("lazytime".to_owned(), None),
        ("hidepid".to_owned(), Some("2".to_owned())),
    ];
    let (fstype, source) = ("proc".to_owned(), "proc".to_owned());
    assert_eq!(
        lowered.source,
        MountSource::Filesystem {
            fstype,
            source,
            data
        }
    );
}

#[test]
fn both_types_of_cgroup_mounts_are_the_own_cgroup() {
    for name in ["cgroup", "cgroup2"] {
        let mounts = json!([{ "destination": "/c", "type": name }]);
        let plan = lower_value(&with(&[("/mounts", mounts)])).unwrap();
        assert_eq!(plan.mounts[0].source, MountSource::Cgroup);
    }
}

#[test]
fn nothing_is_made_in_a_bound_dev() {
    let plan = lower_value(&with(&[
        (
            "/mounts",
            json!([{ "destination": "/dev/", "type": "bind", "source": "/dev" }]),
        ),
        ("/linux/devices", json!([{ "path": "/dev/x", "type": "p" }])),
    ]))
    .unwrap();
    assert_eq!((plan.devices.len(), plan.device_links), (0, false));
    assert_eq!(
        plan.warnings,
        ["device \"/dev/x\" is not made because /dev is a bind mount"]
    );
}

#[test]
fn a_listed_device_replaces_the_default_one() {
    let first = json!({ "path": "/dev/./null", "type": "c", "major": 1, "minor": 3, "uid": 7 });
    let again = json!({ "path": "/dev/null", "type": "b" });
    let plan = lower_value(&with(&[("/linux/devices", json!([first, again]))])).unwrap();
    assert_eq!(plan.devices.len(), 6);
    let device = &plan.devices[5];
    assert_eq!(
        (device.path.as_str(), device.mode, device.uid),
        ("/dev/null", 0o020_666, 7)
    );
    assert_eq!(
        plan.warnings,
        ["device \"/dev/null\" is listed twice, taking the first"]
    );
}

#[test]
fn capabilities_that_cannot_be_given_are_dropped_with_a_warning() {
    let names = json!([
        "CAP_CHOWN",
        "cap_bpf",
        "SYS_ADMIN",
        "CAP_FUTURE",
        "CAP_CHECKPOINT_RESTORE"
    ]);
    let sets = json!({ "bounding": names, "permitted": names, "effective": names });
    let host = Host {
        last_capability: 39,
        grantable_capabilities: !(1 << 21),
        ..host()
    };
    let plan = lower_on(&host, &with(&[("/process/capabilities", sets)])).unwrap();
    let got = plan.process.capabilities;
    assert_eq!(
        (got.bounding, got.permitted, got.effective),
        (1 | 1 << 39, 1 | 1 << 39, 1 | 1 << 39)
    );
    assert_eq!((got.inheritable, got.ambient), (0, 0));
    assert_eq!(
        plan.warnings,
        [
            "ignoring unknown capability \"CAP_FUTURE\"",
            "ignoring capability CAP_CHECKPOINT_RESTORE: the kernel does not know it",
            "ignoring capability CAP_SYS_ADMIN: the shim does not have it",
        ]
    );
}

#[test]
fn go_style_empty_values_count_as_absent() {
    let plan = lower_value(&with(&[
        ("/hostname", json!("")),
        ("/hooks", json!({ "prestart": null, "poststop": [] })),
        ("/process/apparmorProfile", json!("")),
        ("/process/selinuxLabel", json!("")),
        ("/process/rlimits", json!([])),
        ("/linux/mountLabel", json!("")),
        ("/linux/cgroupsPath", json!("")),
        ("/linux/rootfsPropagation", json!("")),
        ("/linux/namespaces/0/path", json!("")),
        ("/linux/uidMappings", json!([])),
        ("/linux/intelRdt", json!({})),
        ("/linux/personality", json!({ "domain": "LINUX" })),
        (
            "/linux/resources",
            json!({ "network": { "classID": 0, "priorities": [] }, "rdma": {}, "cpu": { "cpus": "" } }),
        ),
    ]))
    .unwrap();
    let want = lower_value(&smallest()).unwrap();
    assert_eq!(plan, want);
}

#[test]
fn cgroup_paths_are_cleaned() {
    for (given, want) in [
        ("/a//b/./c/", "/a/b/c"),
        ("a/b", "a/b"),
        ("/a:b:c", "/a:b:c"),
    ] {
        let plan = lower_value(&with(&[("/linux/cgroupsPath", json!(given))])).unwrap();
        assert_eq!(plan.cgroups_path, want);
        assert_eq!(plan.scope, None);
    }
}

/// The user of init, where it sees its own cgroup alone and may write to it.
#[test]
fn cgroup_has_an_owner_where_all_of_it_is_asked_for() {
    let view = |kind: &str, destination: &str, options: &[&str]| json!({ "type": kind, "source": "cgroup", "destination": destination, "options": options });
    let owner = |uid: u32, namespaces: Value, mounts: Value| {
        let plan = lower_value(&with(&[
            ("/process/user", json!({ "uid": uid, "gid": 7 })),
            ("/linux/namespaces", namespaces),
            ("/mounts", mounts),
        ]));
        plan.unwrap().cgroup_owner()
    };
    let own = || json!([{ "type": "mount" }, { "type": "cgroup" }]);
    let (rw, place) = (&["rw", "nosuid"][..], "/sys/fs/cgroup");
    for kind in ["cgroup", "cgroup2"] {
        assert_eq!(
            owner(1000, own(), json!([view(kind, place, rw)])),
            Some(1000)
        );
        assert_eq!(
            owner(1000, own(), json!([view(kind, place, &[])])),
            Some(1000)
        );
    }
    let joined = json!([{ "type": "mount" }, { "type": "cgroup", "path": "/proc/1/ns/cgroup" }]);
    let none = [
        owner(0, own(), json!([view("cgroup", place, rw)])),
        owner(1000, own(), json!([view("cgroup", place, &["ro"])])),
        owner(1000, own(), json!([view("cgroup", "/sys/fs/cgroup/x", rw)])),
        owner(1000, own(), json!([view("tmpfs", place, rw)])),
        owner(1000, own(), json!([])),
        owner(
            1000,
            own(),
            json!([view("cgroup", place, rw), view("cgroup", place, &["ro"])]),
        ),
        owner(
            1000,
            json!([{ "type": "mount" }]),
            json!([view("cgroup", place, rw)]),
        ),
        owner(1000, joined, json!([view("cgroup", place, rw)])),
    ];
    assert_eq!(none, [None; 8]);
}

#[test]
fn three_parts_with_colons_are_a_unit_of_systemd() {
    let given = "kubepods-burstable.slice:cri-containerd:c1";
    let plan = lower_value(&with(&[("/linux/cgroupsPath", json!(given))])).unwrap();
    assert_eq!(
        plan.cgroups_path,
        "/kubepods.slice/kubepods-burstable.slice/cri-containerd-c1.scope"
    );
    let scope = plan.scope.unwrap();
    assert_eq!(scope.unit, "cri-containerd-c1.scope");
    assert_eq!(scope.slice, "kubepods-burstable.slice");
}
