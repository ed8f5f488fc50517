//! Each limit of a spec is the value of a file, and what it stands for happens.

use std::fs;
use std::path::Path;

use hull_e2e::{Container, Lab, Spec, block, eventually, limit};
use serde_json::{Value, json};

use crate::group::Group;
use crate::{MIB, both_kinds, one_by_one, script, sleeper};

/// A disk of this machine: its name and its numbers.
pub(crate) fn disk() -> (String, u64, u64) {
    let mut names: Vec<String> = fs::read_dir("/sys/block")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // These have no queue before something is put into them.
        .filter(|name| !name.starts_with("loop") && !name.starts_with("ram"))
        .collect();
    names.sort();
    let name = names.first().expect("a block device").clone();
    let numbers = fs::read_to_string(format!("/sys/block/{name}/dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    (name, major.parse().unwrap(), minor.parse().unwrap())
}

type Files<'a> = &'a [(&'a str, &'a str)];

/// Each spec gives a group with these files.
#[track_caller]
fn created<'a>(table: impl IntoIterator<Item = (Spec, Files<'a>)>) {
    one_by_one(table, |c, values| Group::of(c).expect(values));
}

#[test]
fn memory_and_swap() {
    let table: [(Value, Files<'_>); 6] = [
        (
            json!({ "limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB }),
            &[
                ("memory.max", "67108864"),
                ("memory.low", "33554432"),
                ("memory.swap.max", "33554432"),
            ],
        ),
        (
            json!({ "limit": 64 * MIB, "swap": 64 * MIB }),
            &[("memory.max", "67108864"), ("memory.swap.max", "0")],
        ),
        (
            json!({ "limit": 64 * MIB, "swap": -1 }),
            &[("memory.max", "67108864"), ("memory.swap.max", "max")],
        ),
        (
            json!({ "limit": 64 * MIB }),
            &[("memory.max", "67108864"), ("memory.low", "0")],
        ),
        (
            json!({ "limit": -1, "reservation": -1 }),
            &[
                ("memory.max", "max"),
                ("memory.low", "max"),
                ("memory.swap.max", "max"),
            ],
        ),
        (
            json!({ "limit": 0, "reservation": 0, "swap": 0 }),
            &[
                ("memory.max", "max"),
                ("memory.low", "0"),
                ("memory.swap.max", "max"),
            ],
        ),
    ];
    created(table.map(|(memory, values)| (sleeper().resource("memory", memory), values)));
}

#[test]
fn cpu_weight_is_converted_from_shares() {
    // ⌈10^((L² + 125 L) / 612 − 7/34)⌉ with L = log₂ shares, by hand; the ends are clipped.
    let table = [
        (1, "1"),
        (2, "1"),
        (256, "35"),
        (512, "59"),
        (1024, "100"),
        (262_144, "10000"),
        (1_000_000, "10000"),
        (0, "100"),
    ];
    let specs = table.map(|(shares, weight)| (sleeper().resource("cpu/shares", shares), weight));
    one_by_one(specs, |c, weight| {
        Group::of(c).expect(&[("cpu.weight", weight)]);
    });
}

#[test]
fn cpu_quota_idleness_and_placement() {
    let table: [(Value, Files<'_>); 9] = [
        (
            json!({ "quota": 20_000, "period": 50_000, "burst": 10_000 }),
            &[("cpu.max", "20000 50000"), ("cpu.max.burst", "10000")],
        ),
        (
            json!({ "quota": 20_000, "period": 50_000 }),
            &[("cpu.max", "20000 50000"), ("cpu.max.burst", "0")],
        ),
        (json!({ "quota": 20_000 }), &[("cpu.max", "20000 100000")]),
        (json!({ "period": 50_000 }), &[("cpu.max", "max 50000")]),
        (
            json!({ "quota": -1, "period": 50_000 }),
            &[("cpu.max", "max 50000")],
        ),
        (
            json!({ "quota": 0, "period": 0 }),
            &[("cpu.max", "max 100000")],
        ),
        (json!({ "idle": 1 }), &[("cpu.idle", "1")]),
        (
            json!({ "idle": 0, "shares": 1024 }),
            &[("cpu.idle", "0"), ("cpu.weight", "100")],
        ),
        (
            json!({ "cpus": "0", "mems": "0" }),
            &[
                ("cpuset.cpus", "0"),
                ("cpuset.mems", "0"),
                ("cpuset.cpus.effective", "0"),
            ],
        ),
    ];
    created(table.map(|(cpu, values)| (sleeper().resource("cpu", cpu), values)));
}

#[test]
fn number_of_tasks() {
    let table: [(i64, Files<'_>); 3] = [
        (33, &[("pids.max", "33")]),
        (-1, &[("pids.max", "max")]),
        (0, &[("pids.max", "1")]),
    ];
    created(table.map(|(limit, values)| (sleeper().resource("pids/limit", limit), values)));
}

#[test]
fn rates_of_block_devices() {
    let (_, major, minor) = disk();
    let rate = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
    let with_all = sleeper()
        .resource("blockIO/throttleReadBpsDevice", rate(MIB))
        .resource("blockIO/throttleWriteBpsDevice", rate(2 * MIB))
        .resource("blockIO/throttleReadIOPSDevice", rate(300))
        .resource("blockIO/throttleWriteIOPSDevice", rate(400));
    let all = format!("{major}:{minor} rbps=1048576 wbps=2097152 riops=300 wiops=400");
    let with_one = sleeper().resource("blockIO/throttleReadIOPSDevice", rate(300));
    let one = format!("{major}:{minor} rbps=max wbps=max riops=300 wiops=max");
    let table: [(Spec, Files<'_>); 2] = [
        (with_all, &[("io.max", &all)]),
        (with_one, &[("io.max", &one)]),
    ];
    created(table);
}

/// Which file takes a weight depends on the kernel; without any the limit is refused by name.
#[test]
fn weight_of_block_devices() {
    let lab = Lab::new();
    let probe = Group::make(&lab, "probe");
    let c = lab.container(&sleeper().resource("blockIO/weight", 500));
    let group = Group::of(&c);
    let [bfq, plain] = ["io.bfq.weight", "io.weight"].map(|file| probe.has(file));
    fs::remove_dir(probe.dir()).unwrap();
    if bfq {
        c.create();
        assert_eq!(group.read("io.bfq.weight"), "default 500");
    } else if plain {
        c.create();
        // 1 + (500 - 10) * 9999 / 990
        assert_eq!(group.read("io.weight"), "default 4950");
    } else {
        let error = c.try_create().unwrap_err();
        hull_e2e::is_one_clear_line(error.message(), &["blockIO.weight", "io.bfq.weight"]);
        assert!(!group.exists());
    }
}

/// The kernel may have no scheduler at work on the disk that heeds a weight of its own.
#[test]
fn weight_of_one_block_device() {
    let (_, major, minor) = disk();
    let weights = json!([{ "major": major, "minor": minor, "weight": 500 }]);
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("blockIO/weightDevice", weights));
    let group = Group::of(&c);
    match c.try_create() {
        Ok(_) => {
            let file = ["io.bfq.weight", "io.weight"]
                .into_iter()
                .find(|file| group.has(file));
            let content = group.read(file.unwrap());
            assert!(content.contains(&format!("{major}:{minor} ")), "{content}");
        }
        Err(error) => {
            let value = format!("{major}:{minor} ");
            hull_e2e::is_one_clear_line(error.message(), &["weight", &value]);
            assert!(!group.exists());
        }
    }
}

#[test]
fn huge_pages() {
    let limit = json!([{ "pageSize": "2MB", "limit": 4 * MIB }]);
    let values: Files<'_> = &[
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max", "4194304"),
    ];
    created([(sleeper().resource("hugepageLimits", limit), values)]);
}

#[test]
fn files_by_their_names_win_over_limits() {
    let (_, major, minor) = disk();
    let lines = format!("{major}:{minor} rbps=1048576\n{major}:{minor} wiops=20\n");
    let unified = json!({
        "memory.high": "50331648", "memory.max": "100663296", "cpu.weight": "42",
        "pids.max": "7", "memory.oom.group": "1", "io.max": lines,
    });
    let spec = sleeper()
        .resource("memory/limit", 64 * MIB)
        .resource("cpu/shares", 1024)
        .resource("pids/limit", 33)
        .resource("unified", unified);
    let io = format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=20");
    let values: Files<'_> = &[
        ("memory.high", "50331648"),
        ("memory.max", "100663296"),
        ("cpu.weight", "42"),
        ("pids.max", "7"),
        ("memory.oom.group", "1"),
        ("io.max", &io),
    ];
    created([(spec, values)]);
}

#[test]
fn limits_of_a_wasm_guest_are_those_of_its_cgroup() {
    for (lab, spec) in both_kinds() {
        let spec = spec
            .resource("memory/limit", 64 * MIB)
            .resource("cpu/shares", 512)
            .resource("pids/limit", 5);
        let mut c = lab.container(&spec);
        let pid = c.run();
        c.read_until("ready\n");
        let group = Group::of(&c);
        group.expect(&[
            ("memory.max", "67108864"),
            ("cpu.weight", "59"),
            ("pids.max", "5"),
        ]);
        assert_eq!(group.processes(), [pid]);
    }
}

// What the limits do.

#[test]
fn quota_slows_a_loop() {
    let lab = Lab::new();
    let spec = script("while :; do :; done")
        .resource("cpu/quota", 5_000)
        .resource("cpu/period", 50_000);
    let c = lab.container(&spec);
    c.run();
    let group = Group::of(&c);
    eventually("five periods in which it was stopped", || {
        (group.counter("cpu.stat", "nr_throttled") >= 5).then_some(())
    });
}

#[test]
fn placement_is_that_of_the_process_and_its_execs() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("cpu/cpus", "1"));
    let pid = c.run();
    let allowed = hull_e2e::procfs::field(pid, "Cpus_allowed_list");
    assert_eq!(allowed.as_deref(), Some("1"));
    let ran = c.exec("e", ["grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(ran.stdout, "Cpus_allowed_list:\t1\n");
}

#[test]
fn rate_slows_reading() {
    let (name, major, minor) = disk();
    let rate = json!([{ "major": major, "minor": minor, "rate": 256 * 1024 }]);
    let spec = reading(
        &name,
        major,
        minor,
        "dd if=/disk of=/dev/null bs=64k count=16 iflag=direct",
    )
    .resource("blockIO/throttleReadBpsDevice", rate);
    let lab = Lab::new();
    let c = lab.container(&spec);
    let begun = std::time::Instant::now();
    c.run();
    assert_eq!(c.wait(), 0, "{}", error_text(c));
    // A MiB at a quarter of that a second; the first slice is free.
    let took = begun.elapsed();
    assert!(took.as_secs_f64() > 2.0, "{took:?}");
}

/// A script in whose container `/disk` is a disk of the host, which it may read.
fn reading(name: &str, major: u64, minor: u64, text: &str) -> Spec {
    let rule = json!({
        "allow": true, "type": "b", "major": major, "minor": minor, "access": "r",
    });
    assert!(Path::new("/sys/block").join(name).exists());
    script(text)
        .set(
            "/linux/devices/-",
            json!({ "path": "/disk", "type": "b", "major": major, "minor": minor }),
        )
        .resource("devices/-", rule)
}

fn error_text(mut c: Container<'_>) -> String {
    let err = c.stdio.err.as_mut().unwrap().read_to_end(limit()).unwrap();
    String::from_utf8_lossy(&err).into_owned()
}

#[test]
fn number_of_tasks_counts_execs_too() {
    let lab = Lab::new();
    // Init, an exec, and the process in passing that an exec needs to come in.
    let c = lab.container(&sleeper().resource("pids/limit", 3));
    c.run();
    let _stdio = c.add_exec("e", ["sleep", "600"]);
    c.try_start("e").unwrap();
    let _none = c.add_exec("f", ["sleep", "600"]);
    let error = c.try_start("f").unwrap_err();
    hull_e2e::is_one_clear_line(error.message(), &["pids.limit"]);
    assert_eq!(Group::of(&c).read("pids.current"), "2");
    block(c.task.update(&c.id, &json!({ "pids": { "limit": 8 } }))).unwrap();
    let ran = c.exec("g", ["true"]);
    assert_eq!(ran.status, 0, "{ran:?}");
}
