//! When what happened while a container was made: the split of one Create.
//!
//! Every process that takes part notes the moments at which its steps begin; the daemon puts them
//! together. Where the annotation [`TRACE_ANNOTATION`] asks for it, the [`Trace`] is written into the
//! bundle as [`TRACE_FILE`].

use crate::Step;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Annotation that asks for the trace file: `yes`.
pub const TRACE_ANNOTATION: &str = "io.containerd.hull.trace";

/// Name of the trace file in the bundle: JSON of a [`Trace`].
pub const TRACE_FILE: &str = "trace.json";

/// The steps that a process has begun, each with its moment in nanoseconds of CLOCK_MONOTONIC.
pub type Moments = Vec<(Step, u64)>;

/// The process in which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The shim's daemon.
    Daemon,
    /// The child of the launcher that mounts the root file system and makes the cgroup.
    Job,
    /// The container's init process before its program.
    Init,
}

/// The moment at which a step began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Where.
    pub who: Who,
    /// What began, e.g. a [`Step`]'s name.
    pub what: Cow<'static, str>,
    /// Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
    pub at_ns: u64,
}

/// All of a Create, ordered by time; the last mark is its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The marks.
    pub marks: Vec<Mark>,
}
