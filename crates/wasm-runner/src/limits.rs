//! How much memory a guest may have: growing fails in the guest before the kernel kills the
//! process.

use wasmtime::{Error, ResourceLimiter, Result};

/// What the process needs beside the guest's memories, in bytes. Measured with a guest that sleeps:
/// 3.1 MiB resident, of which 0.15 MiB are private and the rest pages of our binary; the kernel's
/// tables and buffers for the process are charged to the container too.
const OWN_SHARE: u64 = 4 << 20;

/// What a guest gets at least, in bytes, however small the limit is: a module that a common
/// toolchain makes starts with little more than 1 MiB, and pages that it does not touch cost
/// nothing.
const MINIMUM: u64 = 2 << 20;

/// What an element of a table takes, in bytes.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// Counts what all memories and tables of a guest take together.
#[derive(Debug)]
pub(crate) struct Limits {
    limit: usize,
    used: usize,
    /// What was granted last, to be taken back when the kernel does not give it.
    granted: usize,
    /// Size in all that was refused last.
    refused: Option<usize>,
}

impl Limits {
    /// Limits for a process that may take `process_limit` bytes in all, with `code` bytes of the
    /// guest's code in memory of its own.
    pub(crate) fn new(process_limit: Option<u64>, code: u64) -> Self {
        let limit = process_limit.map_or(u64::MAX, |limit| {
            let left = limit.saturating_sub(OWN_SHARE).saturating_sub(code);
            left.max(MINIMUM.min(limit))
        });
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            used: 0,
            granted: 0,
            refused: None,
        }
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
        let wanted = self.used.saturating_add(bytes);
        if wanted > self.limit {
            self.refused = Some(wanted);
            return false;
        }
        self.used = wanted;
        self.granted = bytes;
        true
    }

    fn take_back(&mut self) {
        self.used = self.used.saturating_sub(self.granted);
        self.granted = 0;
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn memory_grow_failed(&mut self, _: Error) -> Result<()> {
        self.take_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        let elements = desired.saturating_sub(current);
        Ok(self.grow(elements.saturating_mul(TABLE_ELEMENT)))
    }

    fn table_grow_failed(&mut self, _: Error) -> Result<()> {
        self.take_back();
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_and_tables_count_together() {
        let mut limits = Limits::new(Some(OWN_SHARE + (11 << 20)), 1 << 20);
        assert!(limits.memory_growing(0, 6 << 20, None).unwrap());
        assert!(limits.memory_growing(0, 3 << 20, None).unwrap());
        assert!(!limits.memory_growing(6 << 20, 8 << 20, None).unwrap());
        assert!(limits.table_growing(0, (1 << 20) / 8, None).unwrap());
        assert!(!limits.table_growing(0, 1, None).unwrap());
    }

    #[test]
    fn what_the_kernel_refused_is_not_counted() {
        let mut limits = Limits::new(Some(OWN_SHARE + (11 << 20)), 1 << 20);
        assert!(limits.memory_growing(0, 10 << 20, None).unwrap());
        limits.memory_grow_failed(Error::msg("no memory")).unwrap();
        assert!(limits.memory_growing(0, 10 << 20, None).unwrap());
    }

    #[test]
    fn a_refusal_names_both_numbers() {
        let mut limits = Limits::new(Some(OWN_SHARE + (11 << 20)), 1 << 20);
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
        assert_eq!(Limits::new(Some(5 << 20), 0).limit, 2 << 20);
        assert_eq!(Limits::new(Some(1 << 20), 0).limit, 1 << 20);
        assert_eq!(Limits::new(None, 0).limit, usize::MAX);
    }
}
