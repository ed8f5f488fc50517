//! How the kernel schedules a process and where its memory comes from: what execve keeps and what
//! children inherit.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What of the launcher's own attributes a process changes. Empty for most.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// Scheduling policy.
    pub scheduler: Option<Scheduler>,
    /// I/O priority.
    pub io_priority: Option<IoPriority>,
    /// Execution domain.
    pub personality: Option<Personality>,
    /// Where memory is allocated.
    pub memory_policy: Option<MemoryPolicy>,
    /// Processors of an exec; init has all that its cpuset allows.
    pub exec_affinity: ExecAffinity,
}

/// The fields of `struct sched_attr`
/// ([sched_setattr(2)](https://man7.org/linux/man-pages/man2/sched_setattr.2.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scheduler {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// Static priority, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`; 0 is the deadline.
    pub period: u64,
}

/// An I/O priority ([ioprio_set(2)](https://man7.org/linux/man-pages/man2/ioprio_set.2.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_*`: 1 is real-time, 2 best effort, 3 idle.
    pub class: u8,
    /// 0, the first, to 7.
    pub level: u8,
}

/// An execution domain
/// ([personality(2)](https://man7.org/linux/man-pages/man2/personality.2.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Personality {
    /// `PER_LINUX`.
    Linux,
    /// `PER_LINUX32`: uname(2) names a 32-bit machine.
    Linux32,
}

/// A NUMA policy ([set_mempolicy(2)](https://man7.org/linux/man-pages/man2/set_mempolicy.2.html)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// `MPOL_*`.
    pub mode: u32,
    /// `MPOL_F_*` bits.
    pub flags: u32,
    /// Which nodes; empty where the mode takes none.
    pub nodes: NumberSet,
}

/// Processors of an exec.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecAffinity {
    /// Before it is in the container's cgroup.
    pub initial: Option<NumberSet>,
    /// From then on. Without it, but with `initial`, the kernel decides; with neither it is every
    /// processor that the cpuset allows.
    pub last: Option<NumberSet>,
}

/// A set of small numbers: processors or NUMA nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NumberSet {
    /// First and last of each range, in the order in which they were given.
    pub ranges: Vec<(u16, u16)>,
}

impl NumberSet {
    /// As the kernel takes it: `N` words of 64 bits, the lowest number first. Numbers that do not
    /// fit are left out.
    #[must_use]
    pub fn mask<const N: usize>(&self) -> [u64; N] {
        let mut mask = [0_u64; N];
        for number in self.ranges.iter().flat_map(|&(first, last)| first..=last) {
            if let Some(word) = mask.get_mut(usize::from(number / 64)) {
                *word |= 1 << (number % 64);
            }
        }
        mask
    }
}

/// In the kernel's list syntax: `0-3,7`.
impl fmt::Display for NumberSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_a_mask_and_a_list() {
        let set = NumberSet {
            ranges: vec![(0, 1), (64, 64), (130, 131)],
        };
        assert_eq!(set.mask::<2>(), [0b11, 1]);
        assert_eq!(set.mask::<1>(), [0b11]);
        assert_eq!(set.to_string(), "0-1,64,130-131");
        let all = NumberSet {
            ranges: vec![(0, u16::MAX)],
        };
        assert_eq!(all.mask::<128>(), [u64::MAX; 128]);
        assert_eq!(NumberSet::default().to_string(), "");
    }
}
