//! Why there is no artifact, in one line.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Once;

/// The longest line that is reported, in characters.
const MAX_LINE: usize = 1000;

/// Who is to blame and why. The text goes on after the name of the Wasm file or of the compiler.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The Wasm file.
    Module(String),
    /// The host, or whoever called us.
    Host(String),
}

impl Fault {
    /// A failed system call.
    pub(crate) fn host(doing: &str, error: &io::Error) -> Self {
        let why = hull_sys::fd::errno(error).desc();
        Self::Host(format!("{doing}: {why}"))
    }

    /// The exit status that says who is to blame.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Module(_) => 1,
            Self::Host(_) => 2,
        }
    }

    /// Writes the line to the standard error.
    pub(crate) fn report(&self) {
        let (Self::Module(text) | Self::Host(text)) = self;
        report(text);
    }
}

/// Makes a bug in the compiler look like every other failure: one line, and the host to blame.
/// Without this, a panic prints several lines and aborts.
pub(crate) fn report_panics() {
    static FIRST: Once = Once::new();
    std::panic::set_hook(Box::new(|panic| {
        // Other threads that panic wait here until the process has ended.
        FIRST.call_once(|| {
            let message = panic.payload_as_str().unwrap_or("no message");
            let place = panic.location().map(|place| format!(" ({place})"));
            let place = place.unwrap_or_default();
            report(&format!("the compiler has a bug: {message}{place}"));
            std::process::exit(2);
        });
    }));
}

fn report(text: &str) {
    // If even that fails, there is nobody to tell.
    let _lost = writeln!(io::stderr(), "{}", one_line(text));
}

/// The text as one line that is safe to show: nothing in it moves the cursor, hides text or turns
/// its direction, whatever names a module has.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .split_whitespace()
        .flat_map(|word| [" ", word])
        .skip(1)
        .flat_map(str::chars)
        .map(|c| if is_shown(c) { c } else { '\u{fffd}' })
        .take(MAX_LINE + 1)
        .collect();
    if line.chars().count() > MAX_LINE {
        line = line.chars().take(MAX_LINE - 1).collect();
        line.push('…');
    }
    line
}

/// Whether a character is something to see. The debug form escapes every other, but also quotes and
/// backslashes.
fn is_shown(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// A name of a module, quoted and cut, for use in a line.
pub(crate) struct Name<'a>(pub(crate) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_NAME: usize = 80;
        match self.0.char_indices().nth(MAX_NAME) {
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

/// The first few of many things, and how many more there are: `a, b, c and 5 more`.
#[derive(Default)]
pub(crate) struct Few {
    shown: Vec<String>,
    more: usize,
}

impl Few {
    /// Adds a thing; its text is made only if it will be shown.
    pub(crate) fn add(&mut self, text: impl FnOnce() -> String) {
        const SHOWN: usize = 3;
        if self.shown.len() < SHOWN {
            self.shown.push(text());
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shown.is_empty()
    }
}

impl fmt::Display for Few {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown.join(", "))?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_short_harmless_line() {
        assert_eq!(one_line("a\n  b\r\n\tc\n"), "a b c");
        assert_eq!(
            one_line("\u{1b}[2J \u{202e}x\u{0}"),
            "\u{fffd}[2J \u{fffd}x\u{fffd}"
        );
        assert_eq!(one_line("say \"it's\" \\ über"), "say \"it's\" \\ über");
        let long = one_line(&"ä".repeat(5000));
        assert_eq!(long.chars().count(), MAX_LINE);
        assert!(long.ends_with('…'));
        assert_eq!(one_line(&"a".repeat(MAX_LINE)), "a".repeat(MAX_LINE));
    }

    #[test]
    fn names_are_quoted_and_cut() {
        assert_eq!(Name("a\"\n").to_string(), r#""a\"\n""#);
        assert_eq!(
            Name(&"ü".repeat(81)).to_string(),
            format!("\"{}\"…", "ü".repeat(80))
        );
    }

    #[test]
    fn many_things_are_counted() {
        let mut few = Few::default();
        assert!(few.is_empty());
        for n in 0..3 {
            few.add(|| n.to_string());
        }
        assert_eq!(few.to_string(), "0, 1, 2");
        few.add(|| "3".to_owned());
        few.add(|| "4".to_owned());
        assert_eq!(few.to_string(), "0, 1, 2 and 2 more");
    }
}
