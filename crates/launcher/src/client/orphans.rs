//! Reaping orphans: the daemon is the subreaper of everything below it, and must not take the exits
//! of processes that somebody waits for.

use super::Launcher;
use hull_sys::pidfd;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::sync::Notify;

/// While a process may exist whose pid is not known yet, nothing is reaped; tried again after this.
const LATER: Duration = Duration::from_millis(20);

/// The processes that somebody waits for by pidfd.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownPids {
    pids: Arc<Mutex<HashSet<i32>>>,
    changed: Arc<Notify>,
}

/// Keeps a pid from being reaped as an orphan.
#[derive(Debug)]
pub(super) struct Known {
    pid: i32,
    all: KnownPids,
    /// The number is no longer ours to remove: another process may have it already.
    given_up: AtomicBool,
}

impl KnownPids {
    pub(super) fn add(&self, pid: i32) -> Known {
        self.lock().insert(pid);
        Known {
            pid,
            all: self.clone(),
            given_up: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<i32>> {
        // Single inserts and removes only.
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Its owner has the exit; another process may get the number now.
    pub(super) fn reaped(&self) {
        if !self.given_up.swap(true, Ordering::Relaxed) {
            self.all.lock().remove(&self.pid);
            self.all.changed.notify_one();
        }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.reaped();
    }
}

impl Launcher {
    /// Reaps orphans for ever. `child_signals` delivers SIGCHLD.
    pub async fn reap_orphans(&self, mut child_signals: Signal) {
        loop {
            tokio::select! {
                _ = child_signals.recv() => {}
                () = self.known.changed.notified() => {}
            }
            while self.sweep() == Sweep::Postponed {
                tokio::time::sleep(LATER).await;
            }
        }
    }

    fn sweep(&self) -> Sweep {
        loop {
            let Ok(Some(ended)) = pidfd::peek_any() else {
                return Sweep::Done;
            };
            // A zombie that somebody waits for hides others; its reaping brings us here again.
            if self.known.lock().contains(&ended.pid) {
                return Sweep::Done;
            }
            if self.is_busy() {
                return Sweep::Postponed;
            }
            // It is there and nobody else's.
            pidfd::reap_pid(ended.pid).ok();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sweep {
    Done,
    Postponed,
}
