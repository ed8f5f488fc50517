//! Limits, freezing, killing, counting: on whatever hierarchies this host has.

use std::fs;

use containerd_shim_protos::api::Status;
use containerd_shim_protos::cgroups::metrics::Metrics;
use hull_e2e::{Lab, Spec, Topic, block, cgroup, eventually, limit, procfs};
use protobuf::Message;

const KILL: u32 = 9;
const MIB: u64 = 1024 * 1024;

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// A controller's value: v1 file, v2 file.
fn value(controller: &str, group: &str, v1: &str, v2: &str) -> String {
    let file = if cgroup::is_unified(controller) {
        v2
    } else {
        v1
    };
    cgroup::read(controller, group, file)
}

#[test]
fn limits_are_in_the_files_of_their_controllers() {
    let lab = Lab::new();
    let spec = sleeper()
        .resource("memory/limit", 64 * MIB)
        .resource("memory/reservation", 32 * MIB)
        .resource("cpu/shares", 512)
        .resource("cpu/quota", 20_000)
        .resource("cpu/period", 50_000)
        .resource("pids/limit", 33);
    let c = lab.container(&spec);
    c.create();
    let group = c.cgroup();
    assert_eq!(
        value("memory", &group, "memory.limit_in_bytes", "memory.max"),
        "67108864"
    );
    let reservation = value("memory", &group, "memory.soft_limit_in_bytes", "memory.low");
    assert_eq!(reservation, "33554432");
    assert_eq!(value("pids", &group, "pids.max", "pids.max"), "33");
    if cgroup::is_unified("cpu") {
        assert_eq!(cgroup::read("cpu", &group, "cpu.max"), "20000 50000");
        assert_eq!(cgroup::read("cpu", &group, "cpu.weight"), "59");
    } else {
        assert_eq!(cgroup::read("cpu", &group, "cpu.shares"), "512");
        assert_eq!(cgroup::read("cpu", &group, "cpu.cfs_quota_us"), "20000");
        assert_eq!(cgroup::read("cpu", &group, "cpu.cfs_period_us"), "50000");
    }
}

#[test]
fn init_and_exec_are_in_the_cgroup_of_every_controller() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    let init = c.run();
    let _stdio = c.add_exec("e", ["sleep", "600"]);
    let exec = c.try_start("e").unwrap();
    for controller in ["memory", "cpu", "pids"] {
        for pid in [init, exec] {
            let group = cgroup::of_process(pid, controller);
            assert_eq!(group, c.cgroup(), "{controller} of pid {pid}");
        }
    }
    // The v1 device and freezer controllers too, where they are mounted.
    for line in fs::read_to_string(format!("/proc/{init}/cgroup"))
        .unwrap()
        .lines()
    {
        let named = ["devices", "freezer"]
            .iter()
            .any(|name| line.contains(&format!(":{name}:")));
        assert!(!named || line.ends_with(&c.cgroup()), "{line}");
    }
}

#[test]
fn unified_resources_without_their_controller_are_refused_by_name() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource(
        "hugepageLimits/-",
        serde_json::json!({
            "pageSize": "3MB", "limit": 1,
        }),
    ));
    let error = c.try_create().unwrap_err();
    assert!(error.message().contains("hugetlb"), "{error:?}");
}

#[test]
fn pids_limit_stops_a_fork() {
    let lab = Lab::new();
    let spec = Spec::new([
        "sh",
        "-c",
        "sleep 600 & sleep 600 & sleep 600 & sleep 600 & echo all",
    ]);
    let mut c = lab.container(&spec.resource("pids/limit", 3));
    let pid = c.run();
    let text = c
        .stdio
        .err
        .as_mut()
        .unwrap()
        .read_until(b"fork", limit())
        .unwrap();
    assert!(String::from_utf8_lossy(&text).contains("fork"), "{text:?}");
    assert!(pid > 0);
}

#[test]
fn update_changes_limits_at_once() {
    let lab = Lab::new();
    let c = lab.container(&sleeper().resource("memory/limit", 32 * MIB));
    c.run();
    let group = c.cgroup();
    let update = serde_json::json!({
        "memory": { "limit": 64 * MIB }, "cpu": { "shares": 256 }, "pids": { "limit": 44 },
    });
    block(c.task.update(&c.id, &update)).unwrap();
    assert_eq!(
        value("memory", &group, "memory.limit_in_bytes", "memory.max"),
        "67108864"
    );
    assert_eq!(value("pids", &group, "pids.max", "pids.max"), "44");
    let (shares, weight) = ("256", "35");
    let expected = if cgroup::is_unified("cpu") {
        weight
    } else {
        shares
    };
    assert_eq!(value("cpu", &group, "cpu.shares", "cpu.weight"), expected);
    let down = serde_json::json!({ "memory": { "limit": 16 * MIB, "swap": 16 * MIB } });
    block(c.task.update(&c.id, &down)).unwrap();
    assert_eq!(
        value("memory", &group, "memory.limit_in_bytes", "memory.max"),
        "16777216"
    );
}

#[test]
fn paused_process_does_not_run_and_resumed_one_does() {
    let lab = Lab::new();
    let spec = Spec::new(["sh", "-c", "while :; do echo x; sleep 0.05; done"]);
    let mut c = lab.container(&spec);
    let pid = c.run();
    c.read_until("x\n");
    block(c.task.pause(&c.id)).unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    // Frozen: not on a CPU any more, so its times stand still.
    c.stdio.out.as_mut().unwrap().read_available();
    let before = context_switches(pid);
    let silence = c
        .stdio
        .out
        .as_mut()
        .unwrap()
        .read_until(b"x", std::time::Duration::from_millis(300));
    assert_eq!(silence.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(context_switches(pid), before);
    block(c.task.resume(&c.id)).unwrap();
    assert_eq!(c.status(), Status::RUNNING);
    c.read_until("x\n");
}

fn context_switches(pid: u32) -> Option<String> {
    procfs::field(pid, "voluntary_ctxt_switches")
}

#[test]
fn sigkill_reaches_a_paused_container() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    block(c.task.pause(&c.id)).unwrap();
    c.kill(KILL).unwrap();
    assert_eq!(c.wait(), 137);
    c.delete().unwrap();
}

#[test]
fn living_exec_of_a_paused_container_is_paused() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    let _stdio = c.add_exec("e", ["sleep", "600"]);
    c.try_start("e").unwrap();
    block(c.task.pause(&c.id)).unwrap();
    let state = block(c.task.state(&c.id, "e")).unwrap();
    assert_eq!(state.status(), Status::PAUSED);
    block(c.task.resume(&c.id)).unwrap();
}

#[test]
fn kill_all_ends_every_process_without_a_pid_namespace() {
    let lab = Lab::new();
    let spec = Spec::new(["sh", "-c", "sleep 601 & sleep 602 & echo ready; wait"]);
    let mut c = lab.container(&spec.without_namespace("pid"));
    c.run();
    c.read_until("ready");
    let pids: Vec<u32> = eventually("three processes", || {
        let processes = block(c.task.pids(&c.id)).unwrap().processes;
        (processes.len() == 3).then(|| processes.iter().map(|process| process.pid).collect())
    });
    block(c.task.kill_all(&c.id, KILL)).unwrap();
    c.wait();
    eventually("all are gone", || {
        pids.iter().all(|pid| is_dead(*pid)).then_some(())
    });
}

#[test]
fn children_die_with_an_init_in_the_hosts_pid_namespace() {
    let lab = Lab::new();
    let spec = Spec::new(["sh", "-c", "sleep 603 & echo ready; wait"]);
    let mut c = lab.container(&spec.without_namespace("pid"));
    c.run();
    c.read_until("ready");
    let pids: Vec<u32> = eventually("two processes", || {
        let processes = block(c.task.pids(&c.id)).unwrap().processes;
        (processes.len() == 2).then(|| processes.iter().map(|process| process.pid).collect())
    });
    c.kill_and_wait();
    eventually("all are gone", || {
        pids.iter().all(|pid| is_dead(*pid)).then_some(())
    });
}

/// Gone, or waiting for somebody to take its status.
fn is_dead(pid: u32) -> bool {
    procfs::field(pid, "State").is_none_or(|state| state.starts_with('Z'))
}

#[test]
fn pids_of_a_stopped_container_are_none() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    c.kill_and_wait();
    assert!(block(c.task.pids(&c.id)).unwrap().processes.is_empty());
}

#[test]
fn oom_kill_is_told_before_the_exit_with_137() {
    let lab = Lab::new();
    let text = "head -c 100000000 /dev/zero | tail";
    let spec = Spec::new(["sh", "-c", &format!("{text}; exit $?")])
        .resource("memory/limit", 16 * MIB)
        .resource("memory/swap", 16 * MIB);
    let c = lab.container(&spec);
    c.run();
    assert_eq!(c.wait(), 137);
    let exit = lab.events().wait_for(Topic::Exit, &c.id, "");
    assert_eq!(exit.status, 137);
    let topics = lab.events().topics(&c.id);
    let oom = topics.iter().position(|topic| *topic == Topic::Oom);
    let exit = topics.iter().position(|topic| *topic == Topic::Exit);
    assert!(oom.is_some() && oom < exit, "{topics:?}");
    // CRI looks at the counter after the exit to say OOMKilled.
    let stats = block(c.task.stats(&c.id)).unwrap();
    if stats.type_url.ends_with("v1.Metrics") {
        let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
        assert!(metrics.memory_oom_control.oom_kill >= 1, "{metrics:?}");
    }
}

#[test]
fn clean_exit_gives_no_oom_event() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]).resource("memory/limit", 16 * MIB));
    c.run();
    c.wait();
    c.delete().unwrap();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    assert!(!lab.events().topics(&c.id).contains(&Topic::Oom));
}

#[test]
fn stats_have_the_numbers_of_the_cgroup() {
    let lab = Lab::new();
    let spec = sleeper()
        .resource("memory/limit", 64 * MIB)
        .resource("pids/limit", 20);
    let c = lab.container(&spec);
    c.run();
    let stats = block(c.task.stats(&c.id)).unwrap();
    if cgroup::is_unified("memory") {
        assert_eq!(stats.type_url, "io.containerd.cgroups.v2.Metrics");
        return;
    }
    assert_eq!(stats.type_url, "io.containerd.cgroups.v1.Metrics");
    let metrics = Metrics::parse_from_bytes(&stats.value).unwrap();
    assert_eq!(metrics.pids.current, 1);
    assert_eq!(metrics.pids.limit, 20);
    assert_eq!(metrics.memory.usage.limit, 64 * MIB);
    assert!(metrics.memory.usage.usage > 0);
    assert!(metrics.cpu.usage.total > 0);
}

#[test]
fn two_containers_share_a_parent_and_only_their_own_groups_go() {
    let lab = Lab::new();
    let (a, b) = (lab.container(&sleeper()), lab.container(&sleeper()));
    a.run();
    b.run();
    a.kill_and_wait();
    a.delete().unwrap();
    assert!(cgroup::directories_naming(&a.cgroup()).is_empty());
    assert!(!cgroup::directories_naming(&b.cgroup()).is_empty());
    assert_eq!(b.status(), Status::RUNNING);
}
