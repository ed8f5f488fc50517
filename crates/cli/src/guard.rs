//! The guard of a `hull run`: a process that outlives it and removes the container if it was killed.
//!
//! Nothing but the end of their connection tells the guard of the end of `hull`. A `hull` that ends
//! as it should says so first.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};

use clap::Args;
use nix::sys::signal::SigSet;
use nix::sys::termios::{SetArg, tcgetattr, tcsetattr};

use crate::error::Error;
use crate::state;

/// What the guard says when it has seen the terminal as it was.
const READY: u8 = b'r';
/// What `hull` says at its proper end.
const DONE: u8 = b'd';

/// Removes a container when its hull is killed; started by hull run.
#[derive(Debug, Args)]
pub(crate) struct GuardArgs {
    /// Name of the container.
    name: String,
}

/// The guard, as `hull run` has it.
#[derive(Debug)]
pub(crate) struct Guard {
    connection: UnixStream,
    child: Child,
}

impl Guard {
    /// Starts a guard for a container. `terminal` is what it sets back as it is now.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(name: &str, terminal: Option<OwnedFd>) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::new("start the guard of the container", error);
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let child = Command::new("/proc/self/exe")
            .arg0("hull")
            .args(["guard", "--", name])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(terminal.map_or_else(Stdio::null, Stdio::from))
            .stderr(Stdio::null())
            // What the keyboard sends is for hull alone.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            connection: ours,
            child,
        })
    }

    /// Waits until the guard knows the terminal.
    ///
    /// # Errors
    /// When it died before.
    pub(crate) fn wait_ready(&mut self) -> Result<(), Error> {
        let mut byte = [0];
        self.connection
            .read_exact(&mut byte)
            .map_err(|error| Error::new("hear from the guard of the container", error))
    }

    /// Ends it: nothing is left to be guarded.
    pub(crate) fn dismiss(mut self) {
        // One that was killed is dismissed as well.
        drop(self.connection.write_all(&[DONE]));
        drop(self.connection);
        drop(self.child.wait());
    }
}

/// Waits for the end of `hull`; removes what it left.
///
/// # Errors
/// What could not be removed; nobody hears it.
pub(crate) fn run(args: &GuardArgs) -> Result<ExitCode, Error> {
    // Nothing that ends hull may end us, nor may we be stopped for touching the terminal.
    let failed = |errno: nix::Error| Error::new("block signals", errno.desc());
    SigSet::all().thread_block().map_err(failed)?;
    // Whoever removes this directory must not find us in it.
    drop(env::set_current_dir("/"));
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let terminal = tcgetattr(&stdout).ok();
    let connection = stdin.as_fd().try_clone_to_owned();
    let mut connection = UnixStream::from(connection.map_err(|e| Error::new("guard", e))?);
    let told = connection.write_all(&[READY]).and_then(|()| {
        let mut byte = [0];
        Ok(connection.read(&mut byte)? == 1 && byte == [DONE])
    });
    if told.unwrap_or(false) {
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(before) = terminal {
        let _gone = tcsetattr(&stdout, SetArg::TCSANOW, &before);
    }
    state::remove_abandoned(&args.name)?;
    Ok(ExitCode::SUCCESS)
}
