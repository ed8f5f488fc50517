//! Resources of Update requests.

use hull_plan::lower_resources;
use serde_json::{Value, json};

fn update(resources: &Value) -> (hull_abi::Resources, Vec<String>) {
    lower_resources(resources.to_string().as_bytes()).unwrap()
}

#[test]
fn an_empty_update_changes_nothing() {
    let (resources, warnings) = update(&json!({}));
    assert_eq!(resources, hull_abi::Resources::default());
    assert_eq!(warnings, Vec::<String>::new());
    let nulls = json!({ "pids": { "limit": null }, "memory": null, "devices": null });
    assert_eq!(update(&nulls).0, hull_abi::Resources::default());
}

#[test]
fn every_field_is_taken() {
    let (resources, warnings) = update(&json!({
        "cpu": {
            "shares": 2, "quota": -1, "period": 5, "burst": 6, "idle": 1, "realtimeRuntime": 7,
            "realtimePeriod": 8, "cpus": "0-1,3", "mems": "0",
        },
        "memory": {
            "limit": 100, "reservation": 50, "swap": -1, "swappiness": 60,
            "disableOOMKiller": true, "checkBeforeUpdate": true,
        },
        "pids": { "limit": -1 },
        "blockIO": {
            "weight": 10,
            "weightDevice": [{ "major": 8, "minor": 1, "weight": 20 }],
            "throttleWriteBpsDevice": [{ "major": 8, "minor": 2, "rate": 3 }],
            "throttleReadIOPSDevice": [{ "major": 8, "minor": 4, "rate": 5 }],
        },
        "hugepageLimits": [{ "pageSize": "64KB", "limit": 18_446_744_073_709_551_615_u64 }],
        "rdma": {
            "mlx5_1": { "hcaHandles": 3, "hcaObjects": 10000 }, "mlx5_0": { "hcaObjects": 0 },
        },
        "network": {
            "classID": 1_048_577,
            "priorities": [{ "name": "eth0", "priority": 5 }, { "name": "lo", "priority": 0 }],
        },
        "unified": { "b.max": "2", "a.max": "1" },
        "devices": [],
    }));
    assert_eq!(warnings, Vec::<String>::new());
    let cpu = &resources.cpu;
    assert_eq!(
        (cpu.shares, cpu.quota_us, cpu.period_us),
        (Some(2), Some(-1), Some(5))
    );
    assert_eq!(
        (cpu.burst_us, cpu.idle, cpu.realtime_runtime_us),
        (Some(6), Some(1), Some(7))
    );
    assert_eq!(
        (cpu.realtime_period_us, cpu.mems.as_deref()),
        (Some(8), Some("0"))
    );
    assert_eq!(cpu.cpus.as_deref(), Some("0-1,3"));
    let memory = &resources.memory;
    assert_eq!(
        (memory.limit_bytes, memory.reservation_bytes),
        (Some(100), Some(50))
    );
    assert_eq!((memory.swap_bytes, memory.swappiness), (Some(-1), Some(60)));
    assert_eq!(memory.disable_oom_killer, Some(true));
    assert!(memory.check_before_update);
    let rdma: Vec<_> = resources
        .rdma
        .iter()
        .map(|limit| (limit.device.as_str(), limit.hca_handles, limit.hca_objects))
        .collect();
    assert_eq!(
        rdma,
        [("mlx5_0", None, Some(0)), ("mlx5_1", Some(3), Some(10_000))]
    );
    assert_eq!(resources.network.class_id, Some(1_048_577));
    let priorities = [("eth0", 5), ("lo", 0)].map(|(name, p)| (name.to_owned(), p));
    assert_eq!(resources.network.priorities, priorities);
    assert_eq!(resources.pids, Some(-1));
    assert_eq!(resources.block_io.weight, Some(10));
    assert_eq!(resources.block_io.weight_devices[0].weight, 20);
    let rates: Vec<u64> = resources
        .block_io
        .throttles
        .iter()
        .map(|one| one.rate)
        .collect();
    assert_eq!(rates, [3, 5]);
    assert_eq!(resources.hugepages[0].limit_bytes, i64::MAX.cast_unsigned());
    let unified = [("a.max", "1"), ("b.max", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(resources.unified, unified);
    // Deny all, then the eleven default rules.
    assert_eq!(resources.devices.unwrap().len(), 12);
}

#[test]
fn what_has_no_effect_is_said() {
    let (resources, warnings) = update(&json!({
        "pids": { "limit": 0 },
        "memory": { "kernel": 1, "useHierarchy": false, "swappiness": 18_446_744_073_709_551_615_u64 },
        "blockIO": { "weight": 0, "leafWeight": 10 },
    }));
    assert_eq!(
        (resources.pids, resources.memory.swappiness),
        (Some(1), None)
    );
    assert_eq!(
        warnings,
        [
            "ignoring the kernel memory limits: the kernel has none any more",
            "ignoring memory.useHierarchy: cgroups are always hierarchical",
            "taking a limit of 0 tasks as 1",
            "ignoring blockIO leaf weights: the kernel has none any more",
        ]
    );
}
