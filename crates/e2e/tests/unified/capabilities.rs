//! What only a caller with every capability can give: less likely to be killed than its parent,
//! limits above the caller's own, and CAP_SYS_RESOURCE itself.

use std::fs;

use hull_e2e::{Lab, Spec, procfs};
use serde_json::json;

use crate::{both_kinds, script};

/// The largest number of descriptors that any process can be given (`fs.nr_open`).
fn most_descriptors() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/nr_open").unwrap();
    text.trim().parse().unwrap()
}

/// Soft and hard limit of a process, as `/proc/PID/limits` has them.
fn limits_of(pid: u32, name: &str) -> [String; 2] {
    let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    let mut words = line.split_whitespace().map(str::to_owned);
    [words.next().unwrap(), words.next().unwrap()]
}

fn with_capability(spec: Spec, name: &str) -> Spec {
    ["bounding", "effective", "permitted"]
        .iter()
        .fold(spec, |spec, set| {
            spec.set(&format!("/process/capabilities/{set}/-"), name)
        })
}

#[test]
fn oom_score_below_that_of_the_daemon() {
    for (lab, spec) in both_kinds() {
        let mut c = lab.container(&spec.set("/process/oomScoreAdj", -998));
        let pid = c.run();
        c.read_until("ready\n");
        let score = |pid: u32| fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        assert_eq!(score(pid), "-998\n");
        assert_ne!(score(c.shim_pid()), "-998\n");
    }
}

#[test]
fn limits_above_those_of_the_daemon() {
    let most = most_descriptors();
    for (is_wasm, (lab, spec)) in [false, true].into_iter().zip(both_kinds()) {
        let rlimits = json!([
            { "type": "RLIMIT_NOFILE", "soft": most, "hard": most },
            { "type": "RLIMIT_MEMLOCK", "soft": u64::MAX, "hard": u64::MAX },
            { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
        ]);
        let mut c = lab.container(&spec.set("/process/rlimits", rlimits));
        let pid = c.run();
        c.read_until("ready\n");
        // Else this would prove nothing.
        let [_, own] = limits_of(c.shim_pid(), "Max open files");
        assert!(own.parse::<u64>().unwrap() < most, "{own}");
        // The runner of Wasm needs no more than that, and lets its guest have no more.
        let most = if is_wasm { most.min(4096) } else { most }.to_string();
        assert_eq!(limits_of(pid, "Max open files"), [most.clone(), most]);
        assert_eq!(limits_of(pid, "Max locked memory"), ["unlimited"; 2]);
        assert_eq!(limits_of(pid, "Max core file size"), ["0"; 2]);
    }
}

#[test]
fn exec_has_them_too() {
    let lab = Lab::new();
    let most = most_descriptors();
    let rlimits = json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": most }]);
    let c = lab.container(
        &script("sleep 600")
            .set("/process/rlimits", rlimits)
            .set("/process/oomScoreAdj", -500),
    );
    c.run();
    let ran = c.exec(
        "e",
        [
            "sh",
            "-c",
            "ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj",
        ],
    );
    assert_eq!(ran.stdout, format!("64\n{most}\n-500\n"), "{ran:?}");
}

#[test]
fn sys_resource_works_in_the_container_that_has_it_and_in_no_other() {
    const BIT: u32 = 24;
    let text = "grep CapEff /proc/self/status; ulimit -Hn 5000 && ulimit -Hn; \
        echo -100 >/proc/self/oom_score_adj && cat /proc/self/oom_score_adj";
    let plain = script(text);
    for (spec, has) in [
        (with_capability(plain.clone(), "CAP_SYS_RESOURCE"), true),
        (plain, false),
    ] {
        let lab = Lab::new();
        let ran = lab.container(&spec).run_to_end();
        let caps = procfs::status_field(&ran.stdout, "CapEff").unwrap();
        let caps = u64::from_str_radix(caps, 16).unwrap();
        assert_eq!(caps >> BIT & 1 == 1, has, "{ran:?}");
        assert_eq!(ran.stdout.contains("\n5000\n-100\n"), has, "{ran:?}");
        assert_eq!(ran.stderr.is_empty(), has, "{ran:?}");
    }
}
