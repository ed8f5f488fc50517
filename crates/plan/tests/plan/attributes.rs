//! Scheduling, I/O priority, execution domain, NUMA policy, processors of execs.

use crate::refused::check;
use crate::{host, lower_value, with};
use hull_abi::{
    Attributes, ExecAffinity, ExecPlan, IoPriority, MemoryPolicy, NumberSet, Personality, Scheduler,
};
use hull_plan::{Invalid, lower_exec};
use serde_json::{Value, json};

const SCHEDULER: &str = "/process/scheduler";
const MEMORY: &str = "/linux/memoryPolicy";

fn attributes(changes: &[(&str, Value)]) -> Attributes {
    lower_value(&with(changes)).unwrap().process.attributes
}

fn scheduler(value: Value) -> Scheduler {
    attributes(&[(SCHEDULER, value)]).scheduler.unwrap()
}

fn set(ranges: &[(u16, u16)]) -> NumberSet {
    NumberSet {
        ranges: ranges.to_vec(),
    }
}

#[test]
fn policies_have_the_numbers_of_the_kernel() {
    for (name, policy) in [("SCHED_OTHER", 0), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5)] {
        let want = Scheduler {
            policy,
            ..Scheduler::default()
        };
        assert_eq!(scheduler(json!({ "policy": name })), want);
    }
    let want = Scheduler {
        policy: 3,
        nice: -20,
        ..Scheduler::default()
    };
    assert_eq!(
        scheduler(json!({ "policy": "SCHED_BATCH", "nice": -20 })),
        want
    );
    for (name, policy) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
        let want = Scheduler {
            policy,
            priority: 99,
            ..Scheduler::default()
        };
        assert_eq!(scheduler(json!({ "policy": name, "priority": 99 })), want);
    }
    let want = Scheduler {
        policy: 6,
        flags: 0x7f,
        runtime: 1024,
        deadline: 2000,
        ..Scheduler::default()
    };
    let given = json!({
        "policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2000, "flags": [
            "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ],
    });
    assert_eq!(scheduler(given), want);
}

#[test]
fn policies_that_make_no_sense_are_refused() {
    let nice = "process.scheduler.nice: only SCHED_OTHER and SCHED_BATCH have one";
    let priority = "process.scheduler.priority: only SCHED_FIFO and SCHED_RR have one";
    check(&[
        (
            SCHEDULER,
            json!({ "nice": 1 }),
            "process.scheduler: missing field `policy`",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_ISO" }),
            "process.scheduler.policy: Linux does not implement SCHED_ISO",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_OTHER", "nice": 20 }),
            "process.scheduler.nice: 20 is not between -20 and 19",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_IDLE", "nice": 1 }),
            nice,
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_FIFO", "priority": 1, "nice": 1 }),
            nice,
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_OTHER", "priority": 1 }),
            priority,
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_BATCH", "priority": -1 }),
            priority,
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_FIFO" }),
            "process.scheduler.priority: 0 is not between 1 and 99",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_RR", "priority": 100 }),
            "process.scheduler.priority: 100 is not between 1 and 99",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_RR", "priority": 1, "period": 5 }),
            "process.scheduler.period: only SCHED_DEADLINE has one",
        ),
    ]);
}

#[test]
fn times_that_make_no_sense_are_refused() {
    check(&[
        (
            SCHEDULER,
            json!({ "policy": "SCHED_DEADLINE", "deadline": 5000 }),
            "process.scheduler.runtime: 0 ns is less than 1024 ns",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000 }),
            "process.scheduler.deadline: 4000 ns is less than the runtime of 5000 ns",
        ),
        (
            SCHEDULER,
            json!({
                "policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 6000, "period": 5999,
            }),
            "process.scheduler.period: 5999 ns is less than the deadline of 6000 ns",
        ),
    ]);
}

#[test]
fn words_that_nobody_knows_are_refused() {
    let unknown = [
        (
            SCHEDULER,
            json!({ "policy": "SCHED_X" }),
            "process.scheduler.policy: unknown variant",
        ),
        (
            SCHEDULER,
            json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_RESET_ON_FORK"] }),
            "process.scheduler.flags[0]: unknown variant `SCHED_RESET_ON_FORK`",
        ),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_NONE" }),
            "process.ioPriority.class: unknown variant",
        ),
        (
            "/linux/personality",
            json!({ "domain": "BSD" }),
            "linux.personality.domain: unknown",
        ),
        (
            MEMORY,
            json!({ "mode": "MPOL_X" }),
            "linux.memoryPolicy.mode: unknown variant",
        ),
    ];
    for (path, value, want) in unknown {
        let message = lower_value(&with(&[(path, value)]))
            .unwrap_err()
            .to_string();
        let want = format!("invalid config: {want}");
        assert!(message.starts_with(&want), "{message}");
    }
}

#[test]
fn io_priorities_and_personalities() {
    for (name, class) in [("RT", 1), ("BE", 2), ("IDLE", 3)] {
        let class_name = format!("IOPRIO_CLASS_{name}");
        let given = attributes(&[(
            "/process/ioPriority",
            json!({ "class": class_name, "priority": 7 }),
        )]);
        assert_eq!(given.io_priority, Some(IoPriority { class, level: 7 }));
    }
    for (name, domain) in [
        ("LINUX", Personality::Linux),
        ("LINUX32", Personality::Linux32),
    ] {
        let given = attributes(&[("/linux/personality", json!({ "domain": name }))]);
        assert_eq!(given.personality, Some(domain));
    }
    check(&[
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
            "process.ioPriority.priority: 8 is not between 0 and 7",
        ),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_BE", "priority": -1 }),
            "process.ioPriority.priority: -1 is not between 0 and 7",
        ),
        (
            "/process/ioPriority",
            json!({ "priority": 1 }),
            "process.ioPriority: missing field `class`",
        ),
        (
            "/linux/personality",
            json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] }),
            "linux.personality.flags: a flag is not supported yet",
        ),
    ]);
}

#[test]
fn memory_policies() {
    let policy = |value| attributes(&[(MEMORY, value)]).memory_policy.unwrap();
    let want = |mode, flags, ranges: &[(u16, u16)]| MemoryPolicy {
        mode,
        flags,
        nodes: set(ranges),
    };
    assert_eq!(
        policy(json!({ "mode": "MPOL_DEFAULT", "nodes": "" })),
        want(0, 0, &[])
    );
    assert_eq!(policy(json!({ "mode": "MPOL_LOCAL" })), want(4, 0, &[]));
    assert_eq!(policy(json!({ "mode": "MPOL_PREFERRED" })), want(1, 0, &[]));
    let nodes = json!({
        "mode": "MPOL_BIND", "nodes": "0-1,1023",
        "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"],
    });
    assert_eq!(policy(nodes), want(2, 0xa000, &[(0, 1), (1023, 1023)]));
    for (mode, number) in [
        ("MPOL_INTERLEAVE", 3),
        ("MPOL_PREFERRED_MANY", 5),
        ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ] {
        let given = json!({ "mode": mode, "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"] });
        assert_eq!(policy(given), want(number, 0x4000, &[(0, 0)]));
    }
    check(&[
        (
            MEMORY,
            json!({ "mode": "MPOL_BIND" }),
            "linux.memoryPolicy.nodes: this mode needs some",
        ),
        (
            MEMORY,
            json!({ "mode": "MPOL_LOCAL", "nodes": "0" }),
            "linux.memoryPolicy.nodes: this mode takes none",
        ),
        (
            MEMORY,
            json!({ "mode": "MPOL_BIND", "nodes": "1024" }),
            "linux.memoryPolicy.nodes: 1024 is more than 1023",
        ),
        (
            MEMORY,
            json!({ "mode": "MPOL_BIND", "nodes": "a" }),
            "linux.memoryPolicy.nodes: \"a\" is not a list like \"0-3,7\"",
        ),
        (
            MEMORY,
            json!({ "mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"] }),
            "linux.memoryPolicy.flags: they say how to read nodes, and there are none",
        ),
        (
            MEMORY,
            json!({
                "mode": "MPOL_BIND", "nodes": "0",
                "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"],
            }),
            "linux.memoryPolicy.flags: MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each \
             other",
        ),
        (
            MEMORY,
            json!({
                "mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"],
            }),
            "linux.memoryPolicy.flags: MPOL_F_NUMA_BALANCING goes with MPOL_BIND or \
             MPOL_PREFERRED_MANY",
        ),
    ]);
}

#[test]
fn processors_of_execs() {
    let affinity = |value| attributes(&[("/process/execCPUAffinity", value)]).exec_affinity;
    assert_eq!(
        affinity(json!({ "initial": "0-3, 7", "final": "8191" })),
        ExecAffinity {
            initial: Some(set(&[(0, 3), (7, 7)])),
            last: Some(set(&[(8191, 8191)])),
        }
    );
    check(&[
        (
            "/process/execCPUAffinity",
            json!({ "initial": "8192" }),
            "process.execCPUAffinity.initial: 8192 is more than 8191",
        ),
        (
            "/process/execCPUAffinity",
            json!({ "initial": "0", "final": "x" }),
            "process.execCPUAffinity.final: \"x\" is not a list like \"0-3,7\"",
        ),
    ]);
    let deadline = json!({ "policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000 });
    let both = with(&[
        (SCHEDULER, deadline),
        ("/process/execCPUAffinity", json!({ "final": "0" })),
    ]);
    assert_eq!(
        lower_value(&both).unwrap_err().to_string(),
        "invalid config: process.execCPUAffinity: a process with SCHED_DEADLINE cannot be bound to \
         processors"
    );
}

fn exec(changes: &Value) -> Result<ExecPlan, Invalid> {
    let init = lower_value(&with(&[
        (SCHEDULER, json!({ "policy": "SCHED_BATCH", "nice": 5 })),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_IDLE" }),
        ),
        (
            "/process/execCPUAffinity",
            json!({ "initial": "0", "final": "1" }),
        ),
        ("/linux/personality", json!({ "domain": "LINUX32" })),
        (MEMORY, json!({ "mode": "MPOL_BIND", "nodes": "0" })),
    ]));
    let mut process = json!({ "args": ["a"], "cwd": "/" });
    for (key, value) in changes.as_object().unwrap() {
        process[key] = value.clone();
    }
    let process = process.to_string();
    lower_exec(process.as_bytes(), false, &init.unwrap(), &host())
}

#[test]
fn an_exec_has_what_its_container_has_or_its_own() {
    let same = exec(&json!({})).unwrap().process.attributes;
    assert_eq!(same.scheduler.unwrap().nice, 5);
    assert_eq!(same.io_priority, Some(IoPriority { class: 3, level: 0 }));
    assert_eq!(same.personality, Some(Personality::Linux32));
    assert_eq!(same.memory_policy.unwrap().mode, 2);
    assert_eq!(same.exec_affinity.last, Some(set(&[(1, 1)])));
    let own = exec(&json!({
        "scheduler": { "policy": "SCHED_OTHER" },
        "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 1 },
        "execCPUAffinity": { "initial": "2" },
    }));
    let own = own.unwrap().process.attributes;
    assert_eq!(own.scheduler, Some(Scheduler::default()));
    assert_eq!(own.io_priority, Some(IoPriority { class: 2, level: 1 }));
    let initial = Some(set(&[(2, 2)]));
    assert_eq!(
        own.exec_affinity,
        ExecAffinity {
            initial,
            last: None
        }
    );
    let deadline = json!({ "policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000 });
    let error = exec(&json!({ "scheduler": deadline })).unwrap_err();
    assert!(error.to_string().contains("cannot be bound"), "{error}");
}
