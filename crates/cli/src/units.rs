//! Sizes and ages as people write and read them.

use std::time::Duration;

/// Letters of the powers of 1024.
const LETTERS: [char; 4] = ['k', 'm', 'g', 't'];
/// Their names.
const SIZES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
/// Letters of the units of time with their seconds.
const TIMES: [(char, u64); 5] = [
    ('s', 1),
    ('m', 60),
    ('h', 3600),
    ('d', 86_400),
    ('w', 604_800),
];

/// Reads a number of bytes: `512`, `64k`, `128m`, `1.5g`, `1GiB`; letters mean powers of 1024.
///
/// # Errors
/// What is wrong with it, to follow the text.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let bad = || "expected a number of bytes such as 512, 64k, 128m or 1.5g".to_owned();
    let lower = text.to_ascii_lowercase();
    let end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit
        .strip_suffix("ib")
        .or(unit.strip_suffix('b'))
        .unwrap_or(unit);
    let mut letters = unit.chars();
    let power = match (letters.next(), letters.next()) {
        (None, _) => 0,
        (Some(letter), None) => {
            1 + LETTERS
                .iter()
                .position(|known| *known == letter)
                .ok_or_else(bad)?
        }
        (Some(_), Some(_)) => return Err(bad()),
    };
    let factor = 1_u64 << (10 * power);
    scaled(number, factor).ok_or_else(bad)
}

/// Reads an age: `90s`, `30m`, `12h`, `30d`, `2w`.
///
/// # Errors
/// What is wrong with it, to follow the text.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let bad = || "expected an age such as 90s, 30m, 12h, 30d or 2w".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let (_, factor) = TIMES
        .into_iter()
        .find(|(letter, _)| *letter == unit)
        .ok_or_else(bad)?;
    let number = text.strip_suffix(unit).unwrap_or_default();
    scaled(number, factor)
        .map(Duration::from_secs)
        .ok_or_else(bad)
}

/// A decimal number times a factor, rounded down.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let unit = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let part = u128::from(fraction.parse::<u64>().ok()?) * u128::from(factor) / u128::from(unit);
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// A size to be read at a glance: three digits.
pub(crate) fn bytes(size: u64) -> String {
    let mut names = SIZES.into_iter();
    let mut name = names.next().unwrap_or_default();
    let mut unit = 1_u64;
    for larger in names {
        // What would be shown as 1024 of a unit is 1.0 of the next one.
        if u128::from(size) * 2 < u128::from(unit) * 2047 {
            break;
        }
        (name, unit) = (larger, unit << 10);
    }
    let tenths = (u128::from(size) * 10 + u128::from(unit) / 2) / u128::from(unit);
    if unit == 1 || tenths >= 100 {
        let whole = (u128::from(size) + u128::from(unit) / 2) / u128::from(unit);
        format!("{whole} {name}")
    } else {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    }
}

/// A size at a glance, and to the byte where that says more.
pub(crate) fn exact_bytes(size: u64) -> String {
    match size {
        0..1024 => format!("{size} B"),
        _ => format!("{} ({size})", bytes(size)),
    }
}

/// An age to be read at a glance: the largest unit of which there are at least two.
pub(crate) fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let fits = TIMES.into_iter().rev().filter(|(letter, _)| *letter != 'w');
    let (letter, unit) = fits
        .into_iter()
        .find(|(_, unit)| seconds >= unit * 2)
        .unwrap_or(('s', 1));
    format!("{}{letter}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, size) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("128m", 128 << 20),
            ("1.5g", 3 << 29),
            ("1GiB", 1 << 30),
            ("2gb", 2 << 30),
            ("16777215t", 16_777_215 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(size), "{text}");
        }
        for bad in [
            "",
            "g",
            "-1",
            "1x",
            "1kk",
            "1.g",
            ".5g",
            "1.2.3",
            "16777216t",
            "1 g",
            "0x10",
            "1e3",
        ] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ages_are_read() {
        for (text, seconds) in [
            ("0s", 0),
            ("90s", 90),
            ("30m", 1800),
            ("1.5h", 5400),
            ("30d", 30 * 86_400),
            ("2w", 14 * 86_400),
        ] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "30",
            "d",
            "-1d",
            "1 d",
            "1y",
            "30D",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_with_three_digits() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 10, "10 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (128 << 20, "128 MiB"),
            (3 << 29, "1.5 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(exact_bytes(1000), "1000 B");
        assert_eq!(exact_bytes(128 << 20), "128 MiB (134217728)");
    }

    #[test]
    fn ages_are_shown_in_the_largest_unit() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (7199, "119m"),
            (7200, "2h"),
            (86_400 * 2, "2d"),
            (86_400 * 400, "400d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
