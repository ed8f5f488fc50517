//! The launcher's loop: one request, one new process, one reply.

use crate::failure::because;
use crate::spawn::{Spawned, Spawner};
use hull_abi::{Blame, Reply, Request, Step};
use hull_sys::single::SingleThreaded;
use hull_sys::{Errno, fd, memory, process, socket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// After this long without a request the launcher's code is unmapped until it is needed.
const QUIET: Duration = Duration::from_secs(1);

/// Runs the launcher of which descriptor 0 is the socket to the daemon, until the daemon closes it.
///
/// # Errors
/// When the process has more than one thread, the socket is no socket, or it breaks.
pub fn serve() -> Result<(), Errno> {
    let single = SingleThreaded::check()?;
    process::set_not_dumpable()?;
    process::set_name(c"hull-launcher")?;
    memory::limit_heap();
    let channel = fd::take_stdio(0)?;
    let spawner = Spawner::new(single)?;
    loop {
        if !fd::wait_readable(&channel, QUIET)? {
            // Clones share nothing of that with us: each maps what it runs. EINVAL: it stays mapped.
            memory::unmap_code().ok();
        }
        let (bytes, fds) = match socket::receive(&channel) {
            Ok((bytes, _)) if bytes.is_empty() => return Ok(()),
            Ok(datagram) => datagram,
            // The daemon died with a reply of ours unread.
            Err(Errno::ECONNRESET) => return Ok(()),
            Err(e) => return Err(e),
        };
        reply(&channel, answer(&spawner, &bytes, fds))?;
    }
}

fn answer(
    spawner: &Spawner,
    bytes: &[u8],
    fds: Vec<OwnedFd>,
) -> Result<Spawned, hull_abi::SetupError> {
    let request: Request = hull_abi::decode(bytes).map_err(|e| {
        because(
            Step::Clone,
            Blame::Hull,
            "read a request".to_owned(),
            &e.to_string(),
        )
    })?;
    if request.fds.len() != fds.len() {
        let cause = "descriptors were lost on the way";
        return Err(because(
            Step::Clone,
            Blame::Hull,
            "read a request".to_owned(),
            cause,
        ));
    }
    spawner.spawn(request.spawn, request.fds.into_iter().zip(fds).collect())
}

fn reply(channel: &OwnedFd, result: Result<Spawned, hull_abi::SetupError>) -> Result<(), Errno> {
    let (reply, pidfd) = match result {
        Ok(spawned) => (Reply::Spawned { pid: spawned.pid }, Some(spawned.pidfd)),
        Err(error) => (Reply::Failed(error), None),
    };
    let bytes = hull_abi::encode(&reply).map_err(|_| Errno::EIO)?;
    let fds: Vec<_> = pidfd.iter().map(AsFd::as_fd).collect();
    socket::send(channel, &bytes, &fds)
}
