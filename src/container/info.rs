//! Questions that only read.

use super::{Container, ProcessInfo};
use crate::error::{Error, Op};
use crate::lifecycle::{Status, permits};
use crate::process::{Exit, Phase};
use hull_abi::ExecId;
use protobuf::well_known_types::any::Any;
use tokio::sync::oneshot;

impl Container {
    pub(super) fn state(&self, exec: Option<&ExecId>) -> Result<ProcessInfo, Error> {
        let process = self.process(exec)?;
        Ok(ProcessInfo {
            bundle: self.place.bundle.to_string_lossy().into_owned(),
            pid: process.pid_u32(),
            status: self.status_of(exec)?,
            streams: process.streams.clone(),
            exit: process.exit(),
        })
    }

    /// Every process of the cgroup, and which of them are exec processes.
    pub(super) fn pids(&self) -> Result<Vec<(u32, Option<ExecId>)>, Error> {
        if self.status == Status::Stopped {
            return Ok(Vec::new());
        }
        let execs: Vec<(i32, &ExecId)> = self
            .execs
            .iter()
            .map(|(id, exec)| (exec.process.pid, id))
            .collect();
        let pids = hull_cgroup::pids(&self.place.cgroup)?;
        Ok(pids
            .into_iter()
            .map(|pid| {
                let exec = execs
                    .iter()
                    .find(|(p, _)| *p == pid)
                    .map(|(_, id)| (*id).clone());
                (pid.unsigned_abs(), exec)
            })
            .collect())
    }

    pub(super) fn wait(
        &mut self,
        exec: Option<&ExecId>,
        reply: super::Reply<oneshot::Receiver<Exit>>,
    ) {
        let answer = self.process_mut(exec).map(|process| {
            let (waiter, exit) = oneshot::channel();
            process.wait(waiter);
            exit
        });
        super::answer(reply, answer);
    }

    pub(super) fn stats(&self) -> Result<Any, Error> {
        let stats = hull_cgroup::stats(&self.place.cgroup).map_err(crate::metrics::failed)?;
        crate::metrics::to_any(&stats)
    }

    /// What the actor knows, for people who look for a fault.
    pub(super) fn describe(&self) -> String {
        let mut execs: Vec<String> = self
            .execs
            .iter()
            .map(|(id, exec)| format!("{id} {:?} pid {}", exec.process.phase, exec.process.pid))
            .collect();
        execs.sort();
        format!(
            "{}, init pid {} {:?}, ending {:?}, removing {}, {} wait to delete, execs [{}]",
            self.status.name(),
            self.init.pid,
            self.init.phase,
            self.ending,
            self.removing,
            self.deletes.len(),
            execs.join("; ")
        )
    }

    /// There is no checkpoint yet, but a wrong state is told first, as the runc shim does.
    pub(super) fn checkpoint(&self) -> Result<(), Error> {
        permits(self.status, Op::Checkpoint)?;
        Err(Error::Unimplemented(
            "checkpoint is not supported: hull has no CRIU support".to_owned(),
        ))
    }

    pub(super) fn resize(
        &self,
        exec: Option<&ExecId>,
        columns: u16,
        rows: u16,
    ) -> Result<(), Error> {
        if exec.is_some() {
            // Of init the runc shim takes a change of size in every state, also of one that ended.
            permits(self.status_of(exec)?, Op::Resize)?;
        }
        match &self.process(exec)?.stdio {
            Some(stdio) => stdio.resize(columns, rows),
            None => Ok(()),
        }
    }

    pub(super) fn close_stdin(&self, exec: Option<&ExecId>) -> Result<(), Error> {
        let process = self.process(exec)?;
        if let (Some(stdio), Phase::Created | Phase::Starting | Phase::Running) =
            (&process.stdio, process.phase)
        {
            stdio.close_stdin();
        }
        Ok(())
    }
}
