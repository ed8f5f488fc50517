//! Containers whose monotonic clocks differ from the host's.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use hull_e2e::{Lab, Spec, cgroup, is_one_clear_line, procfs};
use serde_json::{Value, json};

const DAY: i64 = 24 * 3600;

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text]).namespace("time", None)
}

fn offsets(spec: Spec, offsets: Value) -> Spec {
    spec.set("/linux/timeOffsets", offsets)
}

fn seconds(uptime: &str) -> i64 {
    let whole = uptime.trim().split('.').next().unwrap();
    whole.parse().unwrap()
}

fn host_uptime() -> i64 {
    seconds(&fs::read_to_string("/proc/uptime").unwrap())
}

#[track_caller]
fn print(spec: &Spec) -> String {
    let lab = Lab::new();
    let ran = lab.container(spec).run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

#[test]
fn clocks_are_shifted_for_init_and_exec_alone() {
    let lab = Lab::new();
    let boottime =
        json!({ "boottime": { "secs": 1000 * DAY }, "monotonic": { "secs": 5, "nanosecs": 7 } });
    let spec = offsets(
        Spec::new(["sleep", "600"]).namespace("time", None),
        boottime,
    );
    let c = lab.container(&spec);
    let before = host_uptime();
    let pid = c.run();
    for number in 0..2 {
        let exec = format!("e{number}");
        let inside = seconds(&c.exec(&exec, ["cut", "-d ", "-f1", "/proc/uptime"]).stdout);
        let (least, most) = (before + 1000 * DAY, host_uptime() + 1000 * DAY);
        assert!((least..=most).contains(&inside), "{least} {inside} {most}");
    }
    let file = c.exec("f", ["cat", "/proc/self/timens_offsets"]).stdout;
    let words: Vec<&str> = file.split_whitespace().collect();
    let day = (1000 * DAY).to_string();
    assert_eq!(words, ["monotonic", "5", "7", "boottime", &day, "0"]);
    let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/time")).unwrap();
    assert_ne!(of(pid), of(std::process::id()));
    assert!(host_uptime() < before + DAY);
}

#[test]
fn new_time_namespace_without_offsets_has_the_hosts_time() {
    let before = host_uptime();
    let inside = seconds(&print(&script("cut -d' ' -f1 /proc/uptime")));
    assert!((before..=host_uptime()).contains(&inside), "{inside}");
}

#[test]
fn clocks_of_a_container_with_a_user_namespace_are_shifted() {
    let spec = script("cut -d' ' -f1 /proc/uptime; id -u; cat /proc/self/uid_map")
        .user_namespace(100_000, 65_536);
    let before = host_uptime();
    let lab = Lab::new();
    let mut c = lab.container(&offsets(spec, json!({ "boottime": { "secs": DAY } })));
    // As after containerd's remapping.
    chown(c.upper(), Some(100_000), Some(100_000)).unwrap();
    let seen = c.run_to_end().stdout;
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert!(seconds(words[0]) >= before + DAY, "{seen}");
    assert_eq!(words[1..], ["0", "0", "100000", "65536"]);
}

#[test]
fn time_namespace_is_joined_by_path() {
    let lab = Lab::new();
    let spec = offsets(
        Spec::new(["sleep", "600"]).namespace("time", None),
        json!({ "boottime": { "secs": DAY } }),
    );
    let first = lab.container(&spec);
    let pid = first.run();
    let path = PathBuf::from(format!("/proc/{pid}/ns/time"));
    let spec = Spec::new([
        "sh",
        "-c",
        "cut -d' ' -f1 /proc/uptime; readlink /proc/self/ns/time",
    ])
    .namespace("time", Some(&path));
    let before = host_uptime();
    let ran = lab.container(&spec).run_to_end();
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(seconds(words[0]) >= before + DAY, "{ran:?}");
    assert_eq!(words[1], fs::read_link(&path).unwrap().to_str().unwrap());
}

#[track_caller]
fn refuses(spec: &Spec, parts: &[&str]) {
    let lab = Lab::new();
    let c = lab.container(spec);
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), parts);
    let rootfs = c.bundle.rootfs().display().to_string();
    assert!(procfs::mounts_naming(&rootfs).is_empty());
    let groups = cgroup::directories_naming(&c.cgroup());
    assert!(groups.is_empty(), "{groups:?}");
}

#[test]
fn offsets_that_make_no_sense_are_refused() {
    let day = json!({ "boottime": { "secs": DAY } });
    refuses(
        &offsets(script("true").without_namespace("time"), day.clone()),
        &["linux.timeOffsets", "time namespace"],
    );
    let own = PathBuf::from(format!("/proc/{}/ns/time", std::process::id()));
    refuses(
        &offsets(script("true").namespace("time", Some(&own)), day),
        &["linux.timeOffsets", "new time namespace"],
    );
    refuses(
        &offsets(script("true"), json!({ "realtime": { "secs": 1 } })),
        &["realtime", "monotonic and boottime"],
    );
    refuses(
        &offsets(
            script("true"),
            json!({ "boottime": { "nanosecs": 1_000_000_000 } }),
        ),
        &["boottime", "nanosecs"],
    );
    // Before the machine was started there is no time.
    refuses(
        &offsets(
            script("true"),
            json!({ "boottime": { "secs": -1000 * 366 * DAY } }),
        ),
        &["time offsets", "boottime -"],
    );
}
