//! User and time namespaces and id-mapped mounts.

use crate::{host, lower_value, set, with};
use hull_abi::{
    Clock, IdMaps, IdRange, MountIdMap, MountSource, NamespaceKind, Plan, TimeOffset, host_id,
    map_text,
};
use hull_plan::{Invalid, lower_exec};
use proptest::prelude::*;
use serde_json::{Value, json};

fn line(container: u32, host: u32, size: u32) -> Value {
    json!({ "containerID": container, "hostID": host, "size": size })
}

const fn range(container: u32, host: u32, size: u32) -> IdRange {
    IdRange {
        container,
        host,
        size,
    }
}

/// A config with a user namespace, new or joined, and these maps.
fn config(path: Option<&str>, uids: Value, gids: Value) -> Value {
    let mut user = json!({ "type": "user" });
    if let Some(path) = path {
        set(&mut user, "/path", json!(path));
    }
    with(&[
        ("/linux/namespaces", json!([{ "type": "mount" }, user])),
        ("/linux/uidMappings", uids),
        ("/linux/gidMappings", gids),
    ])
}

fn usual() -> Value {
    json!([line(0, 1000, 10), line(20, 5000, 1)])
}

fn mapped() -> Value {
    config(None, usual(), usual())
}

#[track_caller]
fn refused(config: &Value, want: &str) {
    let message = lower_value(config).unwrap_err().to_string();
    assert_eq!(message, format!("invalid config: {want}"));
}

fn changed(mut config: Value, path: &str, value: Value) -> Value {
    set(&mut config, path, value);
    config
}

#[test]
fn maps_of_a_new_namespace_are_taken_as_given() {
    let plan = lower_value(&mapped()).unwrap();
    let map = vec![range(0, 1000, 10), range(20, 5000, 1)];
    let (uids, gids) = (map.clone(), map);
    assert_eq!(plan.id_maps, IdMaps { uids, gids });
    assert!(plan.needs_process_between());
    assert!(plan.has_new_namespace(NamespaceKind::User));
}

#[test]
fn joined_namespace_has_both_maps_or_none() {
    let path = Some("/proc/7/ns/user");
    let none = || json!([]);
    let plan = lower_value(&config(path, none(), none())).unwrap();
    assert!(plan.id_maps.is_empty() && plan.needs_process_between());
    let plan = lower_value(&config(path, usual(), usual())).unwrap();
    assert_eq!(plan.id_maps.uids.len(), 2);
    refused(
        &config(path, none(), usual()),
        "linux.uidMappings: it is missing, and a user namespace needs both maps",
    );
    refused(
        &config(path, usual(), none()),
        "linux.gidMappings: it is missing, and a user namespace needs both maps",
    );
}

#[test]
fn maps_that_the_kernel_would_refuse() {
    let uids = |map: Value| config(None, map, usual());
    for (config, want) in [
        (
            uids(json!([])),
            "linux.uidMappings: it is missing, and a user namespace needs both maps",
        ),
        (
            uids(json!([line(1, 1000, 10)])),
            "linux.uidMappings: it does not map 0, as which the container is set up",
        ),
        (
            uids(json!([line(0, 1000, 10), line(20, 1, 0)])),
            "linux.uidMappings[1].size: it is 0",
        ),
        (
            uids(json!([line(0, 1000, 10), line(9, 1, 5)])),
            "linux.uidMappings[1]: ids of the container are in line 0 already",
        ),
        (
            uids(json!([line(0, 1000, 10), line(30, 1009, 5)])),
            "linux.uidMappings[1]: ids of the host are in line 0 already",
        ),
        (
            uids(json!([line(0, 1, u32::MAX)])),
            "linux.uidMappings[0].hostID: 1 and 4294967295 ids from it are too many",
        ),
        (
            uids(json!([line(4_294_967_290, 0, 6)])),
            "linux.uidMappings[0].containerID: 4294967290 and 6 ids from it are too many",
        ),
        (
            uids(json!([{ "containerID": -1, "hostID": 0, "size": 1 }])),
            "linux.uidMappings[0].containerID: invalid value: integer `-1`, expected u32",
        ),
        (
            with(&[("/linux/gidMappings", usual())]),
            "linux.gidMappings: a map needs a user namespace",
        ),
    ] {
        refused(&config, want);
    }
    let many: Vec<Value> = (0..341).map(|i| line(i * 2, i * 2, 1)).collect();
    refused(
        &uids(json!(many)),
        "linux.uidMappings[340]: a map has at most 340 lines",
    );
}

#[test]
fn a_map_that_does_not_fit_into_a_page_is_refused() {
    let of = |count: u32| {
        let lines = (0..count).map(|i| {
            let first = if i == 0 { 0 } else { 2_000_000_000 + i * 2 };
            line(first, 3_000_000_000 + i * 2, 1)
        });
        json!(lines.collect::<Vec<_>>())
    };
    // "2000000002 3000000002 1\n" are 24 bytes.
    assert!(lower_value(&config(None, of(170), usual())).is_ok());
    refused(
        &config(None, of(172), usual()),
        "linux.uidMappings: as text it has more than the 4096 bytes that the kernel takes",
    );
}

#[test]
fn process_must_be_somebody_who_is_mapped() {
    let user = |value: Value| changed(mapped(), "/process/user", value);
    assert!(
        lower_value(&user(
            json!({ "uid": 20, "gid": 9, "additionalGids": [0, 20] })
        ))
        .is_ok()
    );
    refused(
        &user(json!({ "uid": 10 })),
        "process.user.uid: linux.uidMappings does not map 10",
    );
    refused(
        &user(json!({ "gid": 21 })),
        "process.user.gid: linux.gidMappings does not map 21",
    );
    refused(
        &user(json!({ "additionalGids": [1, 19] })),
        "process.user.additionalGids[1]: linux.gidMappings does not map 19",
    );
    let init = lower_value(&mapped()).unwrap();
    let exec = |uid: u32| -> Result<_, Invalid> {
        let process = json!({ "args": ["a"], "cwd": "/", "user": { "uid": uid } });
        lower_exec(process.to_string().as_bytes(), false, &init, &host())
    };
    let plan = exec(20).unwrap();
    assert!(plan.namespaces.contains(&NamespaceKind::User));
    assert_eq!(
        exec(19).unwrap_err().to_string(),
        "invalid config: process.user.uid: linux.uidMappings does not map 19"
    );
}

#[test]
fn sysctls_of_user_namespaces_need_one() {
    let sysctl = json!({ "user.max_user_namespaces": "1" });
    let plan = lower_value(&changed(mapped(), "/linux/sysctl", sysctl)).unwrap();
    assert_eq!(plan.sysctls[0].path, "user/max_user_namespaces");
}

#[test]
fn a_device_keeps_its_owner_on_the_host() {
    let devices = json!([
        { "path": "/dev/a", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600 },
        { "path": "/dev/b", "type": "c", "major": 1, "minor": 3 },
        { "path": "/dev/c", "type": "p", "uid": 1 },
    ]);
    let plan = lower_value(&changed(mapped(), "/linux/devices", devices.clone())).unwrap();
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("/dev/a"), "{:?}", plan.warnings);
    let plan = lower_value(&with(&[("/linux/devices", devices)])).unwrap();
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
}

fn id_maps(plan: &Plan) -> Vec<Option<MountIdMap>> {
    let maps = plan.mounts.iter().map(|mount| match &mount.source {
        MountSource::Bind { id_map, .. } => id_map.clone(),
        other => panic!("{other:?}"),
    });
    maps.collect()
}

#[test]
fn mounts_have_maps_of_their_own_or_the_containers() {
    let mount = |options: &[&str], own: bool| {
        let mut mount =
            json!({ "destination": "/a", "type": "bind", "source": "/s", "options": options });
        if own {
            set(&mut mount, "/uidMappings", json!([line(0, 7, 1)]));
            set(&mut mount, "/gidMappings", json!([line(0, 8, 1)]));
        }
        mount
    };
    let mounts = json!([
        mount(&["rbind"], false),
        mount(&["rbind"], true),
        mount(&["rbind", "ridmap"], true),
        mount(&["rbind", "ridmap", "idmap"], false),
    ]);
    let plan = lower_value(&changed(mapped(), "/mounts", mounts.clone())).unwrap();
    let own = IdMaps {
        uids: vec![range(0, 7, 1)],
        gids: vec![range(0, 8, 1)],
    };
    let map = |maps: &IdMaps, recursive| {
        Some(MountIdMap {
            maps: maps.clone(),
            recursive,
        })
    };
    assert_eq!(
        id_maps(&plan),
        [
            None,
            map(&own, false),
            map(&own, true),
            map(&plan.id_maps, false)
        ]
    );
    let without = json!([mount(&["bind"], true)]);
    assert!(
        lower_value(&with(&[("/mounts", without)]))
            .unwrap()
            .needs_process_between()
    );
    let plain = json!([mount(&["bind"], false)]);
    assert!(
        !lower_value(&with(&[("/mounts", plain)]))
            .unwrap()
            .needs_process_between()
    );
}

fn clocks(offsets: Value) -> Value {
    with(&[
        (
            "/linux/namespaces",
            json!([{ "type": "mount" }, { "type": "time" }]),
        ),
        ("/linux/timeOffsets", offsets),
    ])
}

#[test]
fn time_offsets() {
    let both = json!({ "boottime": { "secs": -5, "nanosecs": 999_999_999 }, "monotonic": {} });
    let plan = lower_value(&clocks(both)).unwrap();
    let offset = |clock, seconds, nanoseconds| TimeOffset {
        clock,
        seconds,
        nanoseconds,
    };
    assert_eq!(
        plan.time_offsets,
        [
            offset(Clock::Monotonic, 0, 0),
            offset(Clock::Boottime, -5, 999_999_999)
        ]
    );
    assert!(plan.needs_process_between());
    let joined = json!([{ "type": "mount" }, { "type": "time", "path": "/proc/7/ns/time" }]);
    let config = with(&[("/linux/namespaces", joined)]);
    assert!(!lower_value(&config).unwrap().needs_process_between());
    let second = json!({ "boottime": { "secs": 1 } });
    refused(
        &changed(config, "/linux/timeOffsets", second.clone()),
        "linux.timeOffsets: offsets need a new time namespace",
    );
    refused(
        &with(&[("/linux/timeOffsets", second)]),
        "linux.timeOffsets: offsets need a new time namespace",
    );
    refused(
        &clocks(json!({ "realtime": { "secs": 1 } })),
        "linux.timeOffsets[\"realtime\"]: only the clocks monotonic and boottime have offsets",
    );
    refused(
        &clocks(json!({ "boottime": { "nanosecs": 1_000_000_000 } })),
        "linux.timeOffsets[\"boottime\"].nanosecs: 1000000000 is a second or more",
    );
}

/// The rules of the kernel's map_write(), by another way: every id on its own.
fn kernel_takes(map: &[(u32, u32, u32)]) -> bool {
    let all = |first: u32, size: u32| u64::from(first)..u64::from(first) + u64::from(size);
    let distinct = |side: fn(&(u32, u32, u32)) -> u32| {
        let ids: Vec<u64> = map
            .iter()
            .flat_map(|line| all(side(line), line.2))
            .collect();
        let unique: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
        ids.len() == unique.len() && ids.iter().all(|id| *id < u64::from(u32::MAX))
    };
    map.iter().all(|line| line.2 > 0) && distinct(|line| line.0) && distinct(|line| line.1)
}

fn small_or_last() -> impl Strategy<Value = u32> {
    prop_oneof![0..40_u32, (u32::MAX - 20)..=u32::MAX]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_map_is_taken_exactly_if_the_kernel_takes_it(
        map in prop::collection::vec((small_or_last(), small_or_last(), 0..12_u32), 0..5),
        id in small_or_last(),
    ) {
        let lines: Vec<Value> = map.iter().map(|(c, h, n)| line(*c, *h, *n)).collect();
        let mount = json!([{
            "destination": "/a",
            "type": "bind",
            "source": "/s",
            "uidMappings": lines,
            "gidMappings": [line(0, 0, 1)],
        }]);
        let lowered = lower_value(&with(&[("/mounts", mount)]));
        prop_assert_eq!(lowered.is_ok(), kernel_takes(&map) && !map.is_empty(), "{:?}", map);
        if let Ok(plan) = lowered {
            let maps = id_maps(&plan).remove(0).unwrap().maps;
            prop_assert_eq!(hull_abi::parse_map(&map_text(&maps.uids)), Some(maps.uids.clone()));
            let expected = map.iter().find_map(|(c, h, n)| {
                let offset = id.checked_sub(*c).filter(|offset| offset < n)?;
                Some(h + offset)
            });
            prop_assert_eq!(host_id(&maps.uids, id), expected);
        }
    }
}
