//! Names that arrive from outside and are parsed once.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest id we accept; containerd's own limit is 76, file names allow 255.
const MAX_LEN: usize = 255;

/// An id that could name something outside its directory, or nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} id {id:?}: {why}")]
pub struct InvalidId {
    what: &'static str,
    id: String,
    why: &'static str,
}

/// A container id: usable as one path component and as one cgroup name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContainerId(String);

/// The id of an exec process, unique within its container.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecId(String);

fn check(what: &'static str, id: &str) -> Result<(), InvalidId> {
    let refuse = |why| {
        Err(InvalidId {
            what,
            id: id.chars().take(80).collect(),
            why,
        })
    };
    if id.is_empty() {
        return refuse("it is empty");
    }
    if id.len() > MAX_LEN {
        return refuse("it is longer than 255 bytes");
    }
    if id == "." || id == ".." {
        return refuse("it names a directory");
    }
    if !id
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_+.-".contains(&b))
    {
        return refuse("only letters, digits, '_', '+', '.' and '-' are allowed");
    }
    Ok(())
}

// === impl ContainerId, ExecId ===

impl ContainerId {
    /// Parses an id.
    ///
    /// # Errors
    /// When it is empty, longer than 255 bytes, `.`, `..`, or holds anything but `[A-Za-z0-9_+.-]`.
    pub fn parse(id: &str) -> Result<Self, InvalidId> {
        check("container", id)?;
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ExecId {
    /// Parses an id by the same rules as [`ContainerId::parse`].
    ///
    /// # Errors
    /// As [`ContainerId::parse`].
    pub fn parse(id: &str) -> Result<Self, InvalidId> {
        check("exec", id)?;
        Ok(Self(id.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ExecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_ids_pass() {
        for id in ["a", "redis-1", "A_b+c.d", "...", &"x".repeat(255)] {
            assert_eq!(ContainerId::parse(id).unwrap().as_str(), id);
            assert_eq!(ExecId::parse(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn ids_that_could_leave_their_directory_are_refused() {
        for id in [
            "",
            ".",
            "..",
            "a/b",
            "a b",
            "a\0",
            "é",
            "a\n",
            &"x".repeat(256),
        ] {
            assert!(ContainerId::parse(id).is_err(), "{id:?}");
            assert!(ExecId::parse(id).is_err(), "{id:?}");
        }
    }
}
