//! What becomes of a signal that `hull` gets while its container runs.
//!
//! The init process of a PID namespace gets only the signals that it has a handler for, and many
//! programs have none. So a signal is passed on first, and there is a way to end a container that does
//! not heed it, the one of docker: `docker stop` kills 10 s after SIGTERM, and `docker run` gives up at
//! the third SIGINT. Unlike docker's, our container does not go on without its client.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(10);

/// SIGINTs that a container may ignore, the last one not counted.
const PATIENCE: u32 = 3;

/// The signals so far.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    sigints: u32,
    /// When the container is to be killed.
    deadline: Option<Instant>,
}

/// What is to be done with a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The container gets it.
    PassOn,
    /// The container gets SIGKILL.
    Kill,
}

impl Interrupts {
    /// Takes a signal. `abandoned`: the terminal that hull was started on is gone.
    pub(super) fn take(&mut self, signal: Signal, abandoned: bool) -> Answer {
        if signal == Signal::SIGINT {
            self.sigints += 1;
            if self.sigints >= PATIENCE {
                return Answer::Kill;
            }
        }
        let last = signal == Signal::SIGTERM || (signal == Signal::SIGHUP && abandoned);
        if last && self.deadline.is_none() {
            self.deadline = Some(Instant::now() + GRACE);
        }
        Answer::PassOn
    }

    /// Waits until the container has had enough time.
    pub(super) async fn overdue(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }

    /// The container was killed: there is nothing to wait for.
    pub(super) fn killed(&mut self) {
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_sigint_kills() {
        let mut interrupts = Interrupts::default();
        let answers: Vec<Answer> = (0..3)
            .map(|_| interrupts.take(Signal::SIGINT, false))
            .collect();
        assert_eq!(answers, [Answer::PassOn, Answer::PassOn, Answer::Kill]);
        assert_eq!(interrupts.deadline, None);
    }

    #[test]
    fn sigterm_and_a_lost_terminal_set_a_deadline() {
        for (signal, abandoned, ends) in [
            (Signal::SIGTERM, false, true),
            (Signal::SIGHUP, true, true),
            (Signal::SIGHUP, false, false),
            (Signal::SIGUSR1, true, false),
        ] {
            let mut interrupts = Interrupts::default();
            assert_eq!(interrupts.take(signal, abandoned), Answer::PassOn);
            assert_eq!(interrupts.deadline.is_some(), ends, "{signal}");
        }
    }
}
