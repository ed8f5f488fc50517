//! Signals, freezing, counters and the end of a container whose cgroup is a unit.

use containerd_shim_protos::api::Status;
use containerd_shim_protos::cgroups_v2::metrics::Metrics;
use hull_e2e::{Lab, Spec, Topic, block, eventually, procfs};
use protobuf::Message;

use crate::sleeper;
use crate::unit::{Unit, systemctl};

/// SIGKILL.
const KILL: u32 = 9;

#[test]
fn delete_leaves_no_unit() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper()));
    for _ in 0..2 {
        c.run();
        c.kill_and_wait();
        c.delete().unwrap();
        assert!(!unit.dir().exists());
        unit.expect_gone();
    }
}

#[test]
fn container_is_paused_resumed_and_counted() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let c = lab.container(&unit.around(sleeper().resource("memory/limit", 1 << 26)));
    c.run();
    block(c.task.pause(&c.id)).unwrap();
    assert_eq!(c.status(), Status::PAUSED);
    assert!(unit.file("cgroup.events").contains("frozen 1"));
    block(c.task.resume(&c.id)).unwrap();
    assert!(unit.file("cgroup.events").contains("frozen 0"));
    let any = block(c.task.stats(&c.id)).unwrap();
    let metrics = Metrics::parse_from_bytes(&any.value).unwrap();
    assert_eq!(metrics.memory.usage_limit, 1 << 26);
    assert_eq!(metrics.pids.current, 1);
    assert_eq!(block(c.task.pids(&c.id)).unwrap().processes.len(), 1);
}

#[test]
fn every_process_is_killed() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let spec = Spec::new(["sh", "-c", "sleep 600 & sleep 600 & echo ready; wait"])
        .without_namespace("pid");
    let mut c = lab.container(&unit.around(spec));
    c.run();
    c.read_until("ready");
    let pids = block(c.task.pids(&c.id)).unwrap().processes;
    assert!(pids.len() >= 3, "{pids:?}");
    block(c.task.kill_all(&c.id, KILL)).unwrap();
    assert_eq!(c.wait(), 137);
    for process in pids {
        eventually("a process is dead", || {
            procfs::has_ended(process.pid).then_some(())
        });
    }
    c.delete().unwrap();
    unit.expect_gone();
}

/// An administrator may stop the unit: init gets SIGTERM, and the container ends as if by itself.
#[test]
fn unit_that_is_stopped_ends_the_container() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let spec = Spec::new([
        "sh",
        "-c",
        "trap 'exit 7' TERM; echo ready; sleep 600 & wait",
    ]);
    let mut c = lab.container(&unit.around(spec));
    c.run();
    c.read_until("ready");
    systemctl(&["stop", &unit.name()]);
    assert_eq!(c.wait(), 7);
    assert!(c.delete().is_ok());
    unit.expect_gone();
}

#[test]
fn memory_that_runs_out_is_told() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let spec = Spec::new(["sh", "-c", "tail -c 100m /dev/zero; sleep 600"])
        .resource("memory/limit", 16 << 20)
        .resource("memory/swap", 16 << 20);
    let c = lab.container(&unit.around(spec));
    c.run();
    let id = c.id.clone();
    lab.events().wait_for(Topic::Oom, &id, "");
    unit.expect(&[("ActiveState", "active")]);
}
