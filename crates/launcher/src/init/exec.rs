//! The last steps: limits, label, filter, directory, credentials, program — and execve.

use super::procfs::{Procfs, label_on_exec};
use super::program::Found;
use super::{attributes, cred, filter_comes_early, program, wasm};
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
    /// hull's own compiler, in a container of its own, or the holder of a pod's namespaces.
    Own(OwnedFd),
}

/// Everything that can fail before the program runs; afterwards only the gate and execve are left.
pub(super) fn prepare(
    sync: &Sync,
    process: &Process,
    procfs: Option<Procfs>,
    own_program: Option<OwnedFd>,
) -> Result<Program, SetupError> {
    if process.payload != Payload::Compile {
        // From here on its end of the socket is enough, and the program must not die with the daemon. A
        // filter may forbid it later.
        own::die_with_parent(false).at(Step::Attributes, || "leave the shim".to_owned())?;
    }
    step::begin(Step::Attributes)?;
    attributes::apply(&process.attributes)?;
    label_on_exec(procfs.as_ref(), process)?;
    drop(procfs);
    step::note(Step::CloseFds);
    // Nothing but the standard streams reaches the program (CVE-2024-21626).
    if !fault::leaves_out("close descriptors") {
        fd::cloexec_all().at(Step::CloseFds, || "mark descriptors".to_owned())?;
    }
    if filter_comes_early(process) {
        load_filter(sync, process)?;
    }
    // A directory that only root may enter, or only the user: both occur.
    let entered = nix::unistd::chdir(process.cwd.as_str());
    // As late as possible, since they bind us too, and before the user changes: whoever is over the user's
    // limit of processes then cannot execute a program (RLIMIT_NPROC in setrlimit(2)).
    limit_resources(sync, process)?;
    step::begin(Step::Credentials)?;
    cred::assume(process)?;
    enter_directory(process, entered)?;
    cred::limit(process)?;
    if process.no_new_privileges && !fault::leaves_out("no new privileges") {
        hull_sys::cred::no_new_privileges()
            .at(Step::Credentials, || "set no_new_privs".to_owned())?;
    }
    step::begin(Step::Program)?;
    let program = find(sync, process, own_program)?;
    step::note(Step::Seccomp);
    if !filter_comes_early(process) {
        // As late as possible: every system call before it need not be allowed.
        load_filter(sync, process)?;
    }
    Ok(program)
}

/// Has the daemon set the resource limits: inside of a user namespace nobody may raise them.
fn limit_resources(sync: &Sync, process: &Process) -> Result<(), SetupError> {
    if process.rlimits.is_empty() || fault::leaves_out("rlimits") {
        return Ok(());
    }
    sync.send(Step::Rlimits, &FromInit::Limits)?;
    match sync.receive(Step::Rlimits)? {
        ToInit::Limited => Ok(()),
        ToInit::Proceed { .. }
        | ToInit::Runner { .. }
        | ToInit::Digest
        | ToInit::Keep
        | ToInit::Leave
        | ToInit::Notified
        | ToInit::Start { .. } => Err(super::out_of_order(Step::Rlimits)),
    }
}

fn find(
    sync: &Sync,
    process: &Process,
    own_program: Option<OwnedFd>,
) -> Result<Program, SetupError> {
    if process.payload == Payload::Compile {
        // Nobody else would end it in time. Its own filter forbids this later.
        own::die_with_parent(true).at(Step::Program, || "follow the shim".to_owned())?;
    }
    if matches!(process.payload, Payload::Compile | Payload::Hold) {
        let action = || format!("become {:?}", process.args.first());
        let missing = || because(Step::Program, Blame::Hull, action(), "no program came");
        return own_program.map(Program::Own).ok_or_else(missing);
    }
    // As the user: what a file of the image leads to is opened with no more than the user's rights.
    let home = program::home(process);
    match program::find(process)? {
        Found::Native(path) => Ok(Program::Native { path, home }),
        Found::Wasm(module) => wasm::obtain(sync, module, home).map(Program::Wasm),
        Found::Absent(error) => wasm::obtain_of_image(sync, error, home).map(Program::Wasm),
    }
}

fn load_filter(sync: &Sync, process: &Process) -> Result<(), SetupError> {
    let wanted = |_: &&hull_abi::Seccomp| !fault::leaves_out("filter");
    let Some(given) = process.seccomp.as_ref().filter(wanted) else {
        return Ok(());
    };
    let program: Vec<seccomp::Instruction> = given
        .program
        .iter()
        .map(|i| (i.code, i.jt, i.jf, i.k))
        .collect();
    let mut filter = seccomp::Filter::new(&program);
    step::stop_clock();
    if given.listener.is_none() {
        return filter
            .load(given.flags)
            .at(Step::Seccomp, || "load the filter".to_owned());
    }
    let listener = filter.load_listening(given.flags).at(Step::Seccomp, || {
        format!("load the filter with a listener (flags {:#x})", given.flags)
    })?;
    if fault::leaves_out("listener") {
        return Ok(());
    }
    sync.hand_over(&listener)
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
    if matches!(program, Program::Wasm(_)) {
        // The runner lifts it once it can be ended by signals.
        signal::hold().at(Step::Exec, || "hold signals back".to_owned())?;
    }
    // The socket is close-on-exec: after this, its end means that execve worked.
    sync.send(Step::Exec, &FromInit::Execing)?;
    match program {
        Program::Native { path, home } => native(process, &path, home.as_deref()),
        Program::Wasm(runner) => wasm::execute(&runner, process),
        Program::Own(binary) => {
            let name = process.args.first().map_or("", String::as_str);
            by_descriptor(&binary, name, &process.args, &process.env)
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
