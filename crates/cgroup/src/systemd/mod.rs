//! Cgroups that systemd makes: transient scope units.
//!
//! Nobody but systemd may make directories in its tree, so a container's cgroup there is a unit. A scope
//! cannot be without a process, and processes of a container are born in their cgroup: so the process that
//! makes the unit puts itself into it and stays ([`Placeholder`]) until the first of the container's is
//! there. `Delegate=yes` makes everything below the unit's directory ours.
//!
//! The interface is that of
//! [org.freedesktop.systemd1(5)](https://www.freedesktop.org/software/systemd/man/latest/org.freedesktop.systemd1.html),
//! spoken on systemd's own socket. Device rules are not told to systemd: a filter of its own would come on
//! top of ours and be rewritten on every `daemon-reload`.

mod connection;
mod message;
mod placeholder;
mod properties;

pub use placeholder::{Placeholder, create_scope};

use crate::{Error, convert::Present};
use connection::{Connection, Refusal};
use hull_abi::{Blame, Resources, Scope};
use hull_sys::Errno;
use message::{Argument, Property, Value};
use std::time::Duration;

/// Where systemd listens for root.
const SOCKET: &str = "/run/systemd/private";

/// How long making a unit may take: a busy systemd takes a second, and clients wait for 30 s.
const START: Duration = Duration::from_secs(25);

/// How long a change of properties may take.
const CHANGE: Duration = Duration::from_secs(10);

/// How a unit's job replaces others of the same unit.
const MODE: Argument<'_> = Argument::Text("replace");

/// What a job says of itself when all went well.
const DONE: &str = "done";

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// The manager of the units at one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manager<'a> {
    socket: &'a str,
}

/// The one of this host.
pub(crate) const HOST: Manager<'static> = Manager { socket: SOCKET };

impl Manager<'_> {
    /// Makes the scope with this process in it. What an earlier unit of that name left when it failed
    /// is taken away.
    fn start(self, scope: &Scope, limits: Vec<Property>) -> Result<(), Error> {
        let unit = scope.unit.as_str();
        let purpose = format!("start unit {unit} in {}", scope.slice);
        let mut connection = Connection::open(self.socket, START, purpose)?;
        let properties = [unit_properties(scope), limits].concat();
        let arguments = [
            Argument::Text(unit),
            MODE,
            Argument::Properties(&properties),
            Argument::NoUnits,
        ];
        let mut answer = connection.call("StartTransientUnit", &arguments);
        if matches!(&answer, Err(Refusal::Answer { name, .. }) if name == UNIT_EXISTS) {
            reset(&mut connection, unit)?;
            answer = connection.call("StartTransientUnit", &arguments);
        }
        let texts = answer.map_err(Refusal::into_error)?;
        finish(&mut connection, &texts)
    }

    /// Changes the unit's limits, and comes back when systemd has written its files.
    fn change(self, scope: &Scope, limits: &[Property]) -> Result<(), Error> {
        let purpose = format!("change limits of unit {}", scope.unit);
        let mut connection = Connection::open(self.socket, CHANGE, purpose)?;
        let arguments = [
            Argument::Text(&scope.unit),
            // Until the unit ends, and not beyond.
            Argument::Bool(true),
            Argument::Properties(limits),
        ];
        connection
            .call("SetUnitProperties", &arguments)
            .map_err(Refusal::into_error)?;
        connection.settle()
    }

    /// Ends the unit. One that does not exist (any more) is no error: systemd removes a scope whose last
    /// process has ended.
    fn stop(self, scope: &Scope, limit: Duration) -> Result<(), Error> {
        let unit = scope.unit.as_str();
        let purpose = format!("stop unit {unit}");
        let mut connection = Connection::open(self.socket, limit, purpose)?;
        match connection.call("StopUnit", &[Argument::Text(unit), MODE]) {
            Ok(texts) => finish(&mut connection, &texts)?,
            Err(Refusal::Answer { name, .. }) if name == NO_SUCH_UNIT => {}
            Err(refusal) => return Err(refusal.into_error()),
        }
        reset(&mut connection, unit)
    }
}

/// Waits for the job that an answer names.
fn finish(connection: &mut Connection, answer: &[String]) -> Result<(), Error> {
    let [job] = answer else {
        return Err(connection.failed("systemd answered without a job"));
    };
    match connection.wait_for(job)?.as_str() {
        DONE => Ok(()),
        result => Err(connection.failed(&format!("the job of systemd ended with {result:?}"))),
    }
}

/// Makes systemd forget that a unit failed, which keeps its name from being used. Nothing to forget is
/// no error.
fn reset(connection: &mut Connection, unit: &str) -> Result<(), Error> {
    match connection.call("ResetFailedUnit", &[Argument::Text(unit)]) {
        Ok(_) | Err(Refusal::Answer { .. }) => Ok(()),
        Err(Refusal::Broken(error)) => Err(error),
    }
}

fn unit_properties(scope: &Scope) -> Vec<Property> {
    let on = |name| (name, Value::Bool(true));
    vec![
        (
            "Description",
            Value::Text(format!("hull container {}", scope.unit)),
        ),
        ("Slice", Value::Text(scope.slice.clone())),
        ("PIDs", Value::Pids(vec![std::process::id()])),
        ("DefaultDependencies", Value::Bool(false)),
        on("Delegate"),
        on("CPUAccounting"),
        on("IOAccounting"),
        on("MemoryAccounting"),
        on("TasksAccounting"),
    ]
}

/// Tells systemd of limits that change, as far as it knows them. The files come after that.
///
/// # Errors
/// A value that makes no sense, or [`Error::Systemd`].
pub(crate) fn change(
    scope: &Scope,
    resources: &Resources,
    present: Present<'_>,
) -> Result<(), Error> {
    let limits = properties::properties(resources, present)?;
    if limits.is_empty() {
        return Ok(());
    }
    HOST.change(scope, &limits)
}

/// Ends the unit.
///
/// # Errors
/// [`Error::Systemd`], also when it takes longer than `limit`.
pub(crate) fn stop(scope: &Scope, limit: Duration) -> Result<(), Error> {
    HOST.stop(scope, limit)
}

/// The error of a host where a unit cannot be what was asked for.
fn refused(action: String, cause: &str) -> Error {
    Error::Systemd {
        action,
        cause: cause.to_owned(),
        blame: Blame::Host,
        errno: Errno::EOPNOTSUPP,
    }
}

#[cfg(test)]
mod tests;
