//! How far the copying of an output stream is: what those look at who wait for its end.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Shared between the copy and those who wait for it.
#[derive(Debug)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Bytes that have arrived in the sink.
    passed_on: u64,
    /// Bytes that were read and have not.
    held: u64,
    last_move: Instant,
    /// The client has taken what it got, or had the time to.
    met: bool,
    /// There is somebody who takes what is passed on, or may come.
    expected: bool,
    /// Set at the end of the process: at how many bytes passed on all of its own are among them.
    goal: Option<u64>,
}

// === impl Progress ===

impl Progress {
    /// Nothing has moved yet.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                passed_on: 0,
                held: 0,
                last_move: Instant::now(),
                met: false,
                expected: true,
                goal: None,
            }),
            changed: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only plain assignments happen under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is nothing any more that a client could miss by learning of the end now.
    pub(super) fn met(&self) {
        self.lock().met = true;
        self.changed.notify_waiters();
    }

    /// Whether it makes sense to wait until something is passed on. Where it does not, nobody does.
    pub(super) fn expect(&self, expected: bool) {
        let mut state = self.lock();
        state.expected = expected;
        state.met |= !expected;
        drop(state);
        self.changed.notify_waiters();
    }

    /// See [`Progress::met`].
    pub(super) fn is_met(&self) -> bool {
        self.lock().met
    }

    /// How much the client has taken out of a sink in which `left` bytes are.
    pub(super) fn taken(&self, left: usize) -> u64 {
        self.lock().passed_on.saturating_sub(left as u64)
    }

    /// Whether the process has ended and all of its own is among so many bytes.
    pub(super) fn is_enough(&self, bytes: u64) -> bool {
        self.lock().goal.is_some_and(|goal| bytes >= goal)
    }

    /// Whether nothing has arrived in the sink so far.
    pub(super) fn is_silent(&self) -> bool {
        self.lock().passed_on == 0
    }

    /// `bytes` were read and are on their way.
    pub(super) fn took(&self, bytes: usize) {
        self.lock().held += bytes as u64;
    }

    /// `bytes` have arrived.
    pub(super) fn passed_on(&self, bytes: usize) {
        let mut state = self.lock();
        state.passed_on += bytes as u64;
        state.held = state.held.saturating_sub(bytes as u64);
        state.last_move = Instant::now();
        drop(state);
        self.changed.notify_waiters();
    }

    /// The process has ended; at most `unread` bytes that it wrote are still to be read. Only the
    /// first call counts.
    pub(super) fn end(&self, unread: u64) {
        let mut state = self.lock();
        let goal = state.passed_on + state.held + unread;
        state.goal.get_or_insert(goal);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.lock().goal.is_some()
    }

    /// Returns once the process has ended.
    pub(super) async fn ended(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_ended() {
                return;
            }
            changed.await;
        }
    }

    /// The copy is over.
    pub(super) fn over(&self) {
        let mut state = self.lock();
        state.held = 0;
        state.met = true;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Whether bytes of the process may be missing in the sink, when its end of the stream has
    /// something to read or not.
    pub(super) fn owes(&self, readable: bool) -> bool {
        let state = self.lock();
        let reached = state.goal.is_some_and(|goal| state.passed_on >= goal);
        !reached && state.expected && (state.held > 0 || readable)
    }

    /// When bytes last arrived.
    pub(super) fn last_move(&self) -> Instant {
        self.lock().last_move
    }

    /// Returns at the next change after this call (not: after the first poll).
    pub(super) fn changed(&self) -> impl Future<Output = ()> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owed_is_what_was_written_before_the_end() {
        let progress = Progress::new();
        assert!(progress.owes(true));
        assert!(!progress.owes(false));
        progress.took(10);
        progress.passed_on(4);
        assert!(progress.owes(false), "6 bytes are held");
        progress.end(100);
        progress.end(1_000_000);
        progress.passed_on(6);
        assert!(!progress.owes(false));
        assert!(progress.owes(true), "up to 100 bytes may be in the pipe");
        progress.passed_on(100);
        assert!(!progress.owes(true), "the rest is somebody else's");
    }

    #[test]
    fn a_copy_that_is_over_owes_nothing() {
        let progress = Progress::new();
        progress.took(10);
        progress.over();
        assert!(!progress.owes(false));
    }
}
