//! The signals that we get: most are for the container.

use std::fs;
use std::future::poll_fn;
use std::task::Poll;

use nix::sys::signal::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::Error;

/// What is passed on to the container.
const PASSED_ON: [Number; 6] = [
    Number::SIGINT,
    Number::SIGTERM,
    Number::SIGHUP,
    Number::SIGQUIT,
    Number::SIGUSR1,
    Number::SIGUSR2,
];

/// What ends `hull` where there is no container to pass it on to.
pub(super) const DEADLY: [Number; 4] = [
    Number::SIGINT,
    Number::SIGTERM,
    Number::SIGHUP,
    Number::SIGQUIT,
];

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caught {
    /// A signal for the container.
    Signal(Number),
    /// Our terminal has another size.
    Resized,
}

/// Signals that are caught from now on.
#[derive(Debug)]
pub(super) struct Signals {
    caught: Vec<(Number, Signal)>,
    resized: Signal,
}

impl Signals {
    /// Catches signals, but for those that whoever started us wants ignored (nohup, a shell's `&`).
    pub(super) fn catch() -> Result<Self, Error> {
        let failed = |error: std::io::Error| Error::new("catch signals", error);
        let ignored = ignored();
        let caught = PASSED_ON
            .into_iter()
            .filter(|number| ignored & (1 << (*number as i32 - 1)) == 0)
            .map(|number| Ok((number, signal(SignalKind::from_raw(number as i32))?)))
            .collect::<std::io::Result<_>>()
            .map_err(failed)?;
        let resized = signal(SignalKind::window_change()).map_err(failed)?;
        Ok(Self { caught, resized })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> Caught {
        poll_fn(|context| {
            if self.resized.poll_recv(context).is_ready() {
                return Poll::Ready(Caught::Resized);
            }
            self.caught
                .iter_mut()
                .find_map(|(number, signal)| {
                    signal.poll_recv(context).is_ready().then_some(*number)
                })
                .map_or(Poll::Pending, |number| Poll::Ready(Caught::Signal(number)))
        })
        .await
    }

    /// Waits for the next signal that is to end us.
    pub(super) async fn deadly(&mut self) -> Number {
        loop {
            match self.next().await {
                Caught::Signal(number) if DEADLY.contains(&number) => return number,
                Caught::Signal(_) | Caught::Resized => {}
            }
        }
    }
}

/// The signals that were ignored when we were started, one bit each from signal 1 on.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default()
}
