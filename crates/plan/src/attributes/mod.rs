//! Scheduling and NUMA policy: `process.scheduler`, `ioPriority` and `execCPUAffinity`,
//! `linux.personality` and `memoryPolicy`. Typed here and not by the spec crate, which writes some
//! flags otherwise than the spec.

mod memory;
mod number_set;
mod scheduler;

use crate::Invalid;
use crate::config::typed;
use crate::unsupported::is_empty;
use hull_abi::{Attributes, ExecAffinity, IoPriority, Personality};
use serde::Deserialize;
use serde_json::Value;

/// The highest processor number that the kernel can be built for, `CONFIG_NR_CPUS` of x86.
const MAX_CPU: u16 = 8191;

/// The lowest I/O priority.
const LAST_IO_LEVEL: u8 = 7;

/// The members of a config that describe them, not yet looked at.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    scheduler: Option<Value>,
    io_priority: Option<Value>,
    exec_affinity: Option<Value>,
    personality: Option<Value>,
    memory_policy: Option<Value>,
}

impl Raw {
    /// Takes them out of a config.
    pub(crate) fn of_config(config: &mut Value) -> Self {
        let mut raw = config
            .get_mut("process")
            .map(Self::of_process)
            .unwrap_or_default();
        if let Some(linux) = config.get_mut("linux") {
            raw.personality = take(linux, "personality");
            raw.memory_policy = take(linux, "memoryPolicy");
        }
        raw
    }

    /// Takes them out of a process.
    pub(crate) fn of_process(process: &mut Value) -> Self {
        Self {
            scheduler: take(process, "scheduler"),
            io_priority: take(process, "ioPriority"),
            exec_affinity: take(process, "execCPUAffinity"),
            ..Self::default()
        }
    }
}

fn take(object: &mut Value, key: &str) -> Option<Value> {
    let taken = object.as_object_mut()?.remove(key)?;
    (!is_empty(&taken)).then_some(taken)
}

/// Lowers them. What an exec leaves open is as in `init`.
pub(crate) fn lower(raw: &Raw, init: Option<&Attributes>) -> Result<Attributes, Invalid> {
    let given = Attributes {
        scheduler: raw.scheduler.as_ref().map(scheduler::lower).transpose()?,
        io_priority: raw.io_priority.as_ref().map(io_priority).transpose()?,
        personality: raw.personality.as_ref().map(personality).transpose()?,
        memory_policy: raw.memory_policy.as_ref().map(memory::lower).transpose()?,
        exec_affinity: raw
            .exec_affinity
            .as_ref()
            .map(exec_affinity)
            .transpose()?
            .unwrap_or_default(),
    };
    let attributes = match init {
        Some(init) => inherit(given, init),
        None => given,
    };
    check_together(&attributes)?;
    Ok(attributes)
}

fn inherit(given: Attributes, init: &Attributes) -> Attributes {
    let exec_affinity = if given.exec_affinity == ExecAffinity::default() {
        init.exec_affinity.clone()
    } else {
        given.exec_affinity
    };
    Attributes {
        scheduler: given.scheduler.or(init.scheduler),
        io_priority: given.io_priority.or(init.io_priority),
        personality: given.personality.or(init.personality),
        memory_policy: given.memory_policy.or_else(|| init.memory_policy.clone()),
        exec_affinity,
    }
}

/// The kernel refuses a deadline to whoever may not run on every processor.
fn check_together(attributes: &Attributes) -> Result<(), Invalid> {
    let has_deadline = attributes
        .scheduler
        .is_some_and(|scheduler| scheduler.policy == scheduler::DEADLINE);
    if has_deadline && attributes.exec_affinity != ExecAffinity::default() {
        let why = "a process with SCHED_DEADLINE cannot be bound to processors";
        return Err(Invalid::new("process.execCPUAffinity", why));
    }
    Ok(())
}

fn io_priority(value: &Value) -> Result<IoPriority, Invalid> {
    #[derive(Deserialize)]
    enum Class {
        #[serde(rename = "IOPRIO_CLASS_RT")]
        RealTime = 1,
        #[serde(rename = "IOPRIO_CLASS_BE")]
        BestEffort = 2,
        #[serde(rename = "IOPRIO_CLASS_IDLE")]
        Idle = 3,
    }
    #[derive(Deserialize)]
    struct Given {
        class: Class,
        #[serde(default)]
        priority: i64,
    }
    let given: Given = typed(value, "process.ioPriority")?;
    let level = u8::try_from(given.priority)
        .ok()
        .filter(|level| *level <= LAST_IO_LEVEL)
        .ok_or_else(|| {
            let why = format!("{} is not between 0 and {LAST_IO_LEVEL}", given.priority);
            Invalid::new("process.ioPriority.priority", why)
        })?;
    Ok(IoPriority {
        class: given.class as u8,
        level,
    })
}

fn personality(value: &Value) -> Result<Personality, Invalid> {
    #[derive(Deserialize)]
    enum Domain {
        #[serde(rename = "LINUX")]
        Linux,
        #[serde(rename = "LINUX32")]
        Linux32,
    }
    #[derive(Deserialize)]
    struct Given {
        domain: Domain,
        #[serde(default)]
        flags: Vec<String>,
    }
    let given: Given = typed(value, "linux.personality")?;
    if !given.flags.is_empty() {
        return Err(Invalid::unsupported("linux.personality.flags", "a flag is"));
    }
    Ok(match given.domain {
        Domain::Linux => Personality::Linux,
        Domain::Linux32 => Personality::Linux32,
    })
}

fn exec_affinity(value: &Value) -> Result<ExecAffinity, Invalid> {
    #[derive(Deserialize)]
    struct Given {
        #[serde(default)]
        initial: String,
        #[serde(default, rename = "final")]
        last: String,
    }
    let field = "process.execCPUAffinity";
    let given: Given = typed(value, field)?;
    let set = |name: &str, text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        let parsed = number_set::parse(text, MAX_CPU);
        parsed
            .map(Some)
            .map_err(|why| Invalid::new(format!("{field}.{name}"), why))
    };
    Ok(ExecAffinity {
        initial: set("initial", &given.initial)?,
        last: set("final", &given.last)?,
    })
}
