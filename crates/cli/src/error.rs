//! What ends a command: one line on standard error and an exit code.

use std::fmt::{self, Display};
use std::process::ExitCode;

use crate::output;

/// hull itself failed; the same number as docker's.
pub(crate) const FAILED: u8 = 125;
/// The program is there and cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The program is not there.
pub(crate) const NOT_FOUND: u8 = 127;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// SIGPIPE, by which a program ends whose reader is gone.
const SIGPIPE: i32 = 13;

/// Why a command did not do what it was asked for: `hull: WHAT: CAUSE; ADVICE`.
#[derive(Debug)]
pub(crate) struct Error {
    /// What was tried, and on what: `run`, `open "app.wasm"`.
    what: String,
    cause: String,
    /// What the reader can do about it.
    advice: Option<String>,
    code: u8,
    /// Nothing is to be said: whoever caused it knows.
    silent: bool,
}

impl Error {
    /// hull itself failed: exit code 125.
    pub(crate) fn new(what: impl Into<String>, cause: impl Display) -> Self {
        Self {
            what: what.into(),
            cause: one_line(without_number(&cause.to_string())),
            advice: None,
            code: FAILED,
            silent: false,
        }
    }

    /// The same with everything that an error of another crate was caused by.
    pub(crate) fn caused(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut next = error.source();
        while let Some(cause) = next {
            text = format!("{text}: {}", without_number(&cause.to_string()));
            next = cause.source();
        }
        Self::new(what, text)
    }

    /// The command line is wrong: exit code 2.
    pub(crate) fn usage(what: impl Into<String>, cause: impl Display) -> Self {
        Self::new(what, cause).with_code(USAGE)
    }

    /// Ends as a program does that a signal ends: nothing is said, the exit code is 128 + signal.
    pub(crate) fn signalled(signal: i32) -> Self {
        Self {
            silent: true,
            ..Self::new("signal", signal).with_code(signal_code(signal))
        }
    }

    /// Standard output has no reader any more.
    pub(crate) fn reader_gone() -> Self {
        Self::signalled(SIGPIPE)
    }

    /// Says what to do.
    #[must_use]
    pub(crate) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Ends with another exit code.
    #[must_use]
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// Whether the program is there and cannot be executed.
    pub(crate) fn is_not_executable(&self) -> bool {
        self.code == NOT_EXECUTABLE
    }

    /// Writes the line and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if !self.silent {
            output::warn(&self.to_string());
        }
        ExitCode::from(self.code)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.cause)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

/// The exit code of a program that a signal ended.
pub(crate) fn signal_code(signal: i32) -> u8 {
    u8::try_from(signal.saturating_add(128)).unwrap_or(FAILED)
}

/// The text of an error of the standard library without its number.
fn without_number(text: &str) -> &str {
    match text.rsplit_once(" (os error ") {
        Some((text, number)) if number.ends_with(')') => text,
        Some(_) | None => text,
    }
}

/// The text with its line feeds and indentation made single spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_host_has_its_text_alone() {
        let error = Error::new("open a", std::io::Error::from_raw_os_error(2));
        assert_eq!(error.to_string(), "open a: No such file or directory");
    }

    #[test]
    fn an_error_is_one_line() {
        let error = Error::new("run \"a\"", "first\n  second\n").advise("try sudo");
        assert_eq!(error.to_string(), "run \"a\": first second; try sudo");
    }
}
