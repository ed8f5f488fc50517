//! From limits to properties of a unit. Pure.
//!
//! systemd writes the files that it knows whenever it likes (on `daemon-reload`, when a neighbour
//! comes): what it is not told it would reset. So every value that goes into such a file is also a
//! property ([systemd.resource-control(5)][1]), and the files come from the one conversion that all cgroups
//! have. What systemd does not know (`cpu.max.burst`, `io.max` of single devices, huge pages) it leaves
//! alone.
//!
//! [1]: https://www.freedesktop.org/software/systemd/man/latest/systemd.resource-control.html

use super::message::{Property, Value};
use crate::Error;
use crate::convert::{AFTER_DEVICES, BEFORE_DEVICES, Missing, Present, Step, Write};
use crate::routes::Version;
use hull_abi::Resources;

/// "No limit" of every property that is a number, and the weight of a unit that has none.
const INFINITY: u64 = u64::MAX;

/// Length of a period that nobody has set, in µs.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// systemd keeps a quota in whole percent of a second.
const PERCENT_US: u64 = 10_000;

/// CPUs and memory nodes beyond this are no machine's; the set is as long as its largest number.
const MAX_SET: usize = 65_536;

/// The properties that say what `resources` says; each name once.
pub(super) fn properties(
    resources: &Resources,
    present: Present<'_>,
) -> Result<Vec<Property>, Error> {
    let mut properties = Vec::new();
    for controller in BEFORE_DEVICES.iter().chain(&AFTER_DEVICES) {
        for step in (controller.steps)(resources, Version::V2, present)? {
            match step {
                Step::One(write) => of_write(&write, present, &mut properties),
                Step::Together(writes) => {
                    for write in writes {
                        of_write(&write, present, &mut properties);
                    }
                }
            }
        }
    }
    for (file, value) in &resources.unified {
        for line in value.lines() {
            of_file(file, line, present, &mut properties);
        }
    }
    // The last word of several counts, as in the files.
    let mut once: Vec<Property> = Vec::new();
    for (name, value) in properties {
        once.retain(|(other, _)| *other != name);
        once.push((name, value));
    }
    Ok(once)
}

fn of_write(write: &Write, present: Present<'_>, to: &mut Vec<Property>) {
    of_file(&write.file, &write.value, present, to);
    // `io.bfq.weight` is no file that systemd has a word for; it derives the value from `io.weight`.
    if let Missing::Use { file, value } = &write.missing {
        of_file(file, value, present, to);
    }
}

/// A value that the kernel would refuse gives no property: the kernel's own words are the better ones.
fn of_file(file: &str, value: &str, present: Present<'_>, to: &mut Vec<Property>) {
    let value = value.trim();
    let one = |name| move |number| (name, Value::Number(number));
    match file {
        "memory.max" => to.extend(bytes(value).map(one("MemoryMax"))),
        "memory.high" => to.extend(bytes(value).map(one("MemoryHigh"))),
        "memory.low" => to.extend(bytes(value).map(one("MemoryLow"))),
        "memory.min" => to.extend(bytes(value).map(one("MemoryMin"))),
        "memory.swap.max" => to.extend(bytes(value).map(one("MemorySwapMax"))),
        "pids.max" => to.extend(bytes(value).map(one("TasksMax"))),
        "cpu.weight" => to.extend(weight(value).map(one("CPUWeight"))),
        // 0 is systemd's word for it.
        "cpu.idle" if value == "1" => to.push(one("CPUWeight")(0)),
        "cpu.idle" if value == "0" => to.push(one("CPUWeight")(INFINITY)),
        "cpu.max" => to.extend(quota(value, present).into_iter().flatten()),
        "cpuset.cpus" => to.extend(set(value).map(|set| ("AllowedCPUs", Value::Bytes(set)))),
        "cpuset.mems" => {
            to.extend(set(value).map(|set| ("AllowedMemoryNodes", Value::Bytes(set))));
        }
        "io.weight" => {
            let value = value.strip_prefix("default ").unwrap_or(value);
            to.extend(weight(value).map(one("IOWeight")));
        }
        _ => {}
    }
}

fn weight(value: &str) -> Option<u64> {
    value
        .parse()
        .ok()
        .filter(|weight| (1..=10_000).contains(weight))
}

/// A number as the kernel's `memparse` takes it.
fn bytes(value: &str) -> Option<u64> {
    if value == "max" {
        return Some(INFINITY);
    }
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match value.get(digits.len()..)? {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// `cpu.max`: quota and period, of which the second may be left out.
fn quota(value: &str, present: Present<'_>) -> Option<[Property; 2]> {
    let mut words = value.split_whitespace();
    let quota = words.next()?;
    let period = match words.next() {
        Some(word) => word.parse().ok()?,
        None => present("cpu.max")
            .and_then(|now| now.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(DEFAULT_PERIOD_US),
    };
    let per_second = match quota {
        "max" => INFINITY,
        quota => {
            let quota: u128 = quota.parse().ok()?;
            let exact = (quota * 1_000_000).div_ceil(u128::from(period).max(1));
            u64::try_from(exact)
                .ok()?
                .checked_next_multiple_of(PERCENT_US)?
        }
    };
    Some([
        ("CPUQuotaPerSecUSec", Value::Number(per_second)),
        ("CPUQuotaPeriodUSec", Value::Number(period)),
    ])
}

/// A list such as `0-2,7` as a set of bits, the lowest first. A list of a kind that only the kernel
/// knows (`0-7:1/2`) gives none.
fn set(list: &str) -> Option<Vec<u8>> {
    let mut set = Vec::new();
    for range in list.split(',').filter(|range| !range.trim().is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MAX_SET {
            return None;
        }
        for number in first..=last {
            let byte = number / 8;
            if set.len() <= byte {
                set.resize(byte + 1, 0);
            }
            *set.get_mut(byte)? |= 1 << (number % 8);
        }
    }
    Some(set).filter(|set| !set.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_abi::{BlockIo, Cpu, Memory};

    fn show(resources: &Resources, now: &str) -> String {
        let present = |file: &str| (file == "cpu.max" && !now.is_empty()).then(|| now.to_owned());
        let all = properties(resources, &present).unwrap();
        let one = |(name, value): &Property| match value {
            Value::Number(INFINITY) => format!("{name}=max"),
            Value::Number(number) => format!("{name}={number}"),
            Value::Bytes(bytes) => format!("{name}={bytes:?}"),
            Value::Bool(_) | Value::Text(_) | Value::Pids(_) => format!("{name}={value:?}"),
        };
        all.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn cpu(cpu: Cpu) -> Resources {
        Resources {
            cpu,
            ..Resources::default()
        }
    }

    fn unified(files: &[(&str, &str)]) -> Resources {
        let own = |(file, value): &(&str, &str)| ((*file).to_owned(), (*value).to_owned());
        Resources {
            unified: files.iter().map(own).collect(),
            ..Resources::default()
        }
    }

    #[test]
    fn every_limit_that_systemd_knows_is_told() {
        let resources = Resources {
            cpu: Cpu {
                shares: Some(512),
                quota_us: Some(50_000),
                period_us: Some(20_000),
                cpus: Some("0-2,9".to_owned()),
                mems: Some("0".to_owned()),
                ..Cpu::default()
            },
            memory: Memory {
                limit_bytes: Some(100),
                swap_bytes: Some(150),
                reservation_bytes: Some(7),
                ..Memory::default()
            },
            pids: Some(0),
            block_io: BlockIo {
                weight: Some(10),
                ..BlockIo::default()
            },
            ..Resources::default()
        };
        assert_eq!(
            show(&resources, ""),
            "TasksMax=1; MemorySwapMax=50; MemoryMax=100; MemoryLow=7; IOWeight=1; CPUWeight=59; \
             CPUQuotaPerSecUSec=2500000; CPUQuotaPeriodUSec=20000; AllowedCPUs=[7, 2]; \
             AllowedMemoryNodes=[1]"
        );
        assert_eq!(show(&Resources::default(), ""), "");
    }

    #[test]
    fn quota_is_rounded_up_to_whole_percents() {
        let quota = |quota_us, period_us| {
            cpu(Cpu {
                quota_us,
                period_us,
                ..Cpu::default()
            })
        };
        let table = [
            (quota(Some(33_333), Some(100_000)), "", "340000", "100000"),
            (quota(Some(1), Some(1_000_000)), "", "10000", "1000000"),
            (quota(Some(50_000), None), "max 25000", "2000000", "25000"),
            (quota(None, Some(10_000)), "5000 50000", "500000", "10000"),
            (quota(Some(-1), None), "5000 50000", "max", "50000"),
        ];
        for (resources, now, per_second, period) in table {
            assert_eq!(
                show(&resources, now),
                format!("CPUQuotaPerSecUSec={per_second}; CPUQuotaPeriodUSec={period}")
            );
        }
    }

    #[test]
    fn idle_is_a_weight_and_leaving_it_takes_that_away() {
        let idle = |idle, shares| {
            cpu(Cpu {
                idle,
                shares,
                ..Cpu::default()
            })
        };
        assert_eq!(show(&idle(Some(1), Some(512)), ""), "CPUWeight=0");
        assert_eq!(show(&idle(Some(0), None), ""), "CPUWeight=max");
        assert_eq!(show(&idle(Some(0), Some(512)), ""), "CPUWeight=59");
    }

    #[test]
    fn verbatim_files_have_the_last_word() {
        let mut resources = unified(&[
            ("memory.max", "64M"),
            ("memory.high", "max"),
            ("cpu.max", "30000"),
            ("io.weight", "default 77"),
            ("io.max", "8:0 rbps=1"),
            ("pids.max", "many"),
            ("cpuset.cpus", "0-7:1/2"),
        ]);
        resources.memory.limit_bytes = Some(5);
        assert_eq!(
            show(&resources, ""),
            "MemoryMax=67108864; MemoryHigh=max; CPUQuotaPerSecUSec=300000; \
             CPUQuotaPeriodUSec=100000; IOWeight=77"
        );
    }

    #[test]
    fn sets_are_bits_with_the_lowest_first() {
        assert_eq!(set("0"), Some(vec![1]));
        assert_eq!(set("7,8, 17-18"), Some(vec![128, 1, 6]));
        for list in ["", "3-1", "a", "0-99999999", "1-", "-1", "0:1/2"] {
            assert_eq!(set(list), None, "{list}");
        }
    }
}
