//! The kernel's list syntax for processors and NUMA nodes
//! ([cpuset(7)](https://man7.org/linux/man-pages/man7/cpuset.7.html), "List format"): `0-3,7`.

use hull_abi::NumberSet;

/// Parses a list of numbers up to `max`. Blanks around and empty parts are overlooked, as in runc.
///
/// # Errors
/// Why it is no such list.
pub(super) fn parse(text: &str, max: u16) -> Result<NumberSet, String> {
    let mut ranges = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, max, text)?, number(last, max, text)?);
        if first > last {
            return Err(format!("{text:?} has the range {part:?}, which is empty"));
        }
        ranges.push((first, last));
    }
    if ranges.is_empty() {
        return Err(format!("{text:?} lists nothing"));
    }
    Ok(NumberSet { ranges })
}

fn number(part: &str, max: u16, text: &str) -> Result<u16, String> {
    let part = part.trim();
    if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is not a list like \"0-3,7\""));
    }
    part.parse()
        .ok()
        .filter(|number| *number <= max)
        .ok_or_else(|| format!("{part} is more than {max}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let ranges = |text| parse(text, 100).map(|set| set.ranges);
        assert_eq!(ranges("0"), Ok(vec![(0, 0)]));
        assert_eq!(ranges("0-3,7"), Ok(vec![(0, 3), (7, 7)]));
        assert_eq!(ranges(" 1 - 2 ,,100,"), Ok(vec![(1, 2), (100, 100)]));
        for (text, why) in [
            (",", "\",\" lists nothing"),
            ("a", "\"a\" is not a list like \"0-3,7\""),
            ("-1", "\"-1\" is not a list like \"0-3,7\""),
            ("1-", "\"1-\" is not a list like \"0-3,7\""),
            ("+1", "\"+1\" is not a list like \"0-3,7\""),
            ("1-2-3", "\"1-2-3\" is not a list like \"0-3,7\""),
            ("3-1", "\"3-1\" has the range \"3-1\", which is empty"),
            ("0-101", "101 is more than 100"),
            (
                "99999999999999999999",
                "99999999999999999999 is more than 100",
            ),
        ] {
            assert_eq!(ranges(text), Err(why.to_owned()));
        }
    }
}
