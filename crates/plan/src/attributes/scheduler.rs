//! `process.scheduler`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#linux-process>).

use crate::Invalid;
use crate::config::typed;
use hull_abi::Scheduler;
use serde::Deserialize;
use serde_json::Value;

/// `SCHED_DEADLINE` of `linux/sched.h`.
pub(super) const DEADLINE: u32 = 6;

const FIELD: &str = "process.scheduler";

/// The real-time priorities ([sched(7)](https://man7.org/linux/man-pages/man7/sched.7.html)).
const PRIORITIES: std::ops::RangeInclusive<u32> = 1..=99;

/// The shortest runtime of a deadline that the kernel takes, in nanoseconds.
const SHORTEST_RUNTIME: u64 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Policy {
    #[serde(rename = "SCHED_OTHER")]
    Other = 0,
    #[serde(rename = "SCHED_FIFO")]
    Fifo = 1,
    #[serde(rename = "SCHED_RR")]
    RoundRobin = 2,
    #[serde(rename = "SCHED_BATCH")]
    Batch = 3,
    #[serde(rename = "SCHED_ISO")]
    Iso = 4,
    #[serde(rename = "SCHED_IDLE")]
    Idle = 5,
    #[serde(rename = "SCHED_DEADLINE")]
    Deadline = 6,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum Flag {
    #[serde(rename = "SCHED_FLAG_RESET_ON_FORK")]
    ResetOnFork = 0x01,
    #[serde(rename = "SCHED_FLAG_RECLAIM")]
    Reclaim = 0x02,
    #[serde(rename = "SCHED_FLAG_DL_OVERRUN")]
    DeadlineOverrun = 0x04,
    #[serde(rename = "SCHED_FLAG_KEEP_POLICY")]
    KeepPolicy = 0x08,
    #[serde(rename = "SCHED_FLAG_KEEP_PARAMS")]
    KeepParams = 0x10,
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MIN")]
    UtilClampMin = 0x20,
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MAX")]
    UtilClampMax = 0x40,
}

#[derive(Debug, Deserialize)]
struct Given {
    policy: Policy,
    #[serde(default)]
    nice: i32,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    flags: Vec<Flag>,
    #[serde(default)]
    runtime: u64,
    #[serde(default)]
    deadline: u64,
    #[serde(default)]
    period: u64,
}

/// Lowers it: what the kernel would refuse or overlook is refused here, by name.
pub(super) fn lower(value: &Value) -> Result<Scheduler, Invalid> {
    let given: Given = typed(value, FIELD)?;
    if given.policy == Policy::Iso {
        return Err(wrong("policy", "Linux does not implement SCHED_ISO"));
    }
    check_times(&given)?;
    Ok(Scheduler {
        policy: given.policy as u32,
        flags: given.flags.iter().fold(0, |bits, flag| bits | *flag as u64),
        nice: nice(&given)?,
        priority: priority(&given)?,
        runtime: given.runtime,
        deadline: given.deadline,
        period: given.period,
    })
}

fn wrong(member: &str, why: impl Into<String>) -> Invalid {
    Invalid::new(format!("{FIELD}.{member}"), why)
}

fn nice(given: &Given) -> Result<i32, Invalid> {
    let has_one = matches!(given.policy, Policy::Other | Policy::Batch);
    match given.nice {
        0 => Ok(0),
        _ if !has_one => Err(wrong("nice", "only SCHED_OTHER and SCHED_BATCH have one")),
        nice @ -20..=19 => Ok(nice),
        nice => Err(wrong("nice", format!("{nice} is not between -20 and 19"))),
    }
}

fn priority(given: &Given) -> Result<u32, Invalid> {
    let has_one = matches!(given.policy, Policy::Fifo | Policy::RoundRobin);
    if !has_one && given.priority != 0 {
        return Err(wrong("priority", "only SCHED_FIFO and SCHED_RR have one"));
    }
    let priority = u32::try_from(given.priority).ok();
    priority
        .filter(|priority| !has_one || PRIORITIES.contains(priority))
        .ok_or_else(|| {
            let why = format!("{} is not between 1 and 99", given.priority);
            wrong("priority", why)
        })
}

fn check_times(given: &Given) -> Result<(), Invalid> {
    let (runtime, deadline, period) = (given.runtime, given.deadline, given.period);
    let times = [
        ("runtime", runtime),
        ("deadline", deadline),
        ("period", period),
    ];
    if given.policy != Policy::Deadline {
        return match times.into_iter().find(|(_, time)| *time != 0) {
            Some((member, _)) => Err(wrong(member, "only SCHED_DEADLINE has one")),
            None => Ok(()),
        };
    }
    if runtime < SHORTEST_RUNTIME {
        let why = format!("{runtime} ns is less than {SHORTEST_RUNTIME} ns");
        return Err(wrong("runtime", why));
    }
    if deadline < runtime {
        let why = format!("{deadline} ns is less than the runtime of {runtime} ns");
        return Err(wrong("deadline", why));
    }
    if period != 0 && period < deadline {
        let why = format!("{period} ns is less than the deadline of {deadline} ns");
        return Err(wrong("period", why));
    }
    Ok(())
}
