//! What went wrong with a cgroup: the file, the value, the cause and who has to act.

use hull_abi::Blame;
use hull_sys::Errno;

/// A failed operation on a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A limit or another value was refused by the kernel.
    #[error("write {value:?} to {path}: {}", describe(*.errno))]
    Write {
        /// The value.
        value: String,
        /// The file.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// An operation other than writing a value failed.
    #[error("{operation} {path}: {}", describe(*.errno))]
    Io {
        /// What was being done, e.g. `read` or `mkdir`.
        operation: &'static str,
        /// To what.
        path: String,
        /// Why.
        errno: Errno,
    },
    /// A limit was asked for and the cgroup does not have the controller.
    #[error("{limit} is set, but the {controller} controller {absence}")]
    NoController {
        /// The limit in the words of config.json.
        limit: &'static str,
        /// The controller.
        controller: String,
        /// Why it is not there.
        absence: Absence,
    },
    /// The controller is there, but not the file that this limit needs.
    #[error("{limit} is set, but the kernel does not have {path}")]
    NoFile {
        /// The limit in the words of config.json.
        limit: &'static str,
        /// The file.
        path: String,
    },
    /// A requested value makes no sense.
    #[error("{limit}: {reason}")]
    Value {
        /// The limit in the words of config.json.
        limit: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The `cgroupsPath` cannot be used.
    #[error("cgroups path {path:?} {reason}")]
    Path {
        /// As it was given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another container's processes are there.
    #[error("container's cgroup is not empty: {path} has {count} processes")]
    NotEmpty {
        /// The directory.
        path: String,
        /// How many.
        count: usize,
    },
    /// A process born there would never run.
    #[error("container's cgroup unexpectedly frozen: {path}")]
    Frozen {
        /// The directory.
        path: String,
    },
    /// No container can live there: only threads of one process could.
    #[error("cgroup {path} cannot hold a container: {culprit} is threaded")]
    Threaded {
        /// The directory.
        path: String,
        /// The directory that makes it so: itself or one above it.
        culprit: String,
    },
    /// The kernel did not finish in time.
    #[error("{path} {what} after {limit:?}")]
    Timeout {
        /// The directory.
        path: String,
        /// What has not happened, e.g. `is not frozen`.
        what: &'static str,
        /// How long it was given.
        limit: std::time::Duration,
    },
    /// A kernel file is not what it should be.
    #[error("unexpected content in {path}: {content:?}")]
    Content {
        /// The file.
        path: String,
        /// The line.
        content: String,
    },
    /// systemd could not be reached, or did not do what it was asked for.
    #[error("{action}: {cause}")]
    Systemd {
        /// What it was asked for.
        action: String,
        /// Its answer, or why there is none.
        cause: String,
        /// Who has to act.
        blame: Blame,
        /// The nearest error number.
        errno: Errno,
    },
    /// No cgroup hierarchy is mounted.
    #[error("no cgroup hierarchy is mounted")]
    NoHierarchy,
}

/// Why a cgroup does not have a controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// No hierarchy has it.
    #[error("is not available on this host")]
    Host,
    /// A directory above the cgroup does not hand it down, because its own processes would compete
    /// with the children
    /// (<https://docs.kernel.org/admin-guide/cgroup-v2.html#no-internal-process-constraint>).
    #[error("cannot be enabled in {0}: it has processes of its own")]
    Processes(String),
    /// A directory above the cgroup does not hand it down for another reason.
    #[error("is not enabled in {0}: see its cgroup.subtree_control")]
    Disabled(String),
}

impl Error {
    /// The kernel's error number, or the nearest one where the failure is not the kernel's.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::Write { errno, .. } | Self::Io { errno, .. } | Self::Systemd { errno, .. } => {
                *errno
            }
            Self::NoController { .. } | Self::NoFile { .. } | Self::Threaded { .. } => {
                Errno::EOPNOTSUPP
            }
            Self::Value { .. } | Self::Path { .. } => Errno::EINVAL,
            Self::NotEmpty { .. } | Self::Frozen { .. } => Errno::EBUSY,
            Self::Timeout { .. } => Errno::ETIMEDOUT,
            Self::Content { .. } => Errno::EIO,
            Self::NoHierarchy => Errno::ENODEV,
        };
        errno as i32
    }

    /// Who has to act.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            // The kernel says so of values that are malformed or out of range.
            Self::Write {
                errno: Errno::EINVAL | Errno::ERANGE | Errno::ENODEV,
                ..
            }
            | Self::Value { .. }
            | Self::Path { .. }
            | Self::NotEmpty { .. }
            | Self::Threaded { .. }
            | Self::Frozen { .. } => Blame::Caller,
            Self::Systemd { blame, .. } => *blame,
            Self::Write { .. }
            | Self::Io { .. }
            | Self::NoController { .. }
            | Self::NoFile { .. }
            | Self::Timeout { .. }
            | Self::Content { .. }
            | Self::NoHierarchy => Blame::Host,
        }
    }

    /// Whether the object of the operation does not exist (any more).
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Io { errno, .. } | Self::Write { errno, .. }
            if matches!(errno, Errno::ENOENT | Errno::ENODEV))
    }
}

/// The words for an error number, in lower case so that they end a sentence.
fn describe(errno: Errno) -> String {
    let mut text = errno.desc().to_owned();
    if let Some(first) = text.get_mut(..1) {
        // Abbreviations such as "I/O error" stay as they are.
        if errno != Errno::EIO {
            first.make_ascii_lowercase();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_write_names_value_file_and_cause() {
        let error = Error::Write {
            value: "67108864".into(),
            path: "/sys/fs/cgroup/memory/x/memory.limit_in_bytes".into(),
            errno: Errno::EINVAL,
        };
        assert_eq!(
            error.to_string(),
            "write \"67108864\" to /sys/fs/cgroup/memory/x/memory.limit_in_bytes: invalid argument"
        );
        assert_eq!(error.errno(), 22);
        assert_eq!(error.blame(), Blame::Caller);
    }

    #[test]
    fn missing_controller_is_named_with_the_limit() {
        let error = Error::NoController {
            limit: "pids.limit",
            controller: "pids".into(),
            absence: Absence::Host,
        };
        assert_eq!(
            error.to_string(),
            "pids.limit is set, but the pids controller is not available on this host"
        );
        assert_eq!(error.blame(), Blame::Host);
        let error = Error::NoController {
            limit: "pids.limit",
            controller: "pids".into(),
            absence: Absence::Processes("/sys/fs/cgroup/a".into()),
        };
        assert_eq!(
            error.to_string(),
            "pids.limit is set, but the pids controller cannot be enabled in /sys/fs/cgroup/a: it \
             has processes of its own"
        );
    }
}
