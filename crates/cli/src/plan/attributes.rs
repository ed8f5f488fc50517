//! Scheduling and NUMA policy of a plan in words.

use super::text::Section;
use crate::layout::Row;
use hull_abi::{Attributes, IoPriority, MemoryPolicy, Personality, Scheduler};

/// The names of the scheduling policies; the index is the number in `linux/sched.h`.
const POLICIES: [&str; 7] = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
/// The names of the I/O classes; the index is the number in `linux/ioprio.h`.
const CLASSES: [&str; 4] = ["none", "real-time", "best effort", "idle"];
/// The names of the NUMA modes; the index is the number in `linux/mempolicy.h`.
const MODES: [&str; 7] = [
    "DEFAULT",
    "PREFERRED",
    "BIND",
    "INTERLEAVE",
    "LOCAL",
    "PREFERRED_MANY",
    "WEIGHTED_INTERLEAVE",
];

/// What a process changes of them; nothing, for most.
pub(super) fn section(attributes: &Attributes) -> Section {
    let Attributes {
        scheduler,
        io_priority,
        personality,
        memory_policy,
        exec_affinity,
    } = attributes;
    let cpus = |when: &str, cpus: &Option<_>| {
        let cpus = cpus.as_ref()?;
        Some(("processors of execs", format!("{cpus} {when}")))
    };
    let rows = [
        scheduler.as_ref().map(|given| ("scheduler", policy(given))),
        io_priority.map(|given| ("I/O priority", io(given))),
        personality.map(|given| ("personality", domain(given).to_owned())),
        memory_policy
            .as_ref()
            .map(|given| ("memory", memory(given))),
        cpus("before they are in the cgroup", &exec_affinity.initial),
        cpus("from then on", &exec_affinity.last),
    ];
    let row = |(what, text): (&str, String)| -> Row { vec![what.into(), text.into()] };
    Section::rows("scheduling", rows.into_iter().flatten().map(row).collect())
}

fn policy(given: &Scheduler) -> String {
    let values = [
        ("nice", i128::from(given.nice), ""),
        ("priority", given.priority.into(), ""),
        ("runtime", given.runtime.into(), " ns"),
        ("deadline", given.deadline.into(), " ns"),
        ("period", given.period.into(), " ns"),
        ("flags", given.flags.into(), ""),
    ];
    let mut text = format!("SCHED_{}", name(&POLICIES, given.policy));
    for (what, value, unit) in values.into_iter().filter(|(_, value, _)| *value != 0) {
        text.push_str(&format!(", {what} {value}{unit}"));
    }
    text
}

fn io(given: IoPriority) -> String {
    let class = name(&CLASSES, given.class.into());
    format!("{class}, level {}", given.level)
}

fn domain(given: Personality) -> &'static str {
    match given {
        Personality::Linux => "Linux",
        Personality::Linux32 => "Linux on a 32-bit machine",
    }
}

fn memory(given: &MemoryPolicy) -> String {
    let mode = name(&MODES, given.mode);
    let nodes = given.nodes.to_string();
    let nodes = if nodes.is_empty() {
        nodes
    } else {
        format!(", nodes {nodes}")
    };
    let flags = match given.flags {
        0 => String::new(),
        flags => format!(", flags {flags:#x}"),
    };
    format!("MPOL_{mode}{nodes}{flags}")
}

fn name(names: &[&'static str], number: u32) -> &'static str {
    usize::try_from(number)
        .ok()
        .and_then(|number| names.get(number))
        .copied()
        .unwrap_or("?")
}
