//! Proof that a process has one thread.

use crate::{Errno, Result};
use std::marker::PhantomData;

/// Proof that this process has exactly one thread, so that a cloned child may allocate, take locks
/// and run any Rust code. It cannot leave its thread; whoever holds it must start no thread.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// Counts the threads of this process in `/proc/self/task`
    /// ([proc_pid_task(5)](https://man7.org/linux/man-pages/man5/proc_pid_task.5.html)).
    ///
    /// # Errors
    /// `EBUSY` when there is more than one thread, `ENOENT` when /proc is not readable.
    pub fn check() -> Result<Self> {
        let tasks = std::fs::read_dir("/proc/self/task").map_err(|_| Errno::ENOENT)?;
        if tasks.count() == 1 {
            Ok(Self(PhantomData))
        } else {
            Err(Errno::EBUSY)
        }
    }
}
