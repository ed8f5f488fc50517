//! Running OCI hooks
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks>).

use crate::failure::{At, because};
use crate::fault;
use crate::sync::Sync;
use hull_abi::{Blame, Hook, SetupError, Step};
use hull_sys::fd::{self, Waited};
use hull_sys::pidfd;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How much of a failing hook's error output is repeated in the error.
const MAX_MESSAGE: u64 = 1024;
/// A hook without a timeout of its own may run this long: every wait has an end.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Hooks of one kind and what they are given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) step: Step,
    pub(crate) kind: &'a str,
    pub(crate) hooks: &'a [Hook],
    /// The container's state as JSON, on standard input.
    pub(crate) state: &'a str,
    /// Working directory.
    pub(crate) cwd: &'a str,
    /// Environment of hooks that bring none.
    pub(crate) default_env: &'a [String],
    /// Whose death ends the hooks: of a job, which takes its own process group with it. Those that run in a
    /// container end with that.
    pub(crate) daemon: Option<&'a Sync>,
}

impl Batch<'_> {
    /// Whether each hook leads a process group, so that what it has started dies with it when its time
    /// is over. Inside a container that is the end of everything anyway, and the container's filter
    /// need not allow setpgid(2).
    fn has_groups(&self) -> bool {
        self.step == Step::HostHooks
    }
}

/// Runs hooks in order and stops at the first failure.
pub(crate) fn run_all(batch: Batch<'_>) -> Result<(), SetupError> {
    if fault::leaves_out(&format!("{} hooks", batch.kind)) {
        return Ok(());
    }
    batch
        .hooks
        .iter()
        .enumerate()
        .try_for_each(|(number, hook)| run(batch, number, hook))
}

/// Runs all hooks whatever happens and reports the first failure.
pub(crate) fn run_each(batch: Batch<'_>) -> Result<(), SetupError> {
    let results: Vec<_> = batch
        .hooks
        .iter()
        .enumerate()
        .map(|(number, hook)| run(batch, number, hook))
        .collect();
    results.into_iter().collect()
}

fn run(batch: Batch<'_>, number: usize, hook: &Hook) -> Result<(), SetupError> {
    let action = || {
        format!(
            "error running {} hook #{number} {:?}",
            batch.kind, hook.path
        )
    };
    let failed = |cause: &str| because(batch.step, Blame::Caller, action(), cause);
    // Files, not pipes: neither a hook that reads nothing nor one that talks a lot can block us.
    let input = fd::sealed_memory(c"state", batch.state.as_bytes()).at(batch.step, action)?;
    let mut errors = std::fs::File::from(memory_file().at(batch.step, action)?);
    let error_output = errors
        .try_clone()
        .map_err(|e| fd::errno(&e))
        .at(batch.step, action)?;
    let env = if hook.env.is_empty() {
        batch.default_env
    } else {
        &hook.env
    };
    let mut command = Command::new(&hook.path);
    command
        .args(hook.args.iter().skip(1))
        .arg0(hook.args.first().unwrap_or(&hook.path))
        .env_clear()
        .envs(env.iter().filter_map(|entry| entry.split_once('=')))
        .current_dir(batch.cwd)
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(error_output);
    if batch.has_groups() {
        command.process_group(0);
    }
    let child = command
        .spawn()
        .map_err(|e| fd::errno(&e))
        .at(batch.step, action)?;
    let timeout = hook
        .timeout_seconds
        .map_or(LONGEST, |s| Duration::from_secs(u64::from(s)));
    match wait(child, timeout, batch).at(batch.step, action)? {
        None => Err(failed(&format!(
            "killed after its timeout of {} s",
            timeout.as_secs()
        ))),
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            let mut bytes = Vec::new();
            // Whatever can be read of it is good enough for a message.
            drop(errors.rewind());
            drop(errors.take(MAX_MESSAGE).read_to_end(&mut bytes));
            let text = String::from_utf8_lossy(&bytes);
            let code = match (status.code(), status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            };
            let text = text.trim();
            Err(failed(&if text.is_empty() {
                code
            } else {
                format!("{code}: {text}")
            }))
        }
    }
}

fn memory_file() -> Result<std::os::fd::OwnedFd, hull_sys::Errno> {
    nix::sys::memfd::memfd_create(c"errors", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)
}

/// Waits for the child, kills it (and the group that it leads) when the time is over (`None` then), reaps
/// it in any case. When the daemon is gone this process ends after that: nobody is left to tell.
fn wait(
    mut child: Child,
    timeout: Duration,
    batch: Batch<'_>,
) -> Result<Option<ExitStatus>, hull_sys::Errno> {
    let pid = i32::try_from(child.id()).map_err(|_| hull_sys::Errno::ESRCH)?;
    let waited = pidfd::open(pid).and_then(|pidfd| match batch.daemon {
        Some(daemon) => fd::wait_while_connected(pidfd, daemon.as_fd(), timeout),
        None => Ok(match pidfd::wait_ended(pidfd, timeout)? {
            true => Waited::Readable,
            false => Waited::Elapsed,
        }),
    });
    let in_time = waited == Ok(Waited::Readable);
    if !in_time {
        // It may have ended in between, which is as good; it is not reaped, so the numbers are its own.
        if batch.has_groups() {
            killpg(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        drop(child.kill());
    }
    let status = child.wait().map_err(|e| fd::errno(&e))?;
    if waited == Ok(Waited::HungUp) {
        hull_sys::process::exit_now(1);
    }
    waited.map(|_| in_time.then_some(status))
}
