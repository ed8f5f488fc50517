//! From the process that the launcher clones for an exec to the one that becomes its program.

use super::orphans::KnownPids;
use super::{ChildProcess, Launched, broken};
use crate::failure::At;
use hull_abi::{FromInit, SetupError, Step};
use std::time::Duration;

/// How long the process in between may take: it joins namespaces and clones.
const CLONE_DEADLINE: Duration = Duration::from_secs(10);

/// How long one that failed may take to end.
const END_DEADLINE: Duration = Duration::from_secs(1);

/// Waits until the process in between has cloned the one that goes on, and reaps it. The caller must
/// still count as busy: until the new pid is known, the sweep would take its exit for an orphan's.
pub(super) async fn follow(launched: Launched, known: &KnownPids) -> Result<Launched, SetupError> {
    let Launched {
        process: between,
        sync,
    } = launched;
    let received = tokio::time::timeout(CLONE_DEADLINE, sync.receive()).await;
    let cloned = match received {
        Ok(Ok((FromInit::Cloned { pid }, mut fds))) => match fds.pop() {
            Some(pidfd) => ChildProcess::new(pid, pidfd, known.add(pid))
                .at(Step::Clone, || "watch an exec process".to_owned()),
            None => Err(broken("the pidfd of an exec was lost")),
        },
        Ok(Ok((FromInit::Failed(error), _))) => Err(error),
        Ok(Ok(_)) => Err(broken("the exec did not say which process goes on")),
        Ok(Err(_)) => Err(broken("the exec died on its way into the container")),
        Err(_) => Err(broken("the exec is not in the container after 10 s")),
    };
    if cloned.is_err() {
        // ESRCH: it has ended by itself.
        between.signal(nix::libc::SIGKILL).ok();
        // A failed exec leaves nothing in the container when it is told.
        drop(tokio::time::timeout(END_DEADLINE, between.ended()).await);
    } else {
        // It ends at once, and nobody needs to wait for that.
        tokio::spawn(async move { between.ended().await });
    }
    cloned.map(|process| Launched { process, sync })
}
