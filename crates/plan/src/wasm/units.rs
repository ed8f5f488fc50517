//! Times, sizes and numbers as people write them.

use std::ops::RangeInclusive;

/// Milliseconds in each unit of time.
const TIMES: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
/// A year. Longer ones are mistakes, and every clock can be set to it.
const MAX_TIME: u64 = 365 * 24 * 3_600_000;

/// Bytes in each unit of size: those of Kubernetes' quantities.
const SIZES: [(&str, u64); 9] = [
    ("", 1),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
];

/// `90s`, `500ms`, in milliseconds.
pub(super) fn duration(value: &str, least: u64) -> Result<u64, String> {
    let wrong =
        || format!("{value:?} is not a whole number with a unit of ms, s, m or h, as in \"90s\"");
    let time = number(value, &TIMES).ok_or_else(wrong)?;
    if time < least {
        return Err(format!("{value:?} is no time at all"));
    }
    if time > MAX_TIME {
        return Err(format!("{value:?} is longer than a year"));
    }
    Ok(time)
}

/// `64Mi`, in bytes.
pub(super) fn size(value: &str, allowed: RangeInclusive<u64>) -> Result<u64, String> {
    let wrong = || {
        format!(
            "{value:?} is not a number of bytes, alone or with a unit of k, M, G, T, Ki, Mi, Gi or Ti, \
             as in \"64Mi\""
        )
    };
    let size = number(value, &SIZES).ok_or_else(wrong)?;
    if allowed.contains(&size) {
        return Ok(size);
    }
    let (least, most) = allowed.into_inner();
    if size < least {
        return Err(format!("{value:?} is less than {least} bytes"));
    }
    Err(format!("{value:?} is more than {most} bytes"))
}

/// A whole number from 1 on.
pub(super) fn count(value: &str, most: u32) -> Result<u32, String> {
    number(value, &[("", 1)])
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(|| format!("{value:?} is not a whole number from 1 to {most}"))
}

/// Digits and one of the units.
fn number(value: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (digits, unit) = value.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}
