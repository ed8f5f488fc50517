//! From Start to exit: streams, terminal and signals of a container in the foreground.

use std::os::fd::OwnedFd;

use hull_client::{RpcError, Task, api};
use nix::sys::signal::Signal;

use super::copy::{Copies, Note};
use super::interrupts::{Answer, Interrupts};
use super::signals::{Caught, DEADLY};
use super::{Life, refused};
use crate::error::Error;
use crate::terminal::{self, Raw, RawTerminal};

impl Life<'_> {
    /// Starts the created container and stays with it; gives its exit code.
    pub(super) async fn foreground(&mut self, task: &Task) -> Result<u8, Error> {
        let own = terminal::ours();
        let mut copies = Copies::start(&self.stdio, self.wanted.output)?;
        let streams = self.stdio.streams();
        let _raw = match &own {
            Some(own) if streams.terminal => {
                self.resize(task, own).await;
                Some(self.raw(own, streams.stdin)?)
            }
            Some(_) | None => None,
        };
        self.phases.begin("start");
        task.start(&self.id, "")
            .await
            .map_err(|error| refused(self.wanted.verb, &error))?;
        self.phases.begin("run");
        let exited = self.attend(task, &mut copies, own.as_ref()).await?;
        // The rest is on its way; whoever does not read it can still interrupt us.
        let passed_on = tokio::select! {
            passed_on = copies.rest() => passed_on,
            signal = self.signals.deadly() => Err(Error::signalled(signal as i32)),
        };
        self.unread = passed_on.err();
        Ok(u8::try_from(exited.exit_status).unwrap_or(u8::MAX))
    }

    /// Our terminal as one that another terminal is shown on.
    fn raw(&mut self, own: &OwnedFd, interactive: bool) -> Result<RawTerminal, Error> {
        // The guard sets back what it has seen.
        self.guard.wait_ready()?;
        let own = own
            .try_clone()
            .map_err(|error| Error::new("set the terminal", error))?;
        let what = if interactive { Raw::Both } else { Raw::Output };
        RawTerminal::enter(own, what)
    }

    /// Passes on what comes until the container exits.
    async fn attend(
        &mut self,
        task: &Task,
        copies: &mut Copies,
        own: Option<&OwnedFd>,
    ) -> Result<api::WaitResponse, Error> {
        let mut interrupts = Interrupts::default();
        let id = self.id.clone();
        let mut exit = std::pin::pin!(task.wait(&id, ""));
        loop {
            tokio::select! {
                exited = &mut exit => {
                    return exited.map_err(|error| self.failed("wait for the container", &error));
                }
                note = copies.next() => match note {
                    Note::InputEnded => ignore_late(task.close_io(&id, "").await),
                    Note::OutputFailed(_) => self.kill(task, Signal::SIGKILL).await,
                    Note::OutputEnded => {}
                },
                caught = self.signals.next() => match caught {
                    Caught::Resized => {
                        if let Some(own) = own {
                            self.resize(task, own).await;
                        }
                    }
                    Caught::Signal(signal) => {
                        if DEADLY.contains(&signal) {
                            self.interrupted = Some(signal);
                        }
                        let abandoned = own.is_some_and(terminal::is_gone);
                        let signal = match interrupts.take(signal, abandoned) {
                            Answer::PassOn => signal,
                            Answer::Kill => Signal::SIGKILL,
                        };
                        self.kill(task, signal).await;
                    }
                },
                () = interrupts.overdue() => {
                    interrupts.killed();
                    self.kill(task, Signal::SIGKILL).await;
                }
            }
        }
    }

    async fn kill(&self, task: &Task, signal: Signal) {
        let number = u32::try_from(signal as i32).unwrap_or_default();
        ignore_late(task.kill(&self.id, "", number).await);
    }

    /// Gives the container's terminal the size of ours.
    async fn resize(&self, task: &Task, own: &OwnedFd) {
        if !self.stdio.streams().terminal {
            return;
        }
        if let Some((columns, rows)) = terminal::size(own) {
            let resized = task.resize_pty(&self.id, "", columns.into(), rows.into());
            ignore_late(resized.await);
        }
    }
}

/// What is asked of a container that has just exited is too late; Wait tells the rest.
fn ignore_late(answer: Result<(), RpcError>) {
    drop(answer);
}
