//! What a process can say about itself: [prctl(2)](https://man7.org/linux/man-pages/man2/prctl.2.html),
//! [keyctl(2)](https://man7.org/linux/man-pages/man2/keyctl.2.html), limits and exit.

use crate::{Result, check};
use std::ffi::CStr;

fn prctl(option: libc::c_int, a: libc::c_ulong) -> Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option used here takes integers only.
    let ret = unsafe { libc::prctl(option, a, zero, zero, zero) };
    check(libc::c_long::from(ret)).map(drop)
}

/// Makes this process invisible to ptrace and its /proc files root's own (CVE-2016-9962).
///
/// # Errors
/// None in practice.
pub fn set_not_dumpable() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// The name that ps and /proc show; a binary that is executed by descriptor has only its number.
///
/// # Errors
/// None in practice.
pub fn set_name(name: &CStr) -> Result<()> {
    nix::sys::prctl::set_name(name)
}

/// Orphans among our descendants become our children.
///
/// # Errors
/// None in practice.
pub fn set_child_subreaper() -> Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Has this process killed when the thread that is its parent ends, or no longer. Survives execve, but
/// neither a change of credentials nor, for the new process, a clone.
///
/// # Errors
/// None in practice.
pub fn die_with_parent(die: bool) -> Result<()> {
    let signal = if die { libc::SIGKILL } else { 0 };
    prctl(
        libc::PR_SET_PDEATHSIG,
        libc::c_ulong::from(signal.unsigned_abs()),
    )
}

/// Turns transparent huge pages off for this process, which would round its heap up to 2 MiB pages;
/// or on again, since the setting survives execve.
///
/// # Errors
/// None in practice.
pub fn disable_huge_pages(disable: bool) -> Result<()> {
    prctl(libc::PR_SET_THP_DISABLE, libc::c_ulong::from(disable))
}

/// Gives this process group its own core scheduling cookie
/// ([PR_SCHED_CORE](https://docs.kernel.org/admin-guide/hw-vuln/core-scheduling.html)).
///
/// # Errors
/// `EINVAL`/`ENODEV` where the kernel has no core scheduling or the CPU no SMT.
pub fn create_core_scheduling_cookie() -> Result<()> {
    const PR_SCHED_CORE: libc::c_int = 62;
    const CREATE: libc::c_ulong = 1;
    const PROCESS_GROUP: libc::c_ulong = 2;
    let zero: libc::c_ulong = 0;
    // SAFETY: integers only; the last argument is a null pointer, which CREATE ignores.
    let ret = unsafe { libc::prctl(PR_SCHED_CORE, CREATE, zero, PROCESS_GROUP, zero) };
    check(libc::c_long::from(ret)).map(drop)
}

/// Sets a resource limit of a process by its number
/// ([prlimit(2)](https://man7.org/linux/man-pages/man2/prlimit.2.html)); process 0 is this one.
///
/// # Errors
/// `EPERM` when the hard limit would rise without `CAP_SYS_RESOURCE`, `ESRCH`.
pub fn set_rlimit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: `limit` outlives the call, the old value is not asked for.
    let ret = unsafe {
        libc::prlimit64(
            pid,
            resource,
            std::ptr::from_ref(&limit),
            std::ptr::null_mut(),
        )
    };
    check(libc::c_long::from(ret)).map(drop)
}

/// Lowers a resource limit of this process, soft and hard, to `most`; a lower one stays
/// ([getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html)).
///
/// # Errors
/// `EINVAL` for a number that is none.
pub fn lower_rlimit(resource: u32, most: u64) -> Result<()> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` outlives the call, nothing is set.
    let ret = unsafe { libc::prlimit64(0, resource, std::ptr::null(), &raw mut limit) };
    check(libc::c_long::from(ret))?;
    set_rlimit_of(
        0,
        resource,
        limit.rlim_cur.min(most),
        limit.rlim_max.min(most),
    )
}

/// Joins a session keyring of this name, making it if there is none
/// ([keyrings(7)](https://man7.org/linux/man-pages/man7/session-keyring.7.html)).
///
/// # Errors
/// `ENOSYS` where the kernel has no keys, `EDQUOT` when the user has too many.
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    // What a new session keyring grants, and its owner may search for it: joining by name is a
    // search.
    const PERMISSIONS: libc::c_long = 0x3f13_0000 | 0x0008_0000;
    // SAFETY: `name` is a C string that outlives the call.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            libc::KEYCTL_JOIN_SESSION_KEYRING,
            name.as_ptr(),
        )
    };
    let keyring = check(ret)?;
    // SAFETY: integers only.
    let ret =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, keyring, PERMISSIONS) };
    match check(ret) {
        // It belongs to another user of the container, who made it; then it is shared already.
        Ok(_) | Err(crate::Errno::EACCES) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Ends this process at once: no destructors, no exit hooks, as a cloned child should.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; nothing of it can be observed afterwards.
    unsafe { libc::_exit(code) }
}

/// Sets the NIS domain name of this UTS namespace
/// ([setdomainname(2)](https://man7.org/linux/man-pages/man2/setdomainname.2.html)).
///
/// # Errors
/// `EINVAL` when it is longer than 64 bytes.
pub fn set_domain_name(name: &str) -> Result<()> {
    // SAFETY: the kernel reads `len` bytes of the name.
    let ret = unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) };
    check(libc::c_long::from(ret)).map(drop)
}
