//! What a process has before it has any files: session, CPU affinity, OOM score, keyring.

use crate::failure::{At, Blamed, because};
use crate::fault;
use hull_abi::{Blame, ExecAffinity, SetupError, Step};
use hull_sys::{Errno, fd, process, sched};
use std::ffi::CString;

/// A session of its own, and nothing of what the shim has set for itself.
pub(super) fn begin() -> Result<(), SetupError> {
    if !fault::leaves_out("session") {
        nix::unistd::setsid().at(Step::Session, || "setsid".to_owned())?;
    }
    process::disable_huge_pages(false).at(Step::Session, || "reset huge pages".to_owned())
}

/// Every processor that the cpuset allows: whoever started containerd may have been bound to some; the
/// container must not be.
pub(super) fn use_every_cpu() -> Result<(), SetupError> {
    sched::set_affinity(&sched::EVERY_CPU).at(Step::Session, || "reset the cpu affinity".to_owned())
}

/// The processors of an exec, which is in the container's cgroup now.
pub(super) fn use_cpus_of_exec(affinity: &ExecAffinity) -> Result<(), SetupError> {
    match (&affinity.last, &affinity.initial) {
        (Some(cpus), _) if !fault::leaves_out("processors of an exec") => {
            sched::set_affinity(&cpus.mask())
                .at(Step::Session, || {
                    format!("bind to processors {cpus} (process.execCPUAffinity.final)")
                })
                .blame(Blame::Caller)
        }
        // The spec leaves the rest to the kernel.
        (None, Some(_)) => Ok(()),
        (Some(_) | None, _) => use_every_cpu(),
    }
}

/// Written while /proc is still the host's, so that nobody can have put another file there.
pub(super) fn set_oom_score(score: Option<i32>) -> Result<(), SetupError> {
    let Some(score) = score.filter(|_| !fault::leaves_out("oom score")) else {
        return Ok(());
    };
    std::fs::write("/proc/self/oom_score_adj", score.to_string())
        .map_err(|e| fd::errno(&e))
        .at(Step::OomScore, || {
            format!("write {score} to /proc/self/oom_score_adj")
        })
}

/// Joins the container's session keyring, so that it does not share the one of whoever started us.
pub(super) fn join_keyring(name: Option<&str>) -> Result<(), SetupError> {
    let Some(name) = name.filter(|_| !fault::leaves_out("keyring")) else {
        return Ok(());
    };
    let action = || format!("join session keyring {name:?}");
    let c_name = CString::new(name)
        .map_err(|_| Errno::EINVAL)
        .at(Step::Keyring, action)?;
    match process::join_session_keyring(&c_name) {
        Ok(()) | Err(Errno::ENOSYS) => Ok(()),
        Err(Errno::EDQUOT) => Err(because(
            Step::Keyring,
            Blame::Host,
            action(),
            "the quota of keys is used up (see /proc/sys/kernel/keys)",
        )),
        Err(errno) => Err(errno).at(Step::Keyring, action),
    }
}
