//! What is wrong with a config.

/// A config that cannot be turned into a plan: the caller's mistake, named by its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where in config.json, e.g. `linux.seccomp.syscalls[3].args[0].index`.
    pub field: String,
    /// Why the value there cannot be used.
    pub why: String,
}

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid config: {}: {}", self.field, self.why)
    }
}

impl std::error::Error for Invalid {}
