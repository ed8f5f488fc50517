//! How answers for people are laid out: sections of rows whose columns line up, wrapped and coloured
//! where a terminal shows them. Where none does, each row stays one line, for grep.

use std::io::{self, IsTerminal as _};

/// Narrower terminals get overlong lines instead of columns of single words.
const MIN_WIDTH: usize = 60;
/// Longer lines are hard to read.
const MAX_WIDTH: usize = 110;
/// For terminals that do not know their width.
const USUAL_WIDTH: usize = 80;
/// The last column never gets narrower than this.
const MIN_TEXT: usize = 24;
/// Between two columns.
const GAP: usize = 2;

/// Where an answer is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    /// Columns; `None` where lines have no end.
    width: Option<usize>,
    colour: bool,
}

/// What a cell means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Heading,
    Faint,
    Good,
    Doubtful,
    Bad,
}

/// One piece of a row. What could make a terminal do anything but show it is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

/// A row; all cells but the last one stand in columns.
pub(crate) type Row = Vec<Cell>;

// === impl Paint, Cell ===

impl Paint {
    /// The parameter of ECMA-48's "select graphic rendition".
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Heading => Some("1"),
            Self::Faint => Some("2"),
            Self::Good => Some("32"),
            Self::Doubtful => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

impl Cell {
    pub(crate) fn new(text: impl AsRef<str>, paint: Paint) -> Self {
        let mut shown = String::new();
        for c in text.as_ref().chars() {
            // Control characters, and those that turn the direction of writing around.
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        Self { text: shown, paint }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Paint::Plain)
    }
}

// === impl Screen ===

impl Screen {
    /// What standard output is.
    pub(crate) fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self {
                width: None,
                colour: false,
            };
        }
        let columns = match hull_sys::pty::size(&stdout) {
            Ok((columns, _)) if columns != 0 => usize::from(columns),
            Ok(_) | Err(_) => USUAL_WIDTH,
        };
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        Self {
            width: Some(columns.clamp(MIN_WIDTH, MAX_WIDTH)),
            colour: !dumb && set("NO_COLOR").is_none(),
        }
    }

    /// Whatever takes lines of any length: standard error, which is often a file.
    pub(crate) fn endless() -> Self {
        Self {
            width: None,
            colour: false,
        }
    }

    /// A screen of this width, without colours.
    #[cfg(test)]
    pub(crate) fn plain(width: Option<usize>) -> Self {
        Self {
            width,
            colour: false,
        }
    }

    /// The rows below each other, each with a line feed.
    pub(crate) fn rows(&self, rows: &[Row]) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in rows {
            let columns = row.split_last().map_or(&[][..], |(_, columns)| columns);
            for (at, cell) in columns.iter().enumerate() {
                match widths.get_mut(at) {
                    Some(width) => *width = cell.width().max(*width),
                    None => widths.push(cell.width()),
                }
            }
        }
        rows.iter().map(|row| self.row(row, &widths)).collect()
    }

    fn row(&self, row: &Row, widths: &[usize]) -> String {
        let Some((last, columns)) = row.split_last() else {
            return "\n".to_owned();
        };
        let mut line = String::new();
        let mut start = 0;
        for (cell, width) in columns.iter().zip(widths) {
            line.push_str(&self.painted(&cell.text, cell.paint));
            let missing = width.saturating_sub(cell.width()) + GAP;
            line.push_str(&" ".repeat(missing));
            start += width + GAP;
        }
        let room = self.width.map(|width| width.saturating_sub(start));
        let mut pieces = match room {
            Some(room) => wrap(last.text.trim_end(), room.max(MIN_TEXT)),
            None => vec![last.text.clone()],
        }
        .into_iter();
        let first = pieces.next().unwrap_or_default();
        line.push_str(&self.painted(&first, last.paint));
        let mut text = line.trim_end().to_owned();
        for piece in pieces {
            text.push('\n');
            text.push_str(&" ".repeat(start));
            text.push_str(&self.painted(&piece, last.paint));
        }
        text.push('\n');
        text
    }

    fn painted(&self, text: &str, paint: Paint) -> String {
        match paint.code() {
            Some(code) if self.colour && !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// Where to cut a word of which this much fits: after the last slash or comma, else where it must be.
fn cut(word: &[char], room: usize) -> usize {
    let fits = word.get(..room).unwrap_or(word);
    let slash = fits.iter().rposition(|c| ['/', ','].contains(c));
    match slash {
        // A slash at the very beginning is no place to cut.
        Some(at) if at > 0 => at + 1,
        Some(_) | None => room.max(1).min(word.len()),
    }
}

/// Breaks a text at blanks; words that are too long are cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let blank = usize::from(!line.is_empty());
        if used + blank + word.len() > width && used > 0 {
            lines.push(std::mem::take(&mut line));
            used = 0;
        } else if blank == 1 {
            line.push(' ');
            used += 1;
        }
        while used + word.len() > width {
            let rest = word.split_off(cut(&word, width.saturating_sub(used)));
            line.extend(word);
            lines.push(std::mem::take(&mut line));
            used = 0;
            word = rest;
        }
        used += word.len();
        line.extend(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(Cell::from).collect()
    }

    #[test]
    fn columns_line_up_and_the_last_one_is_wrapped() {
        let rows = [
            row(&["a", "name", &"word ".repeat(12)]),
            row(&["longer", "n", "short"]),
            row(&["heading that is longer than any column"]),
        ];
        let text = Screen::plain(Some(40)).rows(&rows);
        let want = "\
a       name  word word word word word
              word word word word word
              word word
longer  n     short
heading that is longer than any column
";
        assert_eq!(text, want);
        let unbroken = Screen::plain(None).rows(&rows);
        assert_eq!(unbroken.lines().count(), 3);
    }

    #[test]
    fn words_that_are_too_long_are_cut() {
        assert_eq!(wrap("ab cdefghij", 4), ["ab", "cdef", "ghij"]);
        assert_eq!(wrap("abcdefgh", 4), ["abcd", "efgh"]);
        assert_eq!(wrap("/ab/cd/efghijkl", 5), ["/ab/", "cd/", "efghi", "jkl"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("a b", 4), ["a b"]);
    }

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let cell = Cell::from("a\x1b[2J\u{202e}\nb\u{9b}é");
        assert_eq!(cell.text, "a\\u{1b}[2J\\u{202e}\\nb\\u{9b}é");
        let screen = Screen {
            width: None,
            colour: true,
        };
        let text = screen.rows(&[vec![Cell::new("ok", Paint::Good), "x".into()]]);
        assert_eq!(text, "\x1b[32mok\x1b[0m  x\n");
    }
}
