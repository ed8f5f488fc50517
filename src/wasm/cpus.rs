//! How many processors a container may use at once. Pure.

use hull_abi::Resources;

/// The kernel's period of a quota of processor time, in microseconds.
const DEFAULT_PERIOD: u64 = 100_000;

/// Processors that the limits leave, rounded up; those of the machine where there is no limit, which the
/// runner knows better. A limit of processes leaves one thread less for each that it lacks.
pub(super) fn cpus(resources: &Resources) -> u32 {
    let by_name = |name: &str| {
        let file = resources.unified.iter().find(|(file, _)| file == name);
        file.map(|(_, value)| value.as_str())
    };
    let time = match by_name("cpu.max") {
        Some(value) => {
            let mut numbers = value.split_ascii_whitespace().map(str::parse::<u64>);
            let quota = numbers.next().and_then(Result::ok);
            let period = numbers.next().and_then(Result::ok);
            quota.map(|quota| (quota, period.unwrap_or(DEFAULT_PERIOD)))
        }
        None => {
            let quota = resources.cpu.quota_us.and_then(|us| u64::try_from(us).ok());
            let period = resources.cpu.period_us.filter(|period| *period > 0);
            quota
                .filter(|quota| *quota > 0)
                .map(|quota| (quota, period.unwrap_or(DEFAULT_PERIOD)))
        }
    };
    let by_time = time.map_or(u64::MAX, |(quota, period)| quota.div_ceil(period.max(1)));
    let set = by_name("cpuset.cpus").or(resources.cpu.cpus.as_deref());
    let by_set = set.and_then(members).unwrap_or(u64::MAX);
    // A server with several threads has one more, which waits; and somebody may want to look into the
    // container.
    let processes = match by_name("pids.max") {
        Some(value) => value.trim().parse().ok(),
        None => resources.pids.and_then(|limit| u64::try_from(limit).ok()),
    };
    let by_processes = processes.filter(|limit| *limit > 0);
    let by_processes = by_processes.map_or(u64::MAX, |limit| limit.saturating_sub(2));
    let cpus = by_time.min(by_set).min(by_processes).max(1);
    u32::try_from(cpus).unwrap_or(u32::MAX)
}

/// How many are in a set of numbers like `0-3,7`; `None` where it is empty or no such set.
fn members(set: &str) -> Option<u64> {
    let mut count = 0_u64;
    for part in set.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_as_many_as_every_limit_leaves() {
        let mut resources = Resources::default();
        assert_eq!(cpus(&resources), u32::MAX);
        for (quota, period, expected) in [
            (Some(50_000), None, 1),
            (Some(100_000), Some(100_000), 1),
            (Some(150_000), None, 2),
            (Some(400_000), Some(100_000), 4),
            (Some(-1), None, u32::MAX),
        ] {
            resources.cpu.quota_us = quota;
            resources.cpu.period_us = period;
            assert_eq!(cpus(&resources), expected, "{quota:?} {period:?}");
        }
        resources.cpu.cpus = Some("0-2,8".to_owned());
        assert_eq!(cpus(&resources), 4);
        resources.pids = Some(4);
        assert_eq!(cpus(&resources), 2);
        resources.pids = Some(1);
        assert_eq!(cpus(&resources), 1);
        resources.pids = Some(-1);
        let mut with_file = |file: &str, value: &str| {
            resources.unified = vec![(file.to_owned(), value.to_owned())];
            cpus(&resources)
        };
        assert_eq!(with_file("cpu.max", "250000 100000"), 3);
        assert_eq!(with_file("cpu.max", "max 100000"), 4);
        assert_eq!(with_file("cpuset.cpus", "5"), 1);
        assert_eq!(with_file("cpuset.cpus", ""), u32::MAX);
        assert_eq!(with_file("pids.max", "3"), 1);
    }
}
