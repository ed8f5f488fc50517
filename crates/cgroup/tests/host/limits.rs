//! Limits as the files show them.

use crate::scope::Scope;
use hull_abi::{BlockIo, Cpu, HugepageLimit, Memory, Resources, ThrottleDevice, ThrottleKind};
use hull_cgroup::{Absence, Error, update};

const MEBIBYTE: i64 = 1 << 20;

fn memory(limit: i64, swap: i64) -> Resources {
    let memory = Memory {
        limit_bytes: Some(limit),
        swap_bytes: Some(swap),
        ..Memory::default()
    };
    Resources {
        memory,
        ..Resources::default()
    }
}

fn cpu(cpu: Cpu) -> Resources {
    Resources {
        cpu,
        ..Resources::default()
    }
}

#[test]
fn created_cgroup_has_every_limit_where_its_controller_lives() {
    let scope = Scope::new("values");
    let cpu = Cpu {
        shares: Some(512),
        quota_us: Some(50_000),
        period_us: Some(200_000),
        burst_us: Some(10_000),
        cpus: Some("0".into()),
        mems: Some("0".into()),
        ..Cpu::default()
    };
    let memory = Memory {
        limit_bytes: Some(64 * MEBIBYTE),
        swap_bytes: Some(96 * MEBIBYTE),
        reservation_bytes: Some(32 * MEBIBYTE),
        swappiness: Some(10),
        ..Memory::default()
    };
    let hugepages = HugepageLimit {
        page_size: "2MB".into(),
        limit_bytes: 4 << 20,
    };
    let resources = Resources {
        cpu,
        memory,
        pids: Some(20),
        hugepages: vec![hugepages],
        unified: vec![("cgroup.max.depth".into(), "7".into())],
        ..Resources::default()
    };
    scope.create(resources).unwrap();
    let files = [
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "200000"),
        ("cpu", "cpu.cfs_burst_us", "10000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("memory", "memory.limit_in_bytes", "67108864"),
        ("memory", "memory.memsw.limit_in_bytes", "100663296"),
        ("memory", "memory.soft_limit_in_bytes", "33554432"),
        ("memory", "memory.swappiness", "10"),
        ("pids", "pids.max", "20"),
        ("hugetlb", "hugetlb.2MB.max", "4194304"),
        ("unified", "cgroup.max.depth", "7"),
    ];
    for (controller, file, value) in files {
        assert_eq!(scope.file(controller, file), value, "{file}");
    }
}

#[test]
fn memory_limits_grow_and_shrink_in_one_update() {
    let scope = Scope::new("memory");
    scope.create(memory(32 * MEBIBYTE, 32 * MEBIBYTE)).unwrap();
    for (limit, swap) in [
        (128, 192),
        (16, 16),
        (20, 400),
        (300, 300),
        (-1, -1),
        (8, 9),
    ] {
        let bytes = |mib: i64| if mib < 0 { mib } else { mib * MEBIBYTE };
        update(&scope.paths, &memory(bytes(limit), bytes(swap))).unwrap();
        let shown = |file| scope.file("memory", file).parse::<i64>().unwrap();
        let expected = |mib: i64| {
            if mib < 0 {
                shown("memory.limit_in_bytes")
            } else {
                mib * MEBIBYTE
            }
        };
        assert_eq!(shown("memory.limit_in_bytes"), expected(limit));
        assert_eq!(shown("memory.memsw.limit_in_bytes"), expected(swap));
        assert!(limit >= 0 || shown("memory.limit_in_bytes") > 1 << 60);
    }
}

#[test]
fn quota_period_and_burst_change_in_any_direction() {
    let scope = Scope::new("cpu");
    scope.create(Resources::default()).unwrap();
    for (quota, period, burst) in [
        (20_000, 50_000, 20_000),
        (5_000, 10_000, 1_000),
        (900_000, 1_000_000, 800_000),
    ] {
        let wanted = Cpu {
            quota_us: Some(quota),
            period_us: Some(period),
            burst_us: Some(burst),
            ..Cpu::default()
        };
        update(&scope.paths, &cpu(wanted)).unwrap();
        assert_eq!(scope.file("cpu", "cpu.cfs_quota_us"), quota.to_string());
        assert_eq!(scope.file("cpu", "cpu.cfs_period_us"), period.to_string());
        assert_eq!(scope.file("cpu", "cpu.cfs_burst_us"), burst.to_string());
    }
    update(
        &scope.paths,
        &cpu(Cpu {
            period_us: Some(950_000),
            ..Cpu::default()
        }),
    )
    .unwrap();
    assert_eq!(scope.file("cpu", "cpu.cfs_quota_us"), "900000");
    assert_eq!(scope.file("cpu", "cpu.cfs_period_us"), "950000");
}

#[test]
fn update_of_nothing_changes_nothing() {
    let scope = Scope::new("nothing");
    scope
        .create(Resources {
            pids: Some(5),
            ..memory(MEBIBYTE, MEBIBYTE)
        })
        .unwrap();
    update(&scope.paths, &Resources::default()).unwrap();
    assert_eq!(scope.file("pids", "pids.max"), "5");
    assert_eq!(scope.file("memory", "memory.limit_in_bytes"), "1048576");
}

#[test]
fn throttle_of_a_device_is_written() {
    let scope = Scope::new("throttle");
    // Any disk will do; the kernel refuses numbers of none.
    let disk = std::fs::read_dir("/sys/block")
        .unwrap()
        .next()
        .expect("a block device")
        .unwrap();
    let numbers = std::fs::read_to_string(disk.path().join("dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    let throttle = ThrottleDevice {
        kind: ThrottleKind::WriteBps,
        major: major.parse().unwrap(),
        minor: minor.parse().unwrap(),
        rate: 1 << 20,
    };
    let block_io = BlockIo {
        throttles: vec![throttle],
        ..BlockIo::default()
    };
    scope
        .create(Resources {
            block_io,
            ..Resources::default()
        })
        .unwrap();
    let shown = scope.file("blkio", "blkio.throttle.write_bps_device");
    assert_eq!(shown, format!("{} 1048576", numbers.trim()));
}

#[test]
fn refused_value_names_file_value_and_cause() {
    let scope = Scope::new("refused");
    scope.create(Resources::default()).unwrap();
    let wanted = Cpu {
        cpus: Some("100000".into()),
        ..Cpu::default()
    };
    let error = update(&scope.paths, &cpu(wanted)).unwrap_err();
    let file = format!("{}/cpuset.cpus", scope.dir_of("cpuset"));
    assert!(
        error
            .to_string()
            .starts_with(&format!("write \"100000\" to {file}: ")),
        "{error}"
    );
}

#[test]
fn limit_without_a_controller_is_named() {
    let mut scope = Scope::new("lost");
    scope
        .paths
        .v1
        .retain(|v1| !v1.controllers.iter().any(|name| name == "memory"));
    scope.create(memory(-1, -1)).unwrap();
    let error = update(&scope.paths, &memory(MEBIBYTE, MEBIBYTE)).unwrap_err();
    let expected = Error::NoController {
        limit: "memory.limit",
        controller: "memory".into(),
        absence: Absence::Host,
    };
    assert_eq!(error, expected);
}

#[test]
fn unified_file_of_a_v1_controller_is_refused() {
    let scope = Scope::new("verbatim");
    scope.create(Resources::default()).unwrap();
    for file in ["memory.max", "pids.max"] {
        let unified = vec![(file.to_owned(), "max".to_owned())];
        let error = update(
            &scope.paths,
            &Resources {
                unified,
                ..Resources::default()
            },
        );
        assert!(
            matches!(
                error,
                Err(Error::NoController {
                    limit: "unified",
                    ..
                })
            ),
            "{error:?}"
        );
    }
    for file in [
        "../cgroup.procs",
        "cgroup.procs/..",
        "cgroup.procs",
        "cgroup.kill",
        "x",
        "",
    ] {
        let unified = vec![(file.to_owned(), "0".to_owned())];
        let error = update(
            &scope.paths,
            &Resources {
                unified,
                ..Resources::default()
            },
        );
        assert!(matches!(error, Err(Error::Value { .. })), "{error:?}");
    }
}
