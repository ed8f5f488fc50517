//! From the process in between, which the launcher clones, to the one that becomes the program.

use super::orphans::KnownPids;
use super::{ChildProcess, Launched, broken};
use crate::failure::At;
use hull_abi::{FromInit, SetupError, Step};
use std::time::Duration;

/// How long the process in between of an exec may take: it joins namespaces and clones.
pub(super) const EXEC_DEADLINE: Duration = Duration::from_secs(10);

/// How long that of an init may take: it opens sources of mounts, some of them far away.
pub(super) const INIT_DEADLINE: Duration = Duration::from_secs(60);

/// How long one that failed may take to end.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// Waits until the process in between has cloned the one that goes on, and reaps it. The caller must
/// still count as busy: until the new pid is known, the sweep would take its exit for an orphan's.
pub(super) async fn follow(
    launched: Launched,
    known: &KnownPids,
    limit: Duration,
) -> Result<Launched, SetupError> {
    let Launched {
        process: between,
        sync,
    } = launched;
    let received = tokio::time::timeout(limit, sync.receive()).await;
    let cloned = match received {
        Ok(Ok((FromInit::Cloned { pid }, mut fds))) => match fds.pop() {
            Some(pidfd) => ChildProcess::new(pid, pidfd, known.add(pid))
                .at(Step::Clone, || "watch a process".to_owned()),
            None => Err(broken("the pidfd of a process was lost")),
        },
        Ok(Ok((FromInit::Failed(error), _))) => Err(error),
        Ok(Ok(_)) => Err(broken(
            "the process in between did not say which one goes on",
        )),
        Ok(Err(_)) => Err(broken("the process died on its way into the container")),
        Err(_) => Err(broken(&format!(
            "the process is not in the container after {} s",
            limit.as_secs()
        ))),
    };
    if cloned.is_err() {
        // ESRCH: it has ended by itself.
        between.signal(nix::libc::SIGKILL).ok();
        // What failed leaves nothing in the container when it is told.
        drop(tokio::time::timeout(END_DEADLINE, between.ended()).await);
    } else {
        // It ends at once, and nobody needs to wait for that.
        tokio::spawn(async move { between.ended().await });
    }
    cloned.map(|process| Launched { process, sync })
}
