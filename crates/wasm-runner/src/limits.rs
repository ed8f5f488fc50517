//! How much memory a guest may have: growing fails in the guest before the kernel kills the
//! process.

use crate::failure::Failure;
use crate::http;
use hull_abi::{Entry, RunnerConfig};
use hull_sys::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Result, Store};

/// What the process needs beside the guest's memories, in bytes. Measured with a guest that sleeps:
/// 3.1 MiB resident, of which 0.15 MiB are private and the rest pages of our binary; the kernel's
/// tables and buffers for the process are charged to the container too.
const OWN_SHARE: u64 = 4 << 20;

/// What a guest gets at least, in bytes, however small the limit is: a module that a common
/// toolchain makes starts with little more than 1 MiB, and pages that it does not touch cost
/// nothing.
const MINIMUM: u64 = 2 << 20;

/// Files and sockets that are open at once. What the kernel keeps for each is charged to the container,
/// and no guest of ours works on more.
const MAX_OPEN: u64 = 4096;

/// Handles of a component, on its side and on ours: each takes some 100 bytes of this process.
pub(crate) const MAX_HANDLES: usize = 16_384;

/// What one call of a guest may make us hold for it, in bytes: at most, and at least however little memory
/// there is.
const HOST_COPY: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 20;

/// What an element of a table takes, in bytes.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Limits what this process may open. What it has open stays.
pub(crate) fn open_files() -> Result<(), Failure> {
    /// Of asm-generic/resource.h.
    const NOFILE: u32 = 7;
    process::lower_rlimit(NOFILE, MAX_OPEN)
        .map_err(|errno| Failure::internal("cannot limit the number of open files", errno))
}

/// What one call of a guest may make us hold for it, in bytes: data that it passes or random bytes that
/// it wants. A guest that asks for more traps.
pub(crate) fn host_copy(config: &RunnerConfig) -> u64 {
    let quarter = config.memory_limit.unwrap_or(u64::MAX) / 4;
    quarter.clamp(*HOST_COPY.start(), *HOST_COPY.end())
}

/// Limits what a component may make us hold in all.
pub(crate) fn store<T>(store: &mut Store<T>, config: &RunnerConfig) {
    store.set_max_component_handles(MAX_HANDLES);
    store.set_hostcall_fuel(usize::try_from(host_copy(config)).unwrap_or(usize::MAX));
}

/// A table for what a component holds of ours.
pub(crate) fn table() -> ResourceTable {
    let mut table = ResourceTable::new();
    table.set_max_capacity(MAX_HANDLES);
    table
}

/// Counts what all memories and tables of a guest take together.
#[derive(Debug)]
pub(crate) struct Limits {
    limit: usize,
    /// What all that share the limit have.
    used: Arc<AtomicUsize>,
    /// What of that is counted here, and given back with this.
    own: usize,
    /// Size in all that was refused last.
    refused: Option<usize>,
}

impl Limits {
    /// Limits for a process that may take the container's memory limit in all, with `code` bytes of the
    /// guest's code in memory of its own, and for servers what connections take; and what the annotation `max-memory` leaves of that.
    pub(crate) fn new(config: &RunnerConfig, code: u64) -> Self {
        let limit = config.memory_limit.map_or(u64::MAX, |limit| {
            let own = match config.entry {
                Entry::Http => OWN_SHARE + http::connections_share(limit),
                Entry::Command | Entry::Function(_) => OWN_SHARE,
            };
            let left = limit.saturating_sub(own).saturating_sub(code);
            left.max(MINIMUM.min(limit))
        });
        let limit = limit.min(config.settings.max_memory.unwrap_or(u64::MAX));
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: Arc::default(),
            own: 0,
            refused: None,
        }
    }

    /// Limits for another instance, which takes from the same amount.
    pub(crate) fn share(&self) -> Self {
        Self {
            limit: self.limit,
            used: Arc::clone(&self.used),
            own: 0,
            refused: None,
        }
    }

    /// What all instances take, in bytes.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Why the guest's memories could not be made, if it was for the limit.
    pub(crate) fn refusal(&self) -> Option<String> {
        let wanted = self.refused?;
        Some(format!(
            "it needs {wanted} bytes of memory from the start, the limit leaves {}",
            self.limit
        ))
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let more = |used: usize| Some(used.saturating_add(bytes)).filter(|all| *all <= self.limit);
        let order = Ordering::Relaxed;
        if let Err(used) = self.used.fetch_update(order, order, more) {
            self.refused = Some(used.saturating_add(bytes));
            return false;
        }
        self.own = self.own.saturating_add(bytes);
        true
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.used.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// Nothing is given back when growing fails after all: wasmtime also tells of failures that it had not asked
/// for, so what was granted last may be something else, which the guest has. That the kernel refuses what is
/// within the limit is rare, and costs the guest only room.
impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, now: usize, wanted: usize, most: Option<usize>) -> Result<bool> {
        Ok(fits(wanted, most) && self.grow(wanted.saturating_sub(now)))
    }

    fn table_growing(&mut self, now: usize, wanted: usize, most: Option<usize>) -> Result<bool> {
        let bytes = wanted.saturating_sub(now).saturating_mul(TABLE_ELEMENT);
        Ok(fits(wanted, most) && self.grow(bytes))
    }

    // Core instances of a component; a core module is one.
    fn instances(&self) -> usize {
        1000
    }

    fn tables(&self) -> usize {
        1000
    }

    // Each reserves 4 GiB of addresses.
    fn memories(&self) -> usize {
        1000
    }
}

/// Whether it is no more than the guest's own maximum, beyond which it would not get what was counted.
fn fits(wanted: usize, most: Option<usize>) -> bool {
    most.is_none_or(|most| wanted <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(memory_limit: Option<u64>, code: u64) -> Limits {
        let config = RunnerConfig {
            memory_limit,
            ..RunnerConfig::default()
        };
        Limits::new(&config, code)
    }

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut limits = limits(Some(OWN_SHARE + (11 << 20)), 1 << 20);
        assert!(limits.memory_growing(0, 6 << 20, None).unwrap());
        assert!(limits.memory_growing(0, 3 << 20, None).unwrap());
        assert!(!limits.memory_growing(6 << 20, 8 << 20, None).unwrap());
        assert!(limits.table_growing(0, (1 << 20) / 8, None).unwrap());
        assert!(!limits.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn failures_give_nothing_back_and_what_cannot_be_is_not_counted() {
        let mut limits = limits(Some(OWN_SHARE + (11 << 20)), 1 << 20);
        assert!(!limits.memory_growing(0, 2 << 20, Some(1 << 20)).unwrap());
        assert!(!limits.table_growing(0, 2, Some(1)).unwrap());
        assert_eq!(limits.used(), 0);
        assert!(limits.memory_growing(0, 10 << 20, None).unwrap());
        let overflow = wasmtime::Error::msg("overflow calculating new table size");
        limits.table_grow_failed(overflow).unwrap();
        assert!(!limits.memory_growing(0, 1 << 20, None).unwrap());
    }

    #[test]
    fn a_refusal_names_both_numbers() {
        let mut limits = limits(Some(OWN_SHARE + (11 << 20)), 1 << 20);
        assert_eq!(limits.refusal(), None);
        assert!(!limits.memory_growing(0, 11 << 20, None).unwrap());
        let text = limits.refusal().unwrap();
        assert!(
            text.contains("11534336") && text.contains("10485760"),
            "{text}"
        );
    }

    #[test]
    fn tiny_limits_leave_something_and_no_limit_is_none() {
        assert_eq!(limits(Some(5 << 20), 0).limit, 2 << 20);
        assert_eq!(limits(Some(1 << 20), 0).limit, 1 << 20);
        assert_eq!(limits(None, 0).limit, usize::MAX);
    }

    #[test]
    fn a_servers_connections_have_their_part() {
        let mut config = RunnerConfig {
            memory_limit: Some(64 << 20),
            entry: Entry::Http,
            ..RunnerConfig::default()
        };
        assert_eq!(Limits::new(&config, 0).limit, 44 << 20);
        config.memory_limit = Some(3 << 20);
        assert_eq!(Limits::new(&config, 0).limit, 2 << 20);
        config.memory_limit = None;
        assert_eq!(Limits::new(&config, 0).limit, usize::MAX);
    }

    #[test]
    fn an_annotation_lowers_the_limit_and_never_raises_it() {
        let mut config = RunnerConfig::default();
        config.settings.max_memory = Some(64 << 20);
        assert_eq!(Limits::new(&config, 0).limit, 64 << 20);
        config.memory_limit = Some(OWN_SHARE + (32 << 20));
        assert_eq!(Limits::new(&config, 0).limit, 32 << 20);
        config.settings.max_memory = Some(1);
        assert_eq!(Limits::new(&config, 0).limit, 1);
    }

    #[test]
    fn what_is_held_for_a_call_follows_the_memory_limit() {
        let copy = |memory_limit| {
            host_copy(&RunnerConfig {
                memory_limit,
                ..RunnerConfig::default()
            })
        };
        assert_eq!(copy(None), 64 << 20);
        assert_eq!(copy(Some(32 << 20)), 8 << 20);
        assert_eq!(copy(Some(0)), 1 << 20);
    }
}
