//! `start`: find the daemon of a container's group or start it, then print its address.
//!
//! containerd reads standard output *and* standard error of this process to their ends, so nothing
//! but the reply is printed and the daemon inherits neither.
//!
//! What the daemon is to inherit (OOM score, cgroup, core scheduling cookie, listening socket) is
//! set up here, before it exists: it then holds for the launcher and everything else that it
//! starts, without a race.

pub(crate) mod cgroup;
pub(crate) mod socket;

use crate::args::Args;
use crate::bootstrap::{self, Request};
use crate::error::Error;
use crate::options;
use socket::Socket;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the daemon writes, alone, on its standard output when it serves. Anything else is the text
/// of its failure.
pub(crate) const READY: &[u8] = b"R";

/// Name of the file by which containerd 1.6 and 1.7 find the daemon again after their restart.
pub(crate) const ADDRESS_FILE: &str = "address";

/// How long the daemon may take until it serves.
const READY_DEADLINE: Duration = Duration::from_secs(10);

/// Longest error text that is taken from the daemon.
const MAX_TEXT: u64 = 4096;

/// The variable that tells the daemon where the other binaries are. Its own image has no path.
pub(crate) const LIBEXEC: &str = "HULL_LIBEXEC";

/// The process title of the daemon.
const ARG0: &str = "containerd-shim-hull-v1";

/// Runs the action.
///
/// # Errors
/// Whatever prevents a daemon from serving, or its address from being told.
pub(crate) fn start(args: &Args) -> Result<(), Error> {
    let input = if io::stdin().is_terminal() {
        Vec::new()
    } else {
        bootstrap::read_input(io::stdin().lock())?
    };
    let request = bootstrap::parse(&input, &args.namespace, &args.id)?;
    let bundle = std::env::current_dir().map_err(|e| Error::host("find the bundle", e))?;
    let group = bootstrap::group(&bundle, &args.id)?;
    let path = bootstrap::socket_path(&request.socket_dir, &args.address, &args.namespace, &group)?;
    let Some(text) = path.to_str() else {
        return Err(Error::Invalid(format!("socket path {path:?} is not UTF-8")));
    };
    let address = format!("unix://{text}");
    match socket::bind_or_find(&path)? {
        Socket::Served => write_address(&bundle, &address)?,
        Socket::Fresh(listener) => {
            // Written first: if this process is killed, `delete` finds the socket by it.
            let started = write_address(&bundle, &address)
                .and_then(|()| prepare(args, &request))
                .and_then(|()| launch(args, &request, &path, listener));
            if let Err(e) = started {
                // Best effort: the failure itself is what has to be told.
                let _socket = socket::remove_if_dead(&path);
                let _file = fs::remove_file(bundle.join(ADDRESS_FILE));
                return Err(e);
            }
        }
    }
    print(&bootstrap::encode_reply(request.reply, &address)?)
}

/// Sets on this process what the daemon is to inherit.
fn prepare(args: &Args, request: &Request) -> Result<(), Error> {
    let options = options::parse(request.options.as_ref())?;
    if !options.shim_cgroup.is_empty() {
        cgroup::enter(&options.shim_cgroup)?;
    }
    raise_oom_score()?;
    if args.env.sched_core {
        hull_sys::process::create_core_scheduling_cookie()
            .map_err(|e| Error::host("create a core scheduling cookie", e))?;
    }
    Ok(())
}

/// Makes the daemon, and what it starts, more likely to be killed than containerd by one point.
fn raise_oom_score() -> Result<(), Error> {
    let parent = format!("/proc/{}/oom_score_adj", nix::unistd::getppid());
    let score =
        fs::read_to_string(&parent).map_err(|e| Error::host(format!("read {parent}"), e))?;
    let score: i32 = score
        .trim()
        .parse()
        .map_err(|_| Error::host(format!("read {parent}"), io::ErrorKind::InvalidData))?;
    let score = score.saturating_add(1).min(1000);
    match fs::write("/proc/self/oom_score_adj", score.to_string()) {
        // In a user namespace the score cannot be lowered, and ours may be above containerd's.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(|e| Error::host("write /proc/self/oom_score_adj", e)),
    }
}

/// Starts the daemon and waits until it serves.
fn launch(
    args: &Args,
    request: &Request,
    path: &Path,
    listener: UnixListener,
) -> Result<(), Error> {
    let empty = empty_dir()?;
    let binary = hull_sys::seal::sealed_self(&empty)
        .map_err(|e| Error::host("make a sealed image of the shim's binary", e))?;
    let (ours, theirs) =
        UnixStream::pair().map_err(|e| Error::host("make a socket pair for the daemon", e))?;
    let mut command = Command::new(format!("/proc/self/fd/{}", binary.as_raw_fd()));
    command
        .arg0(ARG0)
        .args(daemon_args(args, request, path))
        // The daemon's standard input is its listening socket.
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::from(OwnedFd::from(theirs)))
        .stderr(Stdio::null())
        .process_group(0);
    if let Some(address) = &request.ttrpc_address {
        command.env("TTRPC_ADDRESS", address);
    }
    if std::env::var_os(LIBEXEC).is_none()
        && let Ok(exe) = std::env::current_exe()
        && let Some(directory) = exe.parent()
    {
        command.env(LIBEXEC, directory);
    }
    let mut child = command
        .spawn()
        .map_err(|e| Error::host("start the daemon", e))?;
    // It holds our copies of the daemon's ends; the end of file below needs them closed.
    drop(command);
    let ready = wait_ready(ours, &mut child);
    if ready.is_err() {
        // Already dead unless it ran out of time; either way it must not stay.
        let _gone = child.kill();
        let _reaped = child.wait();
    }
    ready
}

fn daemon_args(args: &Args, request: &Request, path: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
        "-namespace".into(),
        args.namespace.clone().into(),
        "-id".into(),
        args.id.as_str().into(),
        "-address".into(),
        args.address.clone().into(),
        "-publish-binary".into(),
        args.publish_binary.clone().into(),
        "-socket".into(),
        path.into(),
    ];
    if args.debug || request.debug {
        words.push("-debug".into());
    }
    words.push("daemon".into());
    words
}

/// A directory for [`hull_sys::seal::sealed_self`] that stays empty.
pub(crate) fn empty_dir() -> Result<PathBuf, Error> {
    let path = crate::state_file::state_dir().join("empty");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path)
        .map_err(|e| Error::host(format!("make directory {path:?}"), e))?;
    Ok(path)
}

/// Waits for [`READY`]; anything else, the end included, is a failure.
fn wait_ready(mut socket: UnixStream, child: &mut Child) -> Result<(), Error> {
    let deadline = Instant::now() + READY_DEADLINE;
    let failed = |e| Error::host("hear from the daemon", e);
    let mut text = Vec::new();
    let mut chunk = [0; 512];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A time-out of zero would mean none.
        socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .map_err(failed)?;
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(len) => text.extend(chunk.iter().take(len)),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Deadline(format!(
                    "the daemon does not serve after {} s",
                    READY_DEADLINE.as_secs()
                )));
            }
            Err(e) => return Err(failed(e)),
        }
        // An error text comes in one write, so it never looks like the one byte.
        if text == READY {
            return Ok(());
        }
        if u64::try_from(text.len()).unwrap_or(u64::MAX) >= MAX_TEXT {
            break;
        }
    }
    Err(Error::Unavailable(death(&text, child)))
}

/// Why the daemon does not serve: its own words, or how it died.
fn death(text: &[u8], child: &mut Child) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim();
    if !text.is_empty() {
        return text.to_owned();
    }
    // It closed its standard output, which it keeps until it serves: it is ending.
    let _gone = child.kill();
    match child.wait() {
        Ok(status) => match status.signal() {
            Some(signal) => format!("the daemon was killed by signal {signal} before it served"),
            None => format!("the daemon ended before it served: {status}"),
        },
        Err(e) => format!("the daemon ended before it served: {e}"),
    }
}

/// Writes the address into the bundle; whoever reads it sees all of it or nothing.
fn write_address(bundle: &Path, address: &str) -> Result<(), Error> {
    let path = bundle.join(ADDRESS_FILE);
    let temporary = bundle.join(".address");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(address.as_bytes()))
        .and_then(|()| fs::set_permissions(&temporary, Permissions::from_mode(0o600)))
        .and_then(|()| fs::rename(&temporary, &path));
    written.map_err(|e| Error::host(format!("write {path:?}"), e))
}

/// Writes the reply and nothing else.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|e| Error::host("write standard output", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `start` makes of a daemon that runs this shell script.
    fn outcome(script: &str) -> Result<(), Error> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .stdout(Stdio::from(OwnedFd::from(theirs)));
        let mut child = command.spawn().unwrap();
        drop(command);
        let ready = wait_ready(ours, &mut child);
        let _gone = child.kill();
        child.wait().unwrap();
        ready
    }

    #[test]
    fn a_daemon_that_serves_may_keep_its_output_open() {
        outcome("printf R; exec sleep 1000").unwrap();
    }

    #[test]
    fn a_daemon_that_fails_is_quoted() {
        for (script, text) in [
            (
                "echo 'Registering failed: no'; exit 1",
                "Registering failed: no",
            ),
            (
                "exit 3",
                "the daemon ended before it served: exit status: 3",
            ),
            (
                "kill -9 $$",
                "the daemon was killed by signal 9 before it served",
            ),
        ] {
            let error = outcome(script).unwrap_err();
            assert!(matches!(error, Error::Unavailable(_)));
            assert_eq!(error.line(), text, "{script}");
        }
    }

    #[test]
    fn the_daemon_gets_the_flags_of_start() {
        let words = [
            "-namespace=n",
            "-id=i",
            "-address=/a",
            "-publish-binary=/p",
            "start",
        ];
        let command = crate::args::parse(words.iter().map(OsString::from), |_| None).unwrap();
        let crate::args::Command::Start(args) = command else {
            panic!()
        };
        let request = bootstrap::parse(b"", "n", &args.id).unwrap();
        let words = daemon_args(&args, &request, Path::new("/s/hash"));
        let command = crate::args::parse(words.into_iter(), |_| None).unwrap();
        let socket = Some(PathBuf::from("/s/hash"));
        assert_eq!(
            command,
            crate::args::Command::Daemon(Args { socket, ..args })
        );
    }

    #[test]
    fn the_address_is_written_whole_and_private() {
        use std::os::unix::fs::MetadataExt;
        let bundle = tempfile::tempdir().unwrap();
        for address in ["unix:///a/long/one", "unix:///b"] {
            write_address(bundle.path(), address).unwrap();
            let path = bundle.path().join(ADDRESS_FILE);
            assert_eq!(fs::read_to_string(&path).unwrap(), address);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(bundle.path()).unwrap().count(), 1);
    }
}
