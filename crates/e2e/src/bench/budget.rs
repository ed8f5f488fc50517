//! Targets and budgets as `docs/performance.md` states them: `≤ 0.40`, `≥ 4`, `≤ 6 ms`.

/// A limit of one measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bound {
    value: f64,
    at_most: bool,
}

impl Bound {
    /// Reads a cell; nothing where it states no limit (`–`).
    pub(super) fn parse(cell: &str) -> Option<Self> {
        let cell = cell.trim();
        let (at_most, rest) = match cell.strip_prefix('≤') {
            Some(rest) => (true, rest),
            None => (false, cell.strip_prefix('≥')?),
        };
        let word = rest.split_whitespace().next()?;
        let value = word.replace(',', "").parse().ok()?;
        Some(Self { value, at_most })
    }

    /// Whether a value is within it.
    pub(super) fn holds(self, value: f64) -> bool {
        if self.at_most {
            value <= self.value
        } else {
            value >= self.value
        }
    }
}

/// The cells of a line of a Markdown table; nothing if it is none.
pub(super) fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_with_units_and_thousands() {
        let bound = |value, at_most| Some(Bound { value, at_most });
        assert_eq!(Bound::parse("≤ 0.40"), bound(0.4, true));
        assert_eq!(Bound::parse(" ≥ 4 "), bound(4.0, false));
        assert_eq!(Bound::parse("≤ 1,536 KiB"), bound(1536.0, true));
        assert_eq!(Bound::parse("–"), None);
        assert_eq!(Bound::parse("≤ as little as possible"), None);
    }

    #[test]
    fn bounds_include_their_value() {
        let (most, least) = (Bound::parse("≤ 2").unwrap(), Bound::parse("≥ 2").unwrap());
        assert_eq!(
            [1.9, 2.0, 2.1].map(|value| most.holds(value)),
            [true, true, false]
        );
        assert_eq!(
            [1.9, 2.0, 2.1].map(|value| least.holds(value)),
            [false, true, true]
        );
        assert!(!most.holds(f64::NAN) && !least.holds(f64::NAN));
    }

    #[test]
    fn cells_are_trimmed() {
        assert_eq!(cells("| a | `b` | |"), Some(vec!["a", "`b`", ""]));
        assert_eq!(cells("text"), None);
    }
}
