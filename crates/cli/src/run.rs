//! `hull run`: one container in the foreground, from its first step to nothing left.

pub(crate) mod args;
mod capabilities;
mod rootfs;
mod seccomp;
mod spec;
mod values;
mod wanted;

pub(crate) use args::{ContainerArgs, RunArgs};
pub(crate) use rootfs::RootFs;
pub(crate) use wanted::{To, Wanted};

use std::process::ExitCode;

use crate::error::Error;
use crate::{host, session, trace};

/// Runs a container; gives its exit code.
///
/// # Errors
/// What is wrong with the arguments, the files or the host, or why the shim could not run it.
pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Error> {
    let wanted = Wanted::new("run", &args.container)?;
    let wanted = if args.trace { wanted.traced() } else { wanted };
    host::require_root("run")?;
    host::enter_private_mounts()?;
    let ended = session::run(&wanted)?;
    if args.trace {
        trace::tell(&ended);
    }
    Ok(ExitCode::from(ended.code))
}
