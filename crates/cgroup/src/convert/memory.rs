//! `linux.resources.memory`.

use super::{Present, Step, Write, invalid, number_or_max};
use crate::Error;
use crate::routes::Version;
use hull_abi::{Memory, Resources};

const LIMIT: &str = "memory.limit";
const SWAP: &str = "memory.swap";
const RESERVATION: &str = "memory.reservation";

pub(super) fn steps(r: &Resources, version: Version, at: Present<'_>) -> Result<Vec<Step>, Error> {
    let memory = &r.memory;
    let limit = set(LIMIT, memory.limit_bytes)?;
    let swap = set(SWAP, memory.swap_bytes)?;
    if let (Some(limit @ 0..), Some(swap @ 0..)) = (limit, swap)
        && swap < limit
    {
        return Err(invalid(
            SWAP,
            format!("memory and swap ({swap}) is less than memory ({limit})"),
        ));
    }
    if let Some(limit @ 0..) = limit.filter(|_| memory.check_before_update) {
        refuse_below_usage(limit, version, at)?;
    }
    let mut steps = match version {
        Version::V1 => limits_v1(limit, swap),
        Version::V2 => limits_v2(limit, swap)?,
    };
    if let Some(reservation) = set(RESERVATION, memory.reservation_bytes)? {
        let file = match version {
            Version::V1 => "memory.soft_limit_in_bytes",
            Version::V2 => "memory.low",
        };
        let value = number_or_max(reservation, version);
        steps.push(Step::One(Write::new(RESERVATION, file, value)));
    }
    match version {
        Version::V1 => v1_only(memory, &mut steps)?,
        Version::V2 => refuse_v1_only(memory)?,
    }
    Ok(steps)
}

/// The kernel of v2 would kill to get below a new limit, that of v1 first push out what it can.
fn refuse_below_usage(limit: i64, version: Version, present: Present<'_>) -> Result<(), Error> {
    let file = match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    let usage = present(file).and_then(|text| text.trim().parse::<i64>().ok());
    match usage.filter(|usage| *usage > limit) {
        Some(usage) => {
            let reason = format!("{limit} is below the current usage, {usage}");
            Err(invalid(LIMIT, reason))
        }
        None => Ok(()),
    }
}

/// The kernel refuses a limit above the limit of memory and swap together: which of the two is
/// first depends on whether they grow.
fn limits_v1(limit: Option<i64>, swap: Option<i64>) -> Vec<Step> {
    let mut writes = Vec::new();
    if let Some(limit) = limit {
        let value = number_or_max(limit, Version::V1);
        writes.push(Write::new(LIMIT, "memory.limit_in_bytes", value));
    }
    // No limit for memory but one for the sum would be no use to anyone; runc lifts it too.
    let implied = (limit == Some(-1)).then_some(-1);
    if let Some(swap) = swap.or(implied) {
        let write = Write::new(
            SWAP,
            "memory.memsw.limit_in_bytes",
            number_or_max(swap, Version::V1),
        );
        // Where the kernel counts no swap, neither "none" nor "as much as you like" needs a file.
        let is_any_or_none = swap < 0 || limit == Some(swap);
        writes.push(if is_any_or_none {
            write.or_skip()
        } else {
            write
        });
    }
    if writes.is_empty() {
        Vec::new()
    } else {
        vec![Step::Together(writes)]
    }
}

fn limits_v2(limit: Option<i64>, swap: Option<i64>) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    if let Some(bytes) = swap_alone(limit, swap)? {
        let write = Write::new(SWAP, "memory.swap.max", number_or_max(bytes, Version::V2));
        // Where the kernel counts no swap, neither "none" nor "as much as you like" needs a file.
        steps.push(Step::One(if bytes <= 0 { write.or_skip() } else { write }));
    }
    if let Some(limit) = limit {
        let value = number_or_max(limit, Version::V2);
        steps.push(Step::One(Write::new(LIMIT, "memory.max", value)));
    }
    Ok(steps)
}

/// cgroup v2 limits swap by itself, the spec the sum.
fn swap_alone(limit: Option<i64>, swap: Option<i64>) -> Result<Option<i64>, Error> {
    match (limit, swap) {
        (Some(-1), None) | (_, Some(-1)) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (Some(limit @ 0..), Some(swap)) => Ok(Some(swap.saturating_sub(limit))),
        (_, Some(_)) => Err(invalid(SWAP, "a limit for swap needs one for memory")),
    }
}

fn v1_only(memory: &Memory, steps: &mut Vec<Step>) -> Result<(), Error> {
    if let Some(swappiness) = memory.swappiness {
        if swappiness > 100 {
            return Err(invalid(
                "memory.swappiness",
                format!("{swappiness} is not in 0 to 100"),
            ));
        }
        steps.push(Step::One(Write::new(
            "memory.swappiness",
            "memory.swappiness",
            swappiness,
        )));
    }
    if let Some(disabled) = memory.disable_oom_killer {
        let value = u8::from(disabled);
        let write = Write::new("memory.disableOOMKiller", "memory.oom_control", value);
        // Where the kernel cannot switch it off, it is on.
        steps.push(Step::One(if disabled { write } else { write.or_skip() }));
    }
    Ok(())
}

/// Dropping these in silence, as runc does, would break a promise to the user.
fn refuse_v1_only(memory: &Memory) -> Result<(), Error> {
    if memory.swappiness.is_some() {
        return Err(invalid("memory.swappiness", "cgroup v2 has no swappiness"));
    }
    if memory.disable_oom_killer == Some(true) {
        return Err(invalid(
            "memory.disableOOMKiller",
            "cgroup v2 cannot disable the OOM killer",
        ));
    }
    Ok(())
}

/// A value that is to be written; 0 leaves what is there.
fn set(limit: &'static str, value: Option<i64>) -> Result<Option<i64>, Error> {
    match value {
        Some(value) if value < -1 => {
            Err(invalid(limit, format!("{value} is not a number of bytes")))
        }
        Some(0) | None => Ok(None),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;

    fn convert(memory: Memory, version: Version) -> Result<String, Error> {
        let resources = Resources {
            memory,
            ..Resources::default()
        };
        let file_of_usage = match version {
            Version::V1 => "memory.usage_in_bytes",
            Version::V2 => "memory.current",
        };
        let usage = |file: &str| (file == file_of_usage).then(|| "5000\n".to_owned());
        steps(&resources, version, &usage).map(|steps| show(&steps))
    }

    fn sizes(limit: Option<i64>, swap: Option<i64>) -> Memory {
        Memory {
            limit_bytes: limit,
            swap_bytes: swap,
            ..Memory::default()
        }
    }

    #[test]
    fn limit_and_swap_are_those_of_the_version() {
        let table = [
            (None, None, "", ""),
            (Some(0), Some(0), "", ""),
            (
                Some(100),
                None,
                "memory.max=100",
                "[memory.limit_in_bytes=100]",
            ),
            (
                Some(100),
                Some(150),
                "memory.swap.max=50; memory.max=100",
                "[memory.limit_in_bytes=100, memory.memsw.limit_in_bytes=150]",
            ),
            (
                Some(100),
                Some(100),
                "memory.swap.max=0; memory.max=100",
                "[memory.limit_in_bytes=100, memory.memsw.limit_in_bytes=100]",
            ),
            (
                Some(100),
                Some(-1),
                "memory.swap.max=max; memory.max=100",
                "[memory.limit_in_bytes=100, memory.memsw.limit_in_bytes=-1]",
            ),
            (
                Some(-1),
                None,
                "memory.swap.max=max; memory.max=max",
                "[memory.limit_in_bytes=-1, memory.memsw.limit_in_bytes=-1]",
            ),
            (
                None,
                Some(-1),
                "memory.swap.max=max",
                "[memory.memsw.limit_in_bytes=-1]",
            ),
        ];
        for (limit, swap, v2, v1) in table {
            assert_eq!(convert(sizes(limit, swap), Version::V2).unwrap(), v2);
            assert_eq!(convert(sizes(limit, swap), Version::V1).unwrap(), v1);
        }
    }

    #[test]
    fn impossible_sums_are_refused() {
        assert!(convert(sizes(Some(100), Some(99)), Version::V1).is_err());
        assert!(convert(sizes(Some(100), Some(99)), Version::V2).is_err());
        assert!(convert(sizes(None, Some(99)), Version::V2).is_err());
        assert!(convert(sizes(Some(-1), Some(99)), Version::V2).is_err());
        assert!(convert(sizes(Some(-2), None), Version::V2).is_err());
    }

    #[test]
    fn reservation_is_low_or_soft() {
        let memory = Memory {
            reservation_bytes: Some(7),
            ..Memory::default()
        };
        assert_eq!(
            convert(memory.clone(), Version::V2).unwrap(),
            "memory.low=7"
        );
        assert_eq!(
            convert(memory, Version::V1).unwrap(),
            "memory.soft_limit_in_bytes=7"
        );
    }

    #[test]
    fn limit_below_the_usage_is_refused_when_asked() {
        let memory = |limit, check_before_update| Memory {
            check_before_update,
            ..sizes(Some(limit), Some(6000))
        };
        for version in [Version::V1, Version::V2] {
            let error = convert(memory(4999, true), version).unwrap_err();
            assert_eq!(
                error.to_string(),
                "memory.limit: 4999 is below the current usage, 5000"
            );
            for (limit, check) in [(4999, false), (5000, true)] {
                assert!(convert(memory(limit, check), version).is_ok());
            }
            let unlimited = Memory {
                check_before_update: true,
                ..sizes(Some(-1), None)
            };
            assert!(convert(unlimited, version).is_ok());
        }
    }

    #[test]
    fn what_only_v1_has_is_refused_in_v2() {
        let memory = Memory {
            swappiness: Some(0),
            disable_oom_killer: Some(true),
            ..Memory::default()
        };
        assert_eq!(
            convert(memory.clone(), Version::V1).unwrap(),
            "memory.swappiness=0; memory.oom_control=1"
        );
        assert!(convert(memory, Version::V2).is_err());
        let killer_is_on = || Memory {
            disable_oom_killer: Some(false),
            ..Memory::default()
        };
        assert_eq!(
            convert(killer_is_on(), Version::V1).unwrap(),
            "memory.oom_control=0"
        );
        assert_eq!(convert(killer_is_on(), Version::V2).unwrap(), "");
        let memory = Memory {
            swappiness: Some(101),
            ..Memory::default()
        };
        assert!(convert(memory, Version::V1).is_err());
    }
}
