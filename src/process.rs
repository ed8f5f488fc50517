//! One process of a container, init or exec, as its container's actor knows it.

use crate::error::Error;
use crate::events::Io;
use crate::stdio::Stdio;
use hull_launcher::client::ChildProcess;
use hull_sys::Errno;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// How and when a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, or 128 + signal number.
    pub(crate) status: u32,
    /// When it was reaped.
    pub(crate) at: SystemTime,
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It does not run its program yet.
    Created,
    /// It is on the way to its program.
    Starting,
    /// It runs.
    Running,
    /// It has ended.
    Stopped(Exit),
}

/// A process.
#[derive(Debug)]
pub(crate) struct Process {
    /// Process id on the host, 0 before there is one.
    pub(crate) pid: i32,
    pub(crate) phase: Phase,
    /// What containerd asked for.
    pub(crate) streams: Io,
    /// What became of it, from the moment the process exists.
    pub(crate) stdio: Option<Arc<Stdio>>,
    child: Option<Arc<ChildProcess>>,
    waiters: Vec<oneshot::Sender<Exit>>,
}

// === impl Process ===

impl Process {
    /// A process that is only registered.
    pub(crate) fn registered(streams: Io) -> Self {
        Self {
            pid: 0,
            phase: Phase::Created,
            streams,
            stdio: None,
            child: None,
            waiters: Vec::new(),
        }
    }

    /// The process exists now.
    pub(crate) fn attach(&mut self, child: Arc<ChildProcess>, stdio: Arc<Stdio>) {
        self.pid = child.pid();
        self.child = Some(child);
        self.stdio = Some(stdio);
    }

    /// The pidfd holder while the process was not reaped.
    pub(crate) fn child(&self) -> Option<&Arc<ChildProcess>> {
        match self.phase {
            Phase::Created | Phase::Starting | Phase::Running => self.child.as_ref(),
            Phase::Stopped(_) => None,
        }
    }

    /// Process id as protobuf has it.
    pub(crate) fn pid_u32(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// The exit, once there is one.
    pub(crate) fn exit(&self) -> Option<Exit> {
        match self.phase {
            Phase::Stopped(exit) => Some(exit),
            Phase::Created | Phase::Starting | Phase::Running => None,
        }
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// [`Error::Finished`] when the process has ended, [`Error::Invalid`] for an unknown number.
    pub(crate) fn signal(&self, number: i32) -> Result<(), Error> {
        let Some(child) = self.child() else {
            return Err(Error::Finished);
        };
        match child.signal(number) {
            Ok(()) => Ok(()),
            Err(Errno::ESRCH) => Err(Error::Finished),
            Err(Errno::EINVAL) => Err(Error::Invalid(format!("signal {number} does not exist"))),
            Err(errno) => Err(Error::host(
                format!("send signal {number} to process {}", self.pid),
                errno,
            )),
        }
    }

    /// Answers now or later with the exit.
    pub(crate) fn wait(&mut self, waiter: oneshot::Sender<Exit>) {
        match self.exit() {
            // A waiter that has gone away needs no answer.
            Some(exit) => {
                waiter.send(exit).ok();
            }
            None => {
                self.waiters.retain(|w| !w.is_closed());
                self.waiters.push(waiter);
            }
        }
    }

    /// Answers everybody who waits, whatever the reason.
    pub(crate) fn release_waiters(&mut self, exit: Exit) {
        for waiter in self.waiters.drain(..) {
            waiter.send(exit).ok();
        }
    }

    /// The process has ended: nothing of it is left but its exit.
    pub(crate) fn stop(&mut self, exit: Exit) {
        self.phase = Phase::Stopped(exit);
        self.child = None;
        self.release_waiters(exit);
    }
}
