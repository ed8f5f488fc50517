//! Which processes there are and which have "run".

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A container's id and an exec's; that of the container's own process is empty.
pub(crate) type Key = (String, String);

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Created and not started.
    Created,
    /// Started, and thereby at its end.
    Ended,
}

/// All processes, and who waits for their ends.
#[derive(Debug, Default)]
pub(crate) struct Processes {
    stages: Mutex<BTreeMap<Key, Stage>>,
    changed: Condvar,
}

impl Processes {
    /// Adds a process, or brings one to another stage.
    pub(crate) fn set(&self, key: Key, stage: Stage) {
        self.lock().insert(key, stage);
        self.changed.notify_all();
    }

    /// Forgets a process.
    pub(crate) fn remove(&self, key: &Key) -> Option<Stage> {
        let stage = self.lock().remove(key);
        self.changed.notify_all();
        stage
    }

    /// The stage of a process.
    pub(crate) fn get(&self, key: &Key) -> Option<Stage> {
        self.lock().get(key).copied()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Returns when the process has ended or is gone.
    pub(crate) fn wait(&self, key: &Key) {
        let mut stages = self.lock();
        while stages.get(key) == Some(&Stage::Created) {
            stages = self
                .changed
                .wait(stages)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Stage>> {
        self.stages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
