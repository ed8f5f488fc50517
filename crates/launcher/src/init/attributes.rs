//! Scheduling, I/O priority, execution domain and NUMA policy, while the rights for them are there.

use crate::failure::{At, Blamed};
use crate::fault;
use hull_abi::{
    Attributes, Blame, IoPriority, MemoryPolicy, Personality, Scheduler, SetupError, Step,
};
use hull_sys::{Errno, ioprio, mempolicy, personality, sched};

const STEP: Step = Step::Attributes;

/// The names of the scheduling policies; the index is the number in `linux/sched.h`.
const POLICIES: [&str; 7] = ["OTHER", "FIFO", "RR", "BATCH", "ISO", "IDLE", "DEADLINE"];
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

/// Sets what the plan has of them.
pub(super) fn apply(attributes: &Attributes) -> Result<(), SetupError> {
    let wanted = |part| !fault::leaves_out(part);
    if let Some(scheduler) = &attributes.scheduler
        && wanted("scheduler")
    {
        schedule(scheduler)?;
    }
    if let Some(IoPriority { class, level }) = attributes.io_priority
        && wanted("I/O priority")
    {
        ioprio::set(class, level).at(STEP, || {
            format!("set process.ioPriority class {class} priority {level}")
        })?;
    }
    if let Some(domain) = attributes.personality
        && wanted("personality")
    {
        let number = match domain {
            Personality::Linux => personality::LINUX,
            Personality::Linux32 => personality::LINUX32,
        };
        personality::set(number).at(STEP, || format!("set linux.personality {domain:?}"))?;
    }
    if let Some(policy) = &attributes.memory_policy
        && wanted("memory policy")
    {
        place_memory(policy)?;
    }
    Ok(())
}

fn schedule(given: &Scheduler) -> Result<(), SetupError> {
    let Scheduler {
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
    } = *given;
    let wanted = sched::Policy {
        policy,
        flags,
        nice,
        priority,
        runtime,
        deadline,
        period,
    };
    sched::set_policy(&wanted)
        .at(STEP, || scheduler_text(given))
        .map_err(|mut error| {
            if error.errno == Errno::EPERM as i32 {
                error.cause.push_str(why_not(policy));
            }
            error
        })
}

fn scheduler_text(given: &Scheduler) -> String {
    let name = name(&POLICIES, given.policy);
    let values = [
        ("nice", i128::from(given.nice)),
        ("priority", given.priority.into()),
        ("runtime", given.runtime.into()),
        ("deadline", given.deadline.into()),
        ("period", given.period.into()),
        ("flags", given.flags.into()),
    ];
    let mut text = format!("set process.scheduler SCHED_{name}");
    for (what, value) in values.into_iter().filter(|(_, value)| *value != 0) {
        text.push_str(&format!(" {what} {value}"));
    }
    text
}

/// What the kernel may mean by EPERM.
fn why_not(policy: u32) -> &'static str {
    match policy {
        1 | 2 => {
            " (it takes CAP_SYS_NICE, and where cgroup v1 divides real-time, a budget: \
             linux.resources.cpu.realtimeRuntime)"
        }
        6 => " (it takes CAP_SYS_NICE, and every processor of the machine or of its partition)",
        _ => " (it takes CAP_SYS_NICE)",
    }
}

fn place_memory(policy: &MemoryPolicy) -> Result<(), SetupError> {
    let MemoryPolicy { mode, flags, nodes } = policy;
    mempolicy::set(mode | flags, &nodes.mask())
        .at(STEP, || {
            let nodes = match nodes.to_string() {
                none if none.is_empty() => none,
                some => format!(" nodes {some}"),
            };
            let flags = match flags {
                0 => String::new(),
                flags => format!(" flags {flags:#x}"),
            };
            format!(
                "set linux.memoryPolicy MPOL_{}{nodes}{flags}",
                name(&MODES, *mode)
            )
        })
        .map_err(|mut error| {
            if error.errno == Errno::ENOSYS as i32 {
                error.cause = "the kernel was built without NUMA".to_owned();
            }
            error
        })
        .blame(Blame::Host)
}

fn name(names: &[&'static str], number: u32) -> &'static str {
    usize::try_from(number)
        .ok()
        .and_then(|number| names.get(number))
        .copied()
        .unwrap_or("?")
}
