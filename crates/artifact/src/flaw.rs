//! What can be wrong with a file of the store.

use crate::error;
use nix::errno::Errno;
use std::io;

/// Why a file of the store is not used. The text goes on after the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// A directory, link, pipe, device or socket has the name of an artifact.
    #[error("not a regular file")]
    Type,
    /// It belongs to somebody else.
    #[error("owned by uid {0}")]
    Owner(u32),
    /// Its permission bits are not those of a stored artifact.
    #[error("mode {0:03o}")]
    Mode(u32),
    /// It has other names, through which it may have been changed.
    #[error("{0} links")]
    Links(u64),
    /// It ends too early, or something was added to it.
    #[error("truncated or extended")]
    Length,
    /// It does not end with a trailer of this version of hull.
    #[error("no trailer of this version")]
    Trailer,
    /// Its bytes are not those that were stored, or were stored under another key.
    #[error("digest does not match")]
    Digest,
    /// It does not say what its module exports, or not in a way of this version of hull.
    #[error("it does not say what the module exports")]
    Exports,
    /// It cannot be read.
    #[error("cannot be read: {}", .0.desc())]
    Unreadable(Errno),
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error::errno(&error))
    }
}

impl From<Errno> for Flaw {
    fn from(errno: Errno) -> Self {
        Self::Unreadable(errno)
    }
}
