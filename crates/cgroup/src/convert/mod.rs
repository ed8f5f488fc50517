//! From limits as the OCI spec counts them to values of cgroup files. Pure.
//!
//! Sources: <https://docs.kernel.org/admin-guide/cgroup-v2.html>,
//! <https://docs.kernel.org/admin-guide/cgroup-v1/index.html>, and runc's and crun's conversions
//! where the spec speaks in terms of v1 only.

mod block_io;
mod cpu;
mod cpuset;
mod hugepages;
mod memory;
mod network;
mod pids;
mod rdma;

use crate::Error;
use crate::routes::Version;
use hull_abi::Resources;

/// What a file of the cgroup holds now, where a conversion depends on it.
pub(crate) type Present<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A value for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The limit in the words of config.json.
    pub(crate) limit: &'static str,
    pub(crate) file: String,
    pub(crate) value: String,
    pub(crate) missing: Missing,
}

/// What to do where the kernel does not have the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The limit cannot be applied.
    Fail,
    /// The value says no more than that there is no limit.
    Skip,
    /// Another file takes another value for the same.
    Use { file: String, value: String },
}

/// Writes in the order of their execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    One(Write),
    /// Values that the kernel checks against each other: one that it calls invalid is tried again
    /// after the others.
    Together(Vec<Write>),
}

/// A controller with its names in both versions.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) v1: &'static str,
    pub(crate) v2: &'static str,
    pub(crate) steps: fn(&Resources, Version, Present<'_>) -> Result<Vec<Step>, Error>,
}

/// What is written before the device rules.
pub(crate) const BEFORE_DEVICES: [Controller; 4] = [
    Controller {
        v1: "pids",
        v2: "pids",
        steps: pids::steps,
    },
    Controller {
        v1: "memory",
        v2: "memory",
        steps: memory::steps,
    },
    Controller {
        v1: "blkio",
        v2: "io",
        steps: block_io::steps,
    },
    Controller {
        v1: "cpu",
        v2: "cpu",
        steps: cpu::steps,
    },
];

/// What is written after the device rules.
pub(crate) const AFTER_DEVICES: [Controller; 5] = [
    Controller {
        v1: "cpuset",
        v2: "cpuset",
        steps: cpuset::steps,
    },
    Controller {
        v1: "hugetlb",
        v2: "hugetlb",
        steps: hugepages::steps,
    },
    Controller {
        v1: "rdma",
        v2: "rdma",
        steps: rdma::steps,
    },
    // The last two are in no v2 tree.
    Controller {
        v1: "net_cls",
        v2: "net_cls",
        steps: network::class,
    },
    Controller {
        v1: "net_prio",
        v2: "net_prio",
        steps: network::priorities,
    },
];

impl Controller {
    /// The limit that makes this controller necessary, if any does: everything but values that
    /// mean "no limit".
    pub(crate) fn needed_for(&self, resources: &Resources) -> Result<Option<&'static str>, Error> {
        // cgroup v1 knows every limit of the spec.
        let steps = (self.steps)(resources, Version::V1, &|_| None)?;
        let mut writes = steps.iter().flat_map(|step| match step {
            Step::One(write) => std::slice::from_ref(write),
            Step::Together(writes) => writes,
        });
        let is_limit = |write: &&Write| {
            write.missing != Missing::Skip && write.value != "-1" && write.value != "max"
        };
        Ok(writes.find(is_limit).map(|write| write.limit))
    }
}

// === impl Write ===

impl Write {
    pub(crate) fn new(limit: &'static str, file: &str, value: impl ToString) -> Self {
        let (file, value) = (file.to_owned(), value.to_string());
        Self {
            limit,
            file,
            value,
            missing: Missing::Fail,
        }
    }

    pub(crate) fn or_skip(self) -> Self {
        Self {
            missing: Missing::Skip,
            ..self
        }
    }

    pub(crate) fn or_use(self, file: &str, value: impl ToString) -> Self {
        let (file, value) = (file.to_owned(), value.to_string());
        Self {
            missing: Missing::Use { file, value },
            ..self
        }
    }
}

/// A number of bytes or tasks where `-1` is "no limit", in the words of the version.
fn number_or_max(value: i64, version: Version) -> String {
    match (value, version) {
        (..0, Version::V1) => "-1".to_owned(),
        (..0, Version::V2) => "max".to_owned(),
        (value, _) => value.to_string(),
    }
}

fn invalid(limit: &'static str, reason: impl Into<String>) -> Error {
    Error::Value {
        limit,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// `file=value` of every step; writes that belong together are in brackets.
    pub(crate) fn show(steps: &[Step]) -> String {
        let write = |w: &Write| format!("{}={}", w.file, w.value);
        let step = |step: &Step| match step {
            Step::One(w) => write(w),
            Step::Together(w) => {
                format!("[{}]", w.iter().map(write).collect::<Vec<_>>().join(", "))
            }
        };
        steps.iter().map(step).collect::<Vec<_>>().join("; ")
    }
}
