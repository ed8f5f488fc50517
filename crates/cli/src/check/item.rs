//! One thing that was looked at.

use serde::Serialize;

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Containers run, but not everything that they may ask for.
    Warn,
    /// Containers do not run.
    Fail,
    /// It could not be looked at.
    Unknown,
}

/// One thing, how it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    pub(super) name: &'static str,
    pub(super) status: Status,
    /// What was found.
    pub(super) text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Item {
    fn new(name: &'static str, status: Status, text: impl Into<String>) -> Self {
        Self {
            name,
            status,
            text: text.into(),
            advice: None,
        }
    }

    pub(super) fn ok(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Ok, text)
    }

    pub(super) fn warn(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Warn, text)
    }

    pub(super) fn fail(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Fail, text)
    }

    pub(super) fn unknown(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Status::Unknown, text)
    }

    /// Says what to do.
    #[must_use]
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// Whether we are root, in as far as that decides what can be looked at.
pub(super) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
