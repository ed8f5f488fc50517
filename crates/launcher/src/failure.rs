//! From errno to [`SetupError`]: which step, which object, who has to act.

use hull_abi::{Blame, SetupError, Step};
use hull_sys::Errno;

/// Adds what only the caller of a system call knows.
pub(crate) trait At<T> {
    /// Names the step and the action on the object; the host is to blame unless
    /// [`Blamed::blame`] says otherwise.
    fn at(self, step: Step, action: impl FnOnce() -> String) -> Result<T, SetupError>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step, action: impl FnOnce() -> String) -> Result<T, SetupError> {
        self.map_err(|errno| by_errno(step, action(), errno))
    }
}

/// Puts the blame elsewhere.
pub(crate) trait Blamed<T> {
    /// Replaces who is to blame.
    fn blame(self, blame: Blame) -> Result<T, SetupError>;
}

impl<T> Blamed<T> for Result<T, SetupError> {
    fn blame(self, blame: Blame) -> Result<T, SetupError> {
        self.map_err(|error| SetupError { blame, ..error })
    }
}

/// A failure with the kernel's reason.
pub(crate) fn by_errno(step: Step, action: String, errno: Errno) -> SetupError {
    SetupError {
        step,
        blame: Blame::Host,
        action,
        cause: errno.desc().to_lowercase(),
        errno: errno as i32,
    }
}

/// A failure with a reason of our own.
pub(crate) fn because(step: Step, blame: Blame, action: String, cause: &str) -> SetupError {
    SetupError {
        step,
        blame,
        action,
        cause: cause.to_owned(),
        errno: 0,
    }
}

/// What the error numbers of clone3(2) mean that ask for something else than they say.
const LIMITS: [(Errno, &str); 2] = [
    (
        Errno::EAGAIN,
        "no more processes: pids.limit of the container, or a limit of the host, is reached",
    ),
    (
        Errno::ENOSPC,
        "no more namespaces: a limit of the host (/proc/sys/user) or of nesting is reached",
    ),
];

/// A failure of clone3(2).
pub(crate) fn by_clone(errno: Errno) -> SetupError {
    let error = by_errno(Step::Clone, "clone3".to_owned(), errno);
    match LIMITS.iter().find(|(limit, _)| *limit == errno) {
        Some((_, cause)) => SetupError {
            cause: (*cause).to_owned(),
            ..error
        },
        None => error,
    }
}

/// A failure of the cgroup crate, whose texts name the object and the cause themselves.
pub(crate) fn from_cgroup(step: Step, error: &hull_cgroup::Error) -> SetupError {
    SetupError {
        step,
        blame: error.blame(),
        action: error.to_string(),
        cause: String::new(),
        errno: error.errno(),
    }
}
