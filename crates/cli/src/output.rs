//! Standard output and standard error of `hull` itself.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::Error;

/// Writes text to standard output.
///
/// # Errors
/// When nobody reads it ([`Error::reader_gone`]) or it cannot be written.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                Error::reader_gone()
            } else {
                Error::new("write standard output", error)
            }
        })
}

/// Writes a value as indented JSON and a line feed: what `--json` asks for.
///
/// # Errors
/// As [`print()`].
pub(crate) fn print_json<T: Serialize>(value: &T) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::new("write JSON", e))?;
    print(&format!("{text}\n"))
}

/// Writes text to standard error.
pub(crate) fn tell(text: &str) {
    // Nobody is left to be told of a standard error that cannot be written.
    drop(io::stderr().lock().write_all(text.as_bytes()));
}

/// Writes one line to standard error: what is not an answer but should be known.
pub(crate) fn warn(text: &str) {
    tell(&format!("hull: {text}\n"));
}
