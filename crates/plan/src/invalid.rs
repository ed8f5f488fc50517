//! The one error of this crate.

/// What is wrong with a config, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid config: {field}: {why}")]
pub struct Invalid {
    /// The field, e.g. `linux.namespaces[2].path`.
    pub field: String,
    /// What is wrong with it: lower case, no full stop.
    pub why: String,
}

impl Invalid {
    pub(crate) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: one_line(field.into()),
            why: one_line(why.into()),
        }
    }

    pub(crate) fn missing(field: impl Into<String>) -> Self {
        Self::new(field, "it is missing")
    }

    /// For what the spec allows and we cannot do: refused, because ignoring it would run the
    /// container with less isolation than was asked for.
    pub(crate) fn unsupported(field: impl Into<String>, what: &str) -> Self {
        Self::new(field, format!("{what} not supported yet"))
    }
}

/// A key or value of the config may hold line breaks; the message is one line all the same.
fn one_line(text: String) -> String {
    if text.contains(['\n', '\r']) {
        text.replace(['\n', '\r'], " ")
    } else {
        text
    }
}
