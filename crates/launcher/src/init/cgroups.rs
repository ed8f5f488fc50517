//! Joining the cgroup v1 hierarchies; the v2 cgroup is the one that the process was born in.

use crate::failure::from_cgroup;
use hull_abi::{SetupError, Step};

/// Writes "0" to `tasks` of each directory: moving oneself costs 0.1 ms, being moved from outside
/// through `cgroup.procs` about 11 ms (it waits for an RCU grace period).
pub(super) fn join(v1_directories: &[String]) -> Result<(), SetupError> {
    hull_cgroup::join_self(v1_directories).map_err(|e| from_cgroup(Step::JoinCgroup, &e))
}
