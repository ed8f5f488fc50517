//! When the daemon ends: at Shutdown, or when nobody needs it any more.
//!
//! A Shutdown that comes while there are containers is remembered, since containerd does not always
//! send another one after the last container of a pod
//! (<https://github.com/containerd/containerd/issues/12344>). But the pod may get a new container: a
//! client that connects after the last one was deleted is about to ask for that.

use crate::registry::Registry;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// From the end of the last container, or of the last connection after it, to the end of a daemon
/// that was asked to leave.
const GRACE: Duration = Duration::from_millis(500);

/// How long a daemon stays without a container and without a connection. Whoever started it connects
/// at once, and containerd keeps its connection; after a restart it comes back within seconds. So
/// this one was forgotten: its caller died between `start` and Create.
const IDLE: Duration = Duration::from_secs(120);

/// The same for a daemon that has had containers, of which none is left. If containerd ended while it
/// deleted the last one, it must not find us when it is back: it would believe in a container that is gone.
const USED_UP: Duration = Duration::from_secs(2);

/// Whether and when the daemon ends.
#[derive(Debug, Default)]
pub(crate) struct Leave {
    facts: Arc<Mutex<Facts>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Facts {
    /// Shutdown was called.
    asked: bool,
    /// It was called when there was no container.
    now: bool,
    /// Number of the next connection.
    next: u64,
    /// Numbers of the open connections.
    open: BTreeSet<u64>,
    /// The first number after the last container.
    first_since_empty: u64,
    /// There was a container.
    used: bool,
}

/// What follows from the facts when there is no container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Leave,
    LeaveAfter(Duration),
    Stay,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected {
    number: u64,
    facts: Arc<Mutex<Facts>>,
    changed: Arc<Notify>,
}

fn lock(facts: &Mutex<Facts>) -> MutexGuard<'_, Facts> {
    // Only plain assignments happen under the lock.
    facts.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Leave ===

impl Leave {
    /// Shutdown was called.
    pub(super) fn ask(&self, empty: bool) {
        let mut facts = lock(&self.facts);
        facts.asked = true;
        facts.now = empty;
        self.changed.notify_one();
    }

    /// Whether Shutdown was called at any time.
    pub(crate) fn is_asked(&self) -> bool {
        lock(&self.facts).asked
    }

    /// The last container is gone.
    pub(super) fn emptied(&self) {
        let mut facts = lock(&self.facts);
        facts.now = false;
        facts.first_since_empty = facts.next;
        facts.used = true;
        self.changed.notify_one();
    }

    /// Somebody has connected.
    pub(crate) fn connected(&self) -> Connected {
        let mut facts = lock(&self.facts);
        let number = facts.next;
        facts.next += 1;
        facts.open.insert(number);
        self.changed.notify_one();
        Connected {
            number,
            facts: Arc::clone(&self.facts),
            changed: Arc::clone(&self.changed),
        }
    }

    /// Waits until the daemon is to end; then there is no container.
    pub(super) async fn due(&self, registry: &Registry) {
        loop {
            let verdict = if registry.is_empty() {
                // How such a container ended is known nowhere else.
                let untold = registry.has_untold();
                lock(&self.facts).verdict(untold)
            } else {
                Verdict::Stay
            };
            match verdict {
                Verdict::Leave => return,
                // A container may be on its way without having changed anything here.
                Verdict::LeaveAfter(pause) => {
                    let changed = timeout(pause, self.changed.notified()).await.is_ok();
                    if !changed && registry.is_empty() {
                        return;
                    }
                }
                Verdict::Stay => self.changed.notified().await,
            }
        }
    }
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = lock(&self.facts);
        let asked = if facts.asked { "asked" } else { "not asked" };
        let open = facts.open.len();
        write!(f, "{asked} to leave, {open} connections")
    }
}

// === impl Facts ===

impl Facts {
    fn verdict(&self, untold: bool) -> Verdict {
        let newest = self.open.last();
        match newest {
            _ if self.now => Verdict::Leave,
            Some(newest) if self.asked && *newest < self.first_since_empty => {
                Verdict::LeaveAfter(GRACE)
            }
            Some(_) => Verdict::Stay,
            None if self.asked => Verdict::LeaveAfter(GRACE),
            None if self.used && !untold => Verdict::LeaveAfter(USED_UP),
            None => Verdict::LeaveAfter(IDLE),
        }
    }
}

// === impl Connected ===

impl Drop for Connected {
    fn drop(&mut self) {
        lock(&self.facts).open.remove(&self.number);
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(leave: &Leave) -> Verdict {
        lock(&leave.facts).verdict(false)
    }

    #[test]
    fn shutdown_without_containers_is_for_now() {
        let leave = Leave::default();
        let _client = leave.connected();
        assert_eq!(verdict(&leave), Verdict::Stay);
        leave.ask(true);
        assert_eq!(verdict(&leave), Verdict::Leave);
    }

    #[test]
    fn a_remembered_shutdown_waits_for_whoever_came_since() {
        let leave = Leave::default();
        let _old = leave.connected();
        leave.ask(false);
        leave.emptied();
        assert_eq!(verdict(&leave), Verdict::LeaveAfter(GRACE));
        let new = leave.connected();
        assert_eq!(verdict(&leave), Verdict::Stay);
        // It made a container, which is gone again.
        leave.emptied();
        assert_eq!(verdict(&leave), Verdict::LeaveAfter(GRACE));
        drop(new);
        assert_eq!(verdict(&leave), Verdict::LeaveAfter(GRACE));
    }

    #[test]
    fn a_forgotten_daemon_leaves() {
        let leave = Leave::default();
        assert_eq!(verdict(&leave), Verdict::LeaveAfter(IDLE));
        let client = leave.connected();
        assert_eq!(verdict(&leave), Verdict::Stay);
        drop(client);
        assert_eq!(verdict(&leave), Verdict::LeaveAfter(IDLE));
    }

    #[test]
    fn what_only_the_daemon_knows_keeps_it() {
        let leave = Leave::default();
        let client = leave.connected();
        leave.emptied();
        drop(client);
        let verdict = lock(&leave.facts).verdict(true);
        assert_eq!(verdict, Verdict::LeaveAfter(IDLE));
    }

    #[test]
    fn a_daemon_whose_containers_are_gone_leaves_sooner() {
        let leave = Leave::default();
        let client = leave.connected();
        leave.emptied();
        assert_eq!(verdict(&leave), Verdict::Stay);
        drop(client);
        assert_eq!(verdict(&leave), Verdict::LeaveAfter(USED_UP));
    }

    #[tokio::test]
    async fn a_container_on_its_way_keeps_the_daemon() {
        let (leave, registry) = (Leave::default(), Registry::default());
        let id = hull_abi::ContainerId::parse("c1").unwrap();
        leave.ask(false);
        leave.emptied();
        let reservation = registry.reserve(&id).unwrap();
        assert!(timeout(2 * GRACE, leave.due(&registry)).await.is_err());
        drop(reservation);
        leave.emptied();
        leave.due(&registry).await;
    }
}
