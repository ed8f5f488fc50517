//! Why a guest did not run, or how it ended: lines on the container's stderr and exit codes.

use std::fmt::{Display, Write as _};
use wasmtime::{Error, Trap, WasmBacktrace};

/// Exit code when the config or the artifact cannot be read.
const NOT_FOUND: i32 = 127;
/// Exit code when the guest cannot be started.
const NOT_RUNNABLE: i32 = 126;
/// Exit code when the runner itself fails.
pub(crate) const INTERNAL: i32 = 125;
/// Exit code when the time that an annotation gives is up, or a server's guest does not come back: that of
/// timeout(1).
pub(crate) const TIMED_OUT: i32 = 124;
/// Exit code after a trap, that of a process ended by SIGABRT.
const TRAPPED: i32 = 134;

/// The guest did not run.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct Failure {
    code: i32,
    cause: String,
}

impl Failure {
    /// Config or artifact cannot be read.
    pub(crate) fn not_found(what: &str, cause: impl Display) -> Self {
        Self::new(NOT_FOUND, what, cause)
    }

    /// The guest cannot be started.
    pub(crate) fn not_runnable(what: &str, cause: impl Display) -> Self {
        Self::new(NOT_RUNNABLE, what, cause)
    }

    /// The runner itself fails.
    pub(crate) fn internal(what: &str, cause: impl Display) -> Self {
        Self::new(INTERNAL, what, cause)
    }

    fn new(code: i32, what: &str, cause: impl Display) -> Self {
        Self {
            code,
            // `{:#}` of wasmtime's errors is the chain of causes in one line.
            cause: format!("{what}: {cause:#}"),
        }
    }

    /// Says it in one line on stderr; the exit code.
    pub(crate) fn report(&self, program: &str) -> i32 {
        say(&format!("hull-wasm: {program}: {}", self.cause));
        self.code
    }
}

/// Says why running code ended and, unless told not to, where; the exit code.
pub(crate) fn report_trap(error: &Error, says_where: bool) -> i32 {
    let line = format!("hull-wasm: trap: {}", cause(error));
    report(line, error, says_where);
    TRAPPED
}

/// Says why a request failed, and, unless told not to, where if that was a trap.
pub(crate) fn report_request(error: &Error, says_where: bool) {
    let what = if error.is::<Trap>() || error.is::<WasmBacktrace>() {
        "trap"
    } else {
        "request failed"
    };
    let line = format!("hull-wasm: {what}: {}", cause(error));
    report(line, error, says_where);
}

fn report(mut text: String, error: &Error, says_where: bool) {
    if says_where
        && let Some(backtrace) = error.downcast_ref::<WasmBacktrace>()
        && !backtrace.frames().is_empty()
        && write!(text, "\n{backtrace}").is_err()
    {
        text.push_str("\n(no backtrace)");
    }
    say(&text);
}

/// The trap, or whatever else ended the guest, without wasmtime's own prefix.
fn cause(error: &Error) -> String {
    match error.downcast_ref::<Trap>() {
        Some(trap) => {
            let text = trap.to_string();
            text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned()
        }
        None => error.root_cause().to_string(),
    }
}

/// Writes lines to stderr in one piece.
pub(crate) fn say(text: &str) {
    // A stderr that takes nothing leaves the exit code to tell.
    _ = hull_sys::stream::write_all(std::io::stderr(), line(text).as_bytes());
}

/// Lines as they are written. What a module calls its functions must not reach a terminal as control
/// characters.
pub(crate) fn line(text: &str) -> String {
    let mut block: String = text
        .chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect();
    block.truncate(block.trim_end().len());
    block.push('\n');
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trap_is_named_without_prefix() {
        let error = Error::from(Trap::IntegerDivisionByZero).context("somewhere");
        assert_eq!(cause(&error), "integer divide by zero");
    }

    #[test]
    fn other_errors_are_named_by_their_root() {
        let error = Error::msg("the root").context("a context");
        assert_eq!(cause(&error), "the root");
    }

    #[test]
    fn a_failure_is_one_line_with_all_causes() {
        let failure = Failure::not_runnable("cannot link", Error::msg("inner").context("outer"));
        assert_eq!(failure.cause, "cannot link: outer: inner");
        assert_eq!(failure.code, 126);
    }
}
