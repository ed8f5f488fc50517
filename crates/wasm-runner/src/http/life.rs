//! What an instance still has to do for its requests: what decides how long it may go on.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Instant;

/// The requests of one instance.
#[derive(Debug)]
pub(crate) struct Life(Mutex<Duties>);

#[derive(Debug)]
struct Duties {
    /// Requests without an answer.
    waiting: u32,
    /// When the last of them came.
    last_came: Instant,
    /// Answers whose body is not over.
    bodies: u32,
    /// When the last body was over.
    last_over: Instant,
    /// The time for an answer has run out: nothing more is expected of the instance.
    is_late: bool,
    /// It has trapped, or was given up.
    has_failed: bool,
    /// Who wants to know when there is none left.
    waker: Option<Waker>,
}

/// The most pressing duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    /// To answer. The last request came then.
    Answer(Instant),
    /// To go on with a body that somebody reads.
    Body,
    /// None since then.
    Nothing(Instant),
    /// None, and it has failed in one.
    Failed,
}

impl Life {
    pub(crate) fn new() -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self(Mutex::new(Duties {
            waiting: 0,
            last_came: now,
            bodies: 0,
            last_over: now,
            is_late: false,
            has_failed: false,
            waker: None,
        })))
    }

    /// The most pressing duty; `waker` is told when there is none left.
    pub(crate) fn duty(&self, waker: &Waker) -> Duty {
        let mut duties = self.lock();
        match &mut duties.waker {
            Some(known) => known.clone_from(waker),
            unknown @ None => *unknown = Some(waker.clone()),
        }
        if duties.waiting > 0 {
            Duty::Answer(duties.last_came)
        } else if duties.bodies > 0 {
            Duty::Body
        } else if duties.is_late {
            Duty::Failed
        } else {
            Duty::Nothing(duties.last_over)
        }
    }

    /// It works on nothing, and nobody wants to know of changes.
    pub(crate) fn is_idle(&self) {
        self.lock().waker = None;
    }

    /// The instance has failed. To be said before it is dropped: then bodies end that are not complete.
    pub(crate) fn failed(&self) {
        self.lock().has_failed = true;
    }

    fn change(&self, change: impl FnOnce(&mut Duties)) {
        let mut duties = self.lock();
        change(&mut duties);
        // Whoever has a duty left has no less time for it than before, and is not disturbed.
        let is_over = duties.waiting == 0 && duties.bodies == 0;
        let waker = duties.waker.take_if(|_| is_over);
        drop(duties);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Duties> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who still has to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The instance works on an answer, and the client waits for it.
    #[default]
    Waiting,
    /// The instance is done with it; whether there is an answer, its connection will see.
    Done,
    /// There is an answer, whose body is on its way.
    Answered,
    /// The client is gone, and the instance works on.
    Alone,
    /// Nobody.
    Over,
}

/// One request, from both sides: the connection that it came by and the instance that works on it.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    phase: Mutex<Phase>,
    life: OnceLock<Arc<Life>>,
}

impl Exchange {
    /// An instance takes it on.
    pub(crate) fn taken_on(&self, life: Arc<Life>) {
        // Nobody needs to be woken: this comes from the instance's own task.
        let mut duties = life.lock();
        duties.waiting += 1;
        duties.last_came = Instant::now();
        drop(duties);
        // Only one instance ever takes it on.
        _ = self.life.set(life);
    }

    /// Whether the client waits for the beginning of an answer.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(*self.phase(), Phase::Waiting | Phase::Alone)
    }

    /// The time for an answer has run out.
    pub(crate) fn is_late(&self) {
        if let Some(life) = self.life.get() {
            life.lock().is_late = true;
        }
    }

    /// Whether the instance that took it on has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.life.get().is_some_and(|life| life.lock().has_failed)
    }

    /// The instance is done with it.
    pub(crate) fn done(&self) {
        self.go_on(|phase| match phase {
            Phase::Waiting => Phase::Done,
            Phase::Alone => Phase::Over,
            Phase::Done | Phase::Answered | Phase::Over => phase,
        });
    }

    fn answered(&self) {
        self.go_on(|phase| match phase {
            Phase::Waiting | Phase::Done => Phase::Answered,
            Phase::Answered | Phase::Alone | Phase::Over => phase,
        });
    }

    fn left_by_client(&self) {
        self.go_on(|phase| match phase {
            Phase::Waiting => Phase::Alone,
            Phase::Done | Phase::Answered => Phase::Over,
            Phase::Alone | Phase::Over => phase,
        });
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self, next: impl FnOnce(Phase) -> Phase) {
        let mut phase = self.phase();
        let before = std::mem::replace(&mut *phase, Phase::Over);
        *phase = next(before);
        let after = *phase;
        drop(phase);
        let Some(life) = self.life.get() else {
            return;
        };
        let (waited, waits) = (before.is_for_an_answer(), after.is_for_an_answer());
        let (had_body, has_body) = (before.is_for_a_body(), after.is_for_a_body());
        if (waited, had_body) == (waits, has_body) {
            return;
        }
        life.change(|duties| {
            if waited && !waits {
                duties.waiting = duties.waiting.saturating_sub(1);
            }
            if has_body && !had_body {
                duties.bodies += 1;
            }
            if had_body && !has_body {
                duties.bodies = duties.bodies.saturating_sub(1);
                duties.last_over = Instant::now();
            }
        });
    }
}

impl Phase {
    fn is_for_an_answer(self) -> bool {
        matches!(self, Self::Waiting | Self::Alone)
    }

    fn is_for_a_body(self) -> bool {
        matches!(self, Self::Done | Self::Answered)
    }
}

/// The connection's side of a request. Dropped, it is over: the body of the answer, or the client before.
#[derive(Debug)]
pub(crate) struct Asking(Arc<Exchange>);

impl Asking {
    pub(crate) fn new(exchange: &Arc<Exchange>) -> Self {
        Self(Arc::clone(exchange))
    }

    /// There is an answer, whose body is on its way from now on.
    pub(crate) fn answered(&self) {
        self.0.answered();
    }

    /// Whether the instance has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.has_failed()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.left_by_client();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duty(life: &Life) -> Duty {
        life.duty(Waker::noop())
    }

    fn taken_on(life: &Arc<Life>) -> (Arc<Exchange>, Asking) {
        let exchange = Arc::new(Exchange::default());
        exchange.taken_on(Arc::clone(life));
        let asking = Asking::new(&exchange);
        (exchange, asking)
    }

    #[test]
    fn an_answer_comes_before_a_body_and_a_body_before_nothing() {
        let life = Life::new();
        let (first, body) = taken_on(&life);
        // WASI 0.3: the instance is done before the connection has seen the answer.
        first.done();
        assert_eq!(duty(&life), Duty::Body);
        body.answered();
        let (second, asking) = taken_on(&life);
        assert!(matches!(duty(&life), Duty::Answer(_)));
        // WASI 0.2: it works on while the connection has it.
        asking.answered();
        drop(body);
        assert_eq!(duty(&life), Duty::Body);
        drop(asking);
        second.done();
        assert!(matches!(duty(&life), Duty::Nothing(_)));
    }

    #[test]
    fn an_instance_works_on_when_the_client_is_gone() {
        let life = Life::new();
        let (exchange, asking) = taken_on(&life);
        drop(asking);
        assert!(matches!(duty(&life), Duty::Answer(_)));
        assert!(exchange.is_waiting());
        exchange.done();
        assert!(matches!(duty(&life), Duty::Nothing(_)));
    }

    #[test]
    fn a_late_instance_is_given_up_when_nobody_else_needs_it() {
        let life = Life::new();
        let (late, asking) = taken_on(&life);
        let (other, other_asking) = taken_on(&life);
        late.is_late();
        late.done();
        drop(asking);
        assert!(matches!(duty(&life), Duty::Answer(_)));
        other.done();
        drop(other_asking);
        assert_eq!(duty(&life), Duty::Failed);
    }
}
