//! Becoming a logger: a program on the host that takes the output of a container's process. It is the
//! daemon's child like every process of the launcher's, in the daemon's cgroup and in no container's
//! namespaces, so that it can outlive the container by its last lines.

use crate::failure::{At, Blamed, because};
use crate::step;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, LoggerProgram, SetupError, Step};
use hull_sys::{process, signal};
use std::convert::Infallible;
use std::ffi::CString;

const STEP: Step = Step::Logger;

/// Executes the program. Its descriptors 3, 4 and 5 are in their places, the standard streams are
/// `/dev/null`; everything else is close-on-exec.
pub(super) fn become_program(
    sync: &Sync,
    program: &LoggerProgram,
) -> Result<Infallible, SetupError> {
    step::begin(STEP)?;
    let LoggerProgram {
        path,
        args,
        env,
        cwd,
    } = program;
    let action = || format!("start logging binary {path:?}");
    let name = text(path)?;
    let argv: Vec<CString> = std::iter::once(path)
        .chain(args)
        .map(|arg| text(arg))
        .collect::<Result<_, _>>()?;
    let envp: Vec<CString> = env
        .iter()
        .map(|entry| text(entry))
        .collect::<Result<_, _>>()?;
    process::disable_huge_pages(false).at(STEP, action)?;
    // What is sent to the daemon's process group is not meant for it.
    nix::unistd::setsid().at(STEP, action)?;
    nix::unistd::chdir(cwd.as_str()).at(STEP, || format!("enter {cwd:?}"))?;
    signal::reset_all().at(STEP, action)?;
    // It ends when it has read everything, also after a daemon that was killed.
    process::die_with_parent(false).at(STEP, action)?;
    sync.send(STEP, &FromInit::Execing)?;
    nix::unistd::execve(&name, &argv, &envp)
        .at(STEP, action)
        .blame(Blame::Caller)
}

fn text(bytes: &str) -> Result<CString, SetupError> {
    CString::new(bytes).map_err(|_| {
        let action = format!("start logging binary with {bytes:?}");
        because(STEP, Blame::Caller, action, "it contains a NUL byte")
    })
}
