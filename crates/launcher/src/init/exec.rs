//! The last steps: limits, label, filter, directory, credentials, program — and execve.

use super::procfs::{Procfs, label_on_exec};
use super::{cred, filter_comes_early};
use crate::failure::{At, Blamed, because};
use crate::fault;
use crate::sync::Sync;
use hull_abi::{Blame, FromInit, Process, SetupError, Step};
use hull_sys::{Errno, fd, fs, process as own, seccomp, signal};
use std::ffi::CString;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Most of `/etc/passwd` that is looked at; the file is the image's.
const MAX_PASSWD: u64 = 1 << 20;
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What execve needs beside the plan.
#[derive(Debug)]
pub(super) struct Program {
    path: String,
    /// The user's home directory, where the environment names none.
    home: Option<String>,
}

/// Everything that can fail before the program runs; afterwards only the gate and execve are left.
pub(super) fn prepare(process: &Process, procfs: Option<Procfs>) -> Result<Program, SetupError> {
    let has_home = variable(&process.env, "HOME").is_some_and(|home| !home.is_empty());
    let home = (!has_home).then(|| home_directory(process.user.uid));
    label_on_exec(procfs.as_ref(), process)?;
    drop(procfs);
    // Nothing but the standard streams reaches the program (CVE-2024-21626).
    fd::cloexec_all().at(Step::CloseFds, || "mark descriptors".to_owned())?;
    if filter_comes_early(process) {
        load_filter(process)?;
    }
    // A directory that only root may enter, or only the user: both occur.
    let entered = nix::unistd::chdir(process.cwd.as_str());
    // As late as the right to raise them lasts: they bind us too.
    for limit in &process.rlimits {
        let (number, soft, hard) = (limit.resource, limit.soft, limit.hard);
        own::set_rlimit(number, soft, hard).at(Step::Rlimits, || {
            format!("set limit {number} to {soft}:{hard}")
        })?;
    }
    fault::point(Step::Credentials)?;
    cred::assume(process)?;
    enter_directory(process, entered)?;
    cred::limit(process)?;
    if process.no_new_privileges {
        hull_sys::cred::no_new_privileges()
            .at(Step::Credentials, || "set no_new_privs".to_owned())?;
    }
    fault::point(Step::Program)?;
    let path = find_program(process)?;
    check_program(&path)?;
    if !filter_comes_early(process) {
        // As late as possible: every system call before it need not be allowed.
        load_filter(process)?;
    }
    Ok(Program { path, home })
}

fn load_filter(process: &Process) -> Result<(), SetupError> {
    let Some(filter) = &process.seccomp else {
        return Ok(());
    };
    let program: Vec<seccomp::Instruction> = filter
        .program
        .iter()
        .map(|i| (i.code, i.jt, i.jf, i.k))
        .collect();
    seccomp::load(&program, filter.flags).at(Step::Seccomp, || "load the filter".to_owned())
}

fn enter_directory(process: &Process, entered: Result<(), Errno>) -> Result<(), SetupError> {
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

/// The value of a variable. The plan has each name once.
fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter()
        .rev()
        .find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
}

/// Finds `args[0]` as execvpe(3) would, with the container's own PATH.
fn find_program(process: &Process) -> Result<String, SetupError> {
    let name = process.args.first().map(String::as_str).unwrap_or_default();
    let action = || format!("exec: {name:?}");
    let fail = |errno: Errno| Err(errno).at(Step::Program, action).blame(Blame::Caller);
    if name.contains('/') {
        return match runnable(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(errno) => fail(errno),
        };
    }
    let path = variable(&process.env, "PATH").unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for directory in path.split(':').filter(|_| !name.is_empty()) {
        let directory = if directory.is_empty() { "." } else { directory };
        let candidate = format!("{directory}/{name}");
        match runnable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    if denied {
        return fail(Errno::EACCES);
    }
    let cause = "executable file not found in $PATH";
    Err(because(Step::Program, Blame::Caller, action(), cause))
}

fn runnable(path: &str) -> Result<(), Errno> {
    let meta = std::fs::metadata(path).map_err(|e| fd::errno(&e))?;
    if meta.is_dir() {
        return Err(Errno::EISDIR);
    }
    if !meta.is_file() {
        return Err(Errno::EACCES); // as execve(2)
    }
    fs::may_execute(path)
}

/// Opens a file of the container; a FIFO in its place does not make us wait.
fn open_file(path: &str) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
}

/// Looks at the first bytes, so that a file that the kernel will not run fails now and not at
/// start. A program that may be run but not read is left to the kernel.
fn check_program(path: &str) -> Result<(), SetupError> {
    let mut magic = [0u8; 4];
    let Ok(file) = open_file(path) else {
        return Ok(());
    };
    let mut magic_len = 0;
    let mut file = file.take(4);
    while let Ok(n @ 1..) = file.read(magic.get_mut(magic_len..).unwrap_or_default()) {
        magic_len += n;
    }
    let refuse = |blame, why| {
        Err(because(
            Step::Program,
            blame,
            format!("exec: {path:?}"),
            why,
        ))
    };
    match magic.get(..magic_len).unwrap_or_default() {
        [0x7f, b'E', b'L', b'F'] => Ok(()),
        [b'#', b'!', ..] => Ok(()),
        [0, b'a', b's', b'm'] => refuse(
            Blame::Caller,
            "it is a Wasm file, which this version cannot run yet",
        ),
        _ => refuse(
            Blame::Image,
            "exec format error: it is neither ELF, script (#!) nor Wasm",
        ),
    }
}

/// Becomes the program. Returns only if that fails.
pub(super) fn execute(sync: &Sync, process: &Process, program: &Program) -> Result<(), SetupError> {
    let step = Step::Exec;
    let action = || format!("exec {:?}", program.path);
    let c_string = |text: &str| {
        CString::new(text)
            .map_err(|_| Errno::EINVAL)
            .at(step, action)
    };
    let path = c_string(&program.path)?;
    let args = process
        .args
        .iter()
        .map(|a| c_string(a))
        .collect::<Result<Vec<_>, _>>()?;
    let home = program.home.as_ref().map(|home| format!("HOME={home}"));
    let env = process
        .env
        .iter()
        .filter(|entry| home.is_none() || !entry.starts_with("HOME="))
        .chain(&home)
        .map(|entry| c_string(entry))
        .collect::<Result<Vec<_>, _>>()?;
    signal::reset_all().at(step, action)?;
    // The socket is close-on-exec: after this, its end means that execve worked.
    sync.send(step, &FromInit::Execing)?;
    match nix::unistd::execve(&path, &args, &env) {
        Ok(never) => match never {},
        Err(errno) => Err(errno).at(step, action).blame(Blame::Image),
    }
}

/// The home directory that the image's own `/etc/passwd` gives a user, "/" if it gives none. Read by
/// ourselves: the C library would load name service modules of the image.
fn home_directory(uid: u32) -> String {
    let mut text = String::new();
    let read =
        open_file("/etc/passwd").and_then(|file| file.take(MAX_PASSWD).read_to_string(&mut text));
    if read.is_err() {
        return "/".to_owned();
    }
    let home = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let id = fields.nth(2)?;
        (id.parse() == Ok(uid)).then(|| fields.nth(2)).flatten()
    });
    home.filter(|home| home.starts_with('/'))
        .unwrap_or("/")
        .to_owned()
}
