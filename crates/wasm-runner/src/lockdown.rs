//! What the runner gives up, for good. The init process has given up most of it already; this is
//! the second wall.

use crate::failure::Failure;
use crate::filter::{self, Calls, Sockets};
use hull_sys::cred::{self, ThreadCapabilities};
use hull_sys::{Errno, opens, process, seccomp};

/// Gives up every privilege and hides from ptrace: other processes of the container have our user.
/// In the moments between execve and this one of them can look into us; it finds nothing that it may
/// not have (its own container's config, an artifact on a read-only mount) and no right that it lacks.
///
/// A process that is not dumpable has its files in /proc owned by root. All that we look up there are our own
/// descriptors, which the kernel grants a process whoever owns the files.
pub(crate) fn privileges() -> Result<(), Failure> {
    process::set_not_dumpable().map_err(failed("hide from ptrace"))?;
    match cred::limit_bounding_set(0) {
        // Without CAP_SETPCAP it stays as it is; nothing can be gained from it any more.
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(failed("empty the bounding set")(errno)),
    }
    cred::set_ambient(0).map_err(failed("clear the ambient capabilities"))?;
    cred::set_capabilities(ThreadCapabilities::default()).map_err(failed("drop capabilities"))?;
    cred::no_new_privileges().map_err(failed("set no_new_privs"))
}

/// Leaves only the system calls that a running guest needs, and keeps it from reaching this process
/// by the paths in /proc that its root may offer. A server has its threads and its listening sockets already.
pub(crate) fn system_calls(calls: Calls, sockets: Sockets) -> Result<(), Failure> {
    let mark = opens::guard().map_err(failed("watch what is opened"))?;
    let flags = match calls {
        Calls::Command => 0,
        Calls::Server => seccomp::EVERY_THREAD,
    };
    let program = filter::program(mark, calls, sockets);
    seccomp::load(&program, flags).map_err(failed("load the seccomp filter"))
}

fn failed(what: &'static str) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::internal(&format!("cannot {what}"), errno)
}
