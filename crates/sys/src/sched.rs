//! On which processors and how a process is scheduled:
//! [sched_setattr(2)](https://man7.org/linux/man-pages/man2/sched_setattr.2.html),
//! [sched_setaffinity(2)](https://man7.org/linux/man-pages/man2/sched_setaffinity.2.html).

use crate::{Result, check};

/// A set of processors, one bit for each: more than any kernel is built for.
pub type CpuMask = [u64; 128];

/// Every processor.
pub const EVERY_CPU: CpuMask = [u64::MAX; 128];

/// `struct sched_attr`; times are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*` bits.
    pub flags: u64,
    /// Nice value.
    pub nice: i32,
    /// Static priority.
    pub priority: u32,
    /// Processor time in each period.
    pub runtime: u64,
    /// When it must be done.
    pub deadline: u64,
    /// How often.
    pub period: u64,
}

/// As `linux/sched/types.h` has it since Linux 5.3.
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
    util_min: u32,
    util_max: u32,
}

/// The size of the structure, which the kernel wants to know.
const SCHED_ATTR_SIZE: u32 = 56;
const _: () = assert!(size_of::<SchedAttr>() == 56, "the layout of sched_attr");

/// Sets how this thread is scheduled. Survives execve.
///
/// # Errors
/// `EPERM` without `CAP_SYS_NICE`, for a real-time policy where the v1 cgroup has no real-time
/// budget, for a deadline where the process may not run on every processor; `EINVAL` for what the
/// kernel does not know; `EBUSY` when the deadlines of all would be too many.
pub fn set_policy(policy: &Policy) -> Result<()> {
    let attr = SchedAttr {
        size: SCHED_ATTR_SIZE,
        policy: policy.policy,
        flags: policy.flags,
        nice: policy.nice,
        priority: policy.priority,
        runtime: policy.runtime,
        deadline: policy.deadline,
        period: policy.period,
        util_min: 0,
        util_max: 0,
    };
    // SAFETY: `attr` outlives the call, which reads `size` bytes of it.
    let ret = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(&attr), 0) };
    check(ret).map(drop)
}

/// Binds this thread to processors; those that the cpuset forbids or that do not exist count for
/// nothing.
///
/// # Errors
/// `EINVAL` when none is left.
pub fn set_affinity(mask: &CpuMask) -> Result<()> {
    // SAFETY: the kernel reads `size_of_val(mask)` bytes of the mask.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(mask),
            mask.as_ptr(),
        )
    };
    check(ret).map(drop)
}

/// The processors that this thread may use.
///
/// # Errors
/// None in practice.
pub fn affinity() -> Result<CpuMask> {
    let mut mask: CpuMask = [0; 128];
    // SAFETY: the kernel writes at most `size_of_val(&mask)` bytes of the mask.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            0,
            size_of_val(&mask),
            mask.as_mut_ptr(),
        )
    };
    check(ret).map(|_| mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;

    #[test]
    fn affinity_is_set_and_read_back() {
        // A thread of its own: the setting is one thread's.
        std::thread::spawn(|| {
            let before = affinity().unwrap();
            let (word, bits) = before.iter().enumerate().find(|(_, w)| **w != 0).unwrap();
            let mut one: CpuMask = [0; 128];
            one[word] = bits & bits.wrapping_neg();
            set_affinity(&one).unwrap();
            assert_eq!(affinity().unwrap(), one);
            assert_eq!(set_affinity(&[0; 128]), Err(Errno::EINVAL));
            set_affinity(&EVERY_CPU).unwrap();
            assert_eq!(affinity().unwrap()[word] & before[word], before[word]);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn policy_is_set_and_nonsense_refused() {
        std::thread::spawn(|| {
            let batch = Policy {
                policy: 3,
                nice: 7,
                ..Policy::default()
            };
            set_policy(&batch).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split(' ').collect();
            // Fields 19 and 41 of proc_pid_stat(5); the first here is number 3, after a blank.
            assert_eq!((fields[17], fields[39]), ("7", "3"));
            let unknown = Policy {
                policy: 77,
                ..Policy::default()
            };
            assert_eq!(set_policy(&unknown), Err(Errno::EINVAL));
        })
        .join()
        .unwrap();
    }
}
