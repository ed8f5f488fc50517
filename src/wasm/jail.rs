//! The container in which modules are compiled: an ordinary plan, run by the launcher.
//!
//! Cranelift reads what an image brings. Whatever a module makes of it has no file system, no network,
//! no capabilities, two memory files and a cgroup of its own, for a limited time. What it can do at
//! worst is to compile that one module wrongly.

use super::Client;
use crate::daemon::Shared;
use crate::error::Error;
use crate::launch::{self, Ended, Inner, Place};
use hull_abi::{ContainerId, FdRole};
use hull_plan::{CompileInputs, CompilerTask};
use hull_sys::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Longest text that is taken from the compiler.
const MAX_LINE: u64 = 4096;

/// Memory of one compilation, in bytes. Whole language runtimes (50 MB of Wasm) stay below it.
const MEMORY: u64 = 2 << 30;
/// How long one compilation may take.
const SECONDS: u64 = 60;
/// More processors than this make little difference.
const MAX_CPUS: usize = 4;

/// Exit statuses of signals.
const SIGABRT: u32 = 134;
const SIGKILL: u32 = 137;
const SIGXCPU: u32 = 152;

/// What one compilation may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// In bytes.
    pub(super) memory: u64,
    pub(super) time: Duration,
    pub(super) cpus: u32,
}

/// One run of the compiler.
pub(super) struct Jail<'a> {
    /// On whose behalf it runs.
    pub(super) client: Client<'a>,
    pub(super) task: CompilerTask<'a>,
    pub(super) compiler: OwnedFd,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: OwnedFd,
    pub(super) limits: Limits,
}

/// How it ended.
pub(super) enum Verdict {
    /// What was asked for is in standard output.
    Ok,
    /// The module cannot be compiled; the compiler's line says why.
    Refused(String),
    /// It could not be tried, or not to its end.
    Broken(String),
    /// Whoever wanted the result is dead.
    Unwanted,
}

/// The cgroup in which modules of a container are compiled. No container can have this path, since
/// "@" is in no id, nor in a namespace of containerd; `delete` knows it without being told. It has no parent
/// that would stay.
pub(crate) fn cgroups_path(namespace: &str, id: &ContainerId) -> String {
    format!("/{namespace}@{}@wasm", id.as_str())
}

/// Runs the compiler and waits for its end. Nothing is left of it afterwards.
///
/// # Errors
/// When it could not be started or not be cleaned up.
pub(super) async fn run(shared: &Shared, jail: Jail<'_>) -> Result<Verdict, Error> {
    let (id, limits) = (&jail.client.place.id, jail.limits);
    let cgroups_path = cgroups_path(&shared.namespace, id);
    let root = crate::start::empty_dir()?;
    let plan = hull_plan::compile_plan(&CompileInputs {
        cgroups_path: &cgroups_path,
        root: &root.to_string_lossy(),
        task: jail.task,
        cpus: limits.cpus,
        memory_bytes: limits.memory,
        seconds: limits.time.as_secs(),
    });
    let place = Place {
        id: id.clone(),
        bundle: PathBuf::new(),
        rootfs: root,
        rootfs_mounted: false,
        cgroup: shared.layout.resolve(&cgroups_path)?,
        keyring: None,
        io_owner: (0, 0),
        state_copy: None,
        pod_files: None,
        observed: None,
        compiling: Arc::default(),
        layers: None,
        image_module: Arc::default(),
    };
    let (stderr, theirs) = pipe().map_err(|e| Error::host("make a pipe", e))?;
    let mut fds = vec![
        (FdRole::File, jail.compiler),
        (FdRole::Stdio(1), jail.stdout),
        (FdRole::Stdio(2), theirs),
    ];
    fds.extend(jail.stdin.map(|stdin| (FdRole::Stdio(0), stdin)));
    let inner = Inner {
        plan: &plan,
        place: &place,
        fds,
        limit: limits.time,
        client: jail.client.child,
    };
    let status = match launch::run_to_end(shared, inner).await? {
        Ended::Status(status) => status,
        Ended::TimedOut => return Ok(Verdict::Broken(too_long(limits))),
        Ended::Unwanted => return Ok(Verdict::Unwanted),
    };
    let line = read_line(stderr);
    Ok(match status {
        0 => Verdict::Ok,
        1 if !line.is_empty() => Verdict::Refused(line),
        2 if !line.is_empty() => Verdict::Broken(line),
        SIGXCPU => Verdict::Broken(too_long(limits)),
        SIGKILL | SIGABRT => Verdict::Broken(format!(
            "the compiler was killed, most likely for using more memory than {} MiB \
             (HULL_COMPILE_MEMORY)",
            limits.memory >> 20
        )),
        status => Verdict::Broken(format!("the compiler ended with status {status}")),
    })
}

fn too_long(limits: Limits) -> String {
    let seconds = limits.time.as_secs();
    format!("it took longer than {seconds} s (HULL_COMPILE_SECONDS)")
}

/// Both ends are close-on-exec; the read end never waits.
fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    fcntl(&ours, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((ours, theirs))
}

/// What the compiler said, as one line of plain text, whatever the module has made of it.
fn read_line(stderr: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // An error means that nothing more is there now.
    File::from(stderr)
        .take(MAX_LINE)
        .read_to_end(&mut bytes)
        .ok();
    let text = String::from_utf8_lossy(&bytes);
    let plain = text.trim().chars();
    plain
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

// === impl Limits ===

impl Limits {
    /// The defaults, or what `HULL_COMPILE_MEMORY` (bytes) and `HULL_COMPILE_SECONDS` say.
    ///
    /// # Errors
    /// [`Error::Wasm`] for a value that is no positive number.
    pub(super) fn from_env() -> Result<Self, Error> {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get().min(MAX_CPUS));
        Ok(Self {
            memory: number("HULL_COMPILE_MEMORY", MEMORY)?,
            time: Duration::from_secs(number("HULL_COMPILE_SECONDS", SECONDS)?),
            cpus: u32::try_from(cpus).unwrap_or(1),
        })
    }
}

fn number(name: &str, default: u64) -> Result<u64, Error> {
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else {
        return Ok(default);
    };
    match value.to_str().and_then(|text| text.parse().ok()) {
        Some(number @ 1..) => Ok(number),
        _ => Err(Error::Wasm(format!(
            "{name} is {value:?} and not a positive number"
        ))),
    }
}
