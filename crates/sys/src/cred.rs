//! Identity of a process: [credentials(7)](https://man7.org/linux/man-pages/man7/credentials.7.html),
//! [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html).
//!
//! Raw system calls: the C library's versions would try to change other threads as well.

use crate::{Errno, Result, check};

/// Effective, permitted and inheritable set, bit n = capability n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThreadCapabilities {
    /// In force.
    pub effective: u64,
    /// May be put in force.
    pub permitted: u64,
    /// May pass through execve by file capabilities.
    pub inheritable: u64,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "takes the two halves of a 64-bit set"
)]
const fn halves(set: u64) -> [u32; 2] {
    [set as u32, (set >> 32) as u32]
}

/// Sets the three sets of this thread in one call
/// ([capset(2)](https://man7.org/linux/man-pages/man2/capset.2.html)).
///
/// # Errors
/// `EPERM` for a capability that is not ours to give.
pub fn set_capabilities(caps: ThreadCapabilities) -> Result<()> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let [effective_low, effective_high] = halves(caps.effective);
    let [permitted_low, permitted_high] = halves(caps.permitted);
    let [inheritable_low, inheritable_high] = halves(caps.inheritable);
    let data = [
        CapData {
            effective: effective_low,
            permitted: permitted_low,
            inheritable: inheritable_low,
        },
        CapData {
            effective: effective_high,
            permitted: permitted_high,
            inheritable: inheritable_high,
        },
    ];
    // SAFETY: version 3 reads one header and two data structs, which outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    check(ret).map(drop)
}

/// The three sets of this thread.
///
/// # Errors
/// None in practice.
pub fn capabilities() -> Result<ThreadCapabilities> {
    let header = CapHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    let mut data = [CapData::default(); 2];
    // SAFETY: version 3 reads one header and writes two data structs, which outlive the call.
    let ret = unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) };
    check(ret)?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(ThreadCapabilities {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// The largest capability number that this kernel knows, from `/proc/sys/kernel/cap_last_cap`.
///
/// # Errors
/// When the file cannot be read.
pub fn last_capability() -> Result<u8> {
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .map_err(|e| crate::fd::errno(&e))?;
    text.trim().parse().map_err(|_| crate::Errno::EINVAL)
}

fn prctl(option: libc::c_int, a: libc::c_ulong, b: libc::c_ulong) -> Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: every option used here takes integers only.
    let ret = unsafe { libc::prctl(option, a, b, zero, zero) };
    check(libc::c_long::from(ret)).map(drop)
}

/// Takes every capability that is not in `keep` out of the bounding set, as far as this kernel knows
/// capabilities. Asks the kernel itself how far that is: a file in /proc may be the container's.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn limit_bounding_set(keep: u64) -> Result<()> {
    for capability in 0..64u8 {
        if keep & (1 << capability) != 0 {
            continue;
        }
        match prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0) {
            Ok(()) => {}
            Err(Errno::EINVAL) => return Ok(()), // beyond the last one
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Clears the ambient set and raises what is in `set`.
///
/// # Errors
/// `EPERM` for a capability that is not both permitted and inheritable.
pub fn set_ambient(set: u64) -> Result<()> {
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
    let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
    prctl(libc::PR_CAP_AMBIENT, clear, 0)?;
    for capability in (0..64u8).filter(|n| set & (1 << n) != 0) {
        prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(capability))?;
    }
    Ok(())
}

/// Keeps the permitted set when the user id changes from 0, until execve.
///
/// # Errors
/// None in practice.
pub fn keep_capabilities() -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, 1, 0)
}

/// Forbids that execve ever grants anything
/// ([PR_SET_NO_NEW_PRIVS](https://man7.org/linux/man-pages/man2/PR_SET_NO_NEW_PRIVS.2const.html)).
///
/// # Errors
/// None in practice.
pub fn no_new_privileges() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// Sets the supplementary groups to exactly these.
///
/// # Errors
/// `EPERM` without `CAP_SETGID`, `EINVAL` for more groups than the kernel takes.
pub fn set_groups(gids: &[u32]) -> Result<()> {
    // SAFETY: the kernel reads `len` group ids from the slice.
    check(unsafe { libc::syscall(libc::SYS_setgroups, gids.len(), gids.as_ptr()) }).map(drop)
}

/// Sets the real, effective and saved group id.
///
/// # Errors
/// `EPERM` without `CAP_SETGID`.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) }).map(drop)
}

/// Sets the real, effective and saved user id.
///
/// # Errors
/// `EPERM` without `CAP_SETUID`, `EAGAIN` at the limit of processes.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) }).map(drop)
}
