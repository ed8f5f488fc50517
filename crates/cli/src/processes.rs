//! Finding and killing the daemon of a container whose `hull` is dead.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use hull_sys::{Errno, pidfd};
use nix::sys::signal::Signal;

use crate::error::Error;

/// Longest wait for a killed daemon to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Kills the daemon that the shim's `start` made for this bundle, if it lives.
///
/// # Errors
/// When it cannot be killed, or is not gone in time.
pub(crate) fn kill_daemon(bundle: &Path) -> Result<(), Error> {
    // The shim writes its address there before it makes the daemon.
    let address = match fs::read_to_string(bundle.join("address")) {
        Ok(address) => address,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Error::new(
                format!("read the address of {}", bundle.display()),
                error,
            ));
        }
    };
    let socket = address.trim().trim_start_matches("unix://");
    serving(socket).try_for_each(|pid| kill(pid, socket))
}

fn kill(pid: i32, socket: &str) -> Result<(), Error> {
    let failed = |errno: Errno| Error::new(format!("kill process {pid}"), errno.desc());
    let process = match pidfd::open(pid) {
        Err(Errno::ESRCH) => return Ok(()),
        other => other.map_err(failed)?,
    };
    // Compared after opening: from here on the descriptor stays with the process, whoever gets its
    // number.
    if !serves(pid, socket) {
        return Ok(());
    }
    match pidfd::send_signal(&process, Signal::SIGKILL as i32) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(failed(errno)),
    }
    // Its socket is closed after its memory is gone, and must be before we look whether it answers.
    if pidfd::wait_ended(&process, GONE).map_err(failed)? {
        return Ok(());
    }
    let seconds = GONE.as_secs();
    let why = format!("it is not gone {seconds} s after SIGKILL");
    Err(Error::new(format!("kill process {pid}"), why))
}

/// The processes that were told to serve at this socket: the daemon, if it lives.
fn serving(socket: &str) -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(move |pid| serves(*pid, socket))
}

/// Whether a process of root's has the socket as an argument. Anybody else could write what they want
/// into theirs. A zombie has none.
fn serves(pid: i32, socket: &str) -> bool {
    let process = format!("/proc/{pid}");
    let is_roots = fs::metadata(&process).is_ok_and(|meta| meta.uid() == 0);
    is_roots
        && !socket.is_empty()
        && fs::read(format!("{process}/cmdline")).is_ok_and(|line| {
            let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            arguments
                .windows(2)
                .any(|pair| pair == [b"-socket", socket.as_bytes()])
        })
}
