//! The last steps: limits, label, filter, directory, credentials, program — and execve.

use super::procfs::{Procfs, label_on_exec};
use super::program::Found;
use super::{cred, filter_comes_early, program, wasm};
use crate::failure::{At, Blamed, because};
use crate::sync::Sync;
use crate::{fault, step};
use hull_abi::{Blame, FromInit, Payload, Process, SetupError, Step, ToInit};
use hull_sys::{Errno, fd, process as own, seccomp, signal};
use nix::fcntl::AtFlags;
use std::ffi::CString;
use std::os::fd::OwnedFd;

/// What execve needs beside the plan.
#[derive(Debug)]
pub(super) enum Program {
    /// A program of the container.
    Native {
        path: String,
        /// The user's home directory, where the environment names none.
        home: Option<String>,
    },
    /// A Wasm file of the container, run by hull's own runner.
    Wasm(wasm::Runner),
    /// hull's own compiler, in a container of its own.
    Compiler(OwnedFd),
}

/// Who sets the resource limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limits {
    /// The process itself.
    Own,
    /// The daemon: the root of a user namespace may not raise them.
    FromOutside,
}

/// Everything that can fail before the program runs; afterwards only the gate and execve are left.
pub(super) fn prepare(
    sync: &Sync,
    process: &Process,
    procfs: Option<Procfs>,
    compiler: Option<OwnedFd>,
    limits: Limits,
) -> Result<Program, SetupError> {
    label_on_exec(procfs.as_ref(), process)?;
    drop(procfs);
    step::note(Step::CloseFds);
    // Nothing but the standard streams reaches the program (CVE-2024-21626).
    if !fault::leaves_out("close descriptors") {
        fd::cloexec_all().at(Step::CloseFds, || "mark descriptors".to_owned())?;
    }
    if filter_comes_early(process) {
        load_filter(process)?;
    }
    // A directory that only root may enter, or only the user: both occur.
    let entered = nix::unistd::chdir(process.cwd.as_str());
    // As late as the right to raise them lasts: they bind us too.
    limits.set(sync, process)?;
    step::begin(Step::Credentials)?;
    cred::assume(process)?;
    enter_directory(process, entered)?;
    cred::limit(process)?;
    if process.no_new_privileges && !fault::leaves_out("no new privileges") {
        hull_sys::cred::no_new_privileges()
            .at(Step::Credentials, || "set no_new_privs".to_owned())?;
    }
    step::begin(Step::Program)?;
    let program = find(sync, process, compiler)?;
    step::note(Step::Seccomp);
    if !filter_comes_early(process) {
        // As late as possible: every system call before it need not be allowed.
        load_filter(process)?;
    }
    Ok(program)
}

impl Limits {
    pub(super) fn of(in_user_namespace: bool) -> Self {
        if in_user_namespace {
            Self::FromOutside
        } else {
            Self::Own
        }
    }

    fn set(self, sync: &Sync, process: &Process) -> Result<(), SetupError> {
        if self == Self::FromOutside {
            sync.send(Step::Rlimits, &FromInit::Limits)?;
            return match sync.receive(Step::Rlimits)? {
                ToInit::Limited => Ok(()),
                ToInit::Proceed { .. }
                | ToInit::Runner { .. }
                | ToInit::Keep
                | ToInit::Leave
                | ToInit::Start { .. } => Err(super::out_of_order(Step::Rlimits)),
            };
        }
        let left_out = fault::leaves_out("rlimits");
        for limit in process.rlimits.iter().filter(|_| !left_out) {
            let (number, soft, hard) = (limit.resource, limit.soft, limit.hard);
            own::set_rlimit(number, soft, hard).at(Step::Rlimits, || {
                format!("set limit {number} to {soft}:{hard}")
            })?;
        }
        Ok(())
    }
}

fn find(sync: &Sync, process: &Process, compiler: Option<OwnedFd>) -> Result<Program, SetupError> {
    if process.payload == Payload::Compile {
        // Nobody else would end it in time. Its own filter forbids this later.
        own::die_with_parent().at(Step::Program, || "follow the shim".to_owned())?;
        let missing = || {
            because(
                Step::Program,
                Blame::Hull,
                "compile".to_owned(),
                "no compiler",
            )
        };
        return compiler.map(Program::Compiler).ok_or_else(missing);
    }
    // As the user: what a file of the image leads to is opened with no more than the user's rights.
    let home = program::home(process);
    match program::find(process)? {
        Found::Native(path) => Ok(Program::Native { path, home }),
        Found::Wasm(path, module) => wasm::obtain(sync, path, &module, home).map(Program::Wasm),
    }
}

fn load_filter(process: &Process) -> Result<(), SetupError> {
    let wanted = |_: &&hull_abi::Seccomp| !fault::leaves_out("filter");
    let Some(filter) = process.seccomp.as_ref().filter(wanted) else {
        return Ok(());
    };
    let program: Vec<seccomp::Instruction> = filter
        .program
        .iter()
        .map(|i| (i.code, i.jt, i.jf, i.k))
        .collect();
    step::stop_clock();
    seccomp::load(&program, filter.flags).at(Step::Seccomp, || "load the filter".to_owned())
}

fn enter_directory(process: &Process, entered: Result<(), Errno>) -> Result<(), SetupError> {
    if fault::leaves_out("working directory") {
        return Ok(());
    }
    let action = || format!("chdir to cwd {:?}", process.cwd);
    match entered {
        Err(Errno::EACCES | Errno::EPERM) => nix::unistd::chdir(process.cwd.as_str()),
        other => other,
    }
    .at(Step::WorkingDirectory, action)
    .blame(Blame::Caller)?;
    // A directory outside of the root has no path here: somebody leaked a descriptor.
    match nix::unistd::getcwd() {
        Ok(path) if path.starts_with("/") => Ok(()),
        _ => Err(because(
            Step::WorkingDirectory,
            Blame::Caller,
            action(),
            "it is outside of the container's root",
        )),
    }
}

/// Becomes the program. Returns only if that fails.
pub(super) fn execute(sync: &Sync, process: &Process, program: Program) -> Result<(), SetupError> {
    if !fault::leaves_out("signals") {
        signal::reset_all().at(Step::Exec, || "reset signals".to_owned())?;
    }
    // The socket is close-on-exec: after this, its end means that execve worked.
    sync.send(Step::Exec, &FromInit::Execing)?;
    match program {
        Program::Native { path, home } => native(process, &path, home.as_deref()),
        Program::Wasm(runner) => wasm::execute(&runner, process),
        Program::Compiler(binary) => {
            by_descriptor(&binary, "hull-wasmc", &process.args, &process.env)
        }
    }
}

fn native(process: &Process, path: &str, home: Option<&str>) -> Result<(), SetupError> {
    let action = || format!("exec {path:?}");
    let home = home.map(|home| format!("HOME={home}"));
    let env = process
        .env
        .iter()
        .filter(|entry| home.is_none() || !entry.starts_with("HOME="))
        .chain(&home);
    let (args, env) = (c_strings(&process.args)?, c_strings(env)?);
    let path = CString::new(path)
        .map_err(|_| Errno::EINVAL)
        .at(Step::Exec, action)?;
    match nix::unistd::execve(&path, &args, &env) {
        Ok(never) => match never {},
        Err(errno) => Err(errno).at(Step::Exec, action).blame(Blame::Image),
    }
}

/// Executes a binary of ours. It has no path in the container and needs none.
pub(super) fn by_descriptor(
    binary: &OwnedFd,
    name: &str,
    args: &[String],
    env: &[String],
) -> Result<(), SetupError> {
    let (args, env) = (c_strings(args)?, c_strings(env)?);
    match nix::unistd::execveat(binary, c"", &args, &env, AtFlags::AT_EMPTY_PATH) {
        Ok(never) => match never {},
        Err(errno) => Err(errno).at(Step::Exec, || format!("exec {name} (execveat)")),
    }
}

fn c_strings<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<Vec<CString>, SetupError> {
    let c_string = |text: &String| {
        CString::new(text.as_str())
            .map_err(|_| Errno::EINVAL)
            .at(Step::Exec, || format!("pass {text:?} on"))
    };
    texts.into_iter().map(c_string).collect()
}
