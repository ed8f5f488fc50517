//! How the kernel is to treat the process: scheduling, I/O, memory of NUMA nodes, personality.

use serde_json::json;

use super::{Dimension, one};
use crate::case::Draft;
use crate::random::Random;

pub(super) const DIMENSIONS: &[Dimension] = &[
    one("scheduler", 20, scheduler),
    one("I/O priority", 20, io_priority),
    one("personality", 10, personality),
    one("memory policy", 10, memory_policy),
    one("affinity of execs", 10, |draft, random| {
        // Of the init process it changes nothing.
        let cpus = *random.pick(&["0", "0-1", "1"]);
        draft.set("/process/execCPUAffinity/initial", cpus);
    }),
];

fn scheduler(draft: &mut Draft<'_>, random: &mut Random) {
    let mut policy = *random.pick(&["SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE"]);
    // Real time takes a budget, which no cgroup of v1 has by itself.
    if random.percent(5) {
        policy = *random.pick(&["SCHED_FIFO", "SCHED_RR"]);
    }
    let mut scheduler = json!({ "policy": policy });
    match policy {
        "SCHED_IDLE" => {}
        "SCHED_FIFO" | "SCHED_RR" => scheduler["priority"] = random.within(1, 99).into(),
        _ => scheduler["nice"] = random.within(0, 19).into(),
    }
    let flags = random.some(&["SCHED_FLAG_RESET_ON_FORK"], 20);
    if !flags.is_empty() {
        scheduler["flags"] = flags.into();
    }
    draft.set("/process/scheduler", scheduler);
}

fn io_priority(draft: &mut Draft<'_>, random: &mut Random) {
    let classes = ["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];
    let class = *random.pick(&classes);
    let priority = match class {
        "IOPRIO_CLASS_IDLE" => 0,
        _ => random.within(0, 7),
    };
    let value = json!({ "class": class, "priority": priority });
    draft.set("/process/ioPriority", value);
}

fn personality(draft: &mut Draft<'_>, random: &mut Random) {
    let domain = *random.pick(&["LINUX", "LINUX32"]);
    draft.set("/linux/personality", json!({ "domain": domain }));
}

fn memory_policy(draft: &mut Draft<'_>, random: &mut Random) {
    let mode = *random.pick(&["MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_PREFERRED"]);
    let mut policy = json!({ "mode": mode, "nodes": "0" });
    if random.percent(30) {
        policy["flags"] = json!([*random.pick(&["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"])]);
    }
    draft.set("/linux/memoryPolicy", policy);
}
