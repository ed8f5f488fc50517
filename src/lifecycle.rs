//! Which operation is allowed in which state. Pure: one exhaustive table.

use crate::error::{Error, Op};

/// State of an init process, and so of its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything is set up, the program does not run yet.
    Created,
    /// It is on the way to its program.
    Starting,
    /// The program runs.
    Running,
    /// It is being frozen.
    Pausing,
    /// It is frozen.
    Paused,
    /// It has ended.
    Stopped,
}

impl Status {
    /// The word in error texts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether a container in this state permits the operation on its init process or as a whole.
///
/// # Errors
/// [`Error::WrongState`] with the texts of the runc shim.
pub(crate) fn permits(have: Status, op: Op) -> Result<(), Error> {
    let allowed = match (op, have) {
        (Op::Start, Status::Created) => true,
        (Op::Delete, Status::Created | Status::Stopped) => true,
        (Op::Exec, Status::Created | Status::Starting | Status::Running) => true,
        (Op::Pause, Status::Running) => true,
        (Op::Resume, Status::Paused) => true,
        (
            Op::Resize | Op::Update,
            Status::Created | Status::Starting | Status::Running | Status::Pausing | Status::Paused,
        ) => true,
        (Op::Checkpoint, Status::Running | Status::Paused) => true,
        (Op::Start, _)
        | (Op::Delete, _)
        | (Op::Exec, _)
        | (Op::Pause, _)
        | (Op::Resume, _)
        | (Op::Resize | Op::Update, Status::Stopped)
        | (Op::Checkpoint, _) => false,
    };
    if allowed {
        Ok(())
    } else {
        Err(Error::WrongState {
            have: have.name(),
            op,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Status; 6] = [
        Status::Created,
        Status::Starting,
        Status::Running,
        Status::Pausing,
        Status::Paused,
        Status::Stopped,
    ];

    /// One line per operation, one column per state in the order of `ALL`.
    const TABLE: [(Op, [bool; 6]); 8] = [
        (Op::Start, [true, false, false, false, false, false]),
        (Op::Delete, [true, false, false, false, false, true]),
        (Op::Exec, [true, true, true, false, false, false]),
        (Op::Pause, [false, false, true, false, false, false]),
        (Op::Resume, [false, false, false, false, true, false]),
        (Op::Resize, [true, true, true, true, true, false]),
        (Op::Update, [true, true, true, true, true, false]),
        (Op::Checkpoint, [false, false, true, false, true, false]),
    ];

    #[test]
    fn every_cell_is_as_the_table_says() {
        for (op, row) in TABLE {
            for (have, allowed) in ALL.into_iter().zip(row) {
                assert_eq!(permits(have, op).is_ok(), allowed, "{op:?} in {have:?}");
            }
        }
    }
}
