//! `linux.resources.cpu` without the placement.

use super::{Present, Step, Write, invalid};
use crate::Error;
use crate::routes::Version;
use hull_abi::{Cpu, Resources};

/// Length of a period that nobody has set, in µs.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// Smallest and largest weight of cgroup v1.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

pub(super) fn steps(r: &Resources, version: Version, at: Present<'_>) -> Result<Vec<Step>, Error> {
    match version {
        Version::V1 => Ok(v1(&r.cpu)),
        Version::V2 => v2(&r.cpu, at),
    }
}

fn v1(cpu: &Cpu) -> Vec<Step> {
    let mut steps = Vec::new();
    // A task may only be in a cgroup with realtime budget if it is to run in realtime.
    let period = positive(cpu.realtime_period_us)
        .map(|us| Write::new("cpu.realtimePeriod", "cpu.rt_period_us", us));
    let runtime = cpu
        .realtime_runtime_us
        .filter(|us| *us != 0)
        .map(|us| Write::new("cpu.realtimeRuntime", "cpu.rt_runtime_us", us));
    together(&mut steps, [period, runtime, None]);
    weight_and_idle(cpu, &mut steps, |shares| {
        // Outside of the range the kernel would clip without a word.
        Write::new(
            "cpu.shares",
            "cpu.shares",
            shares.clamp(*SHARES.start(), *SHARES.end()),
        )
    });
    let period =
        positive(cpu.period_us).map(|us| Write::new("cpu.period", "cpu.cfs_period_us", us));
    let quota = quota(cpu).map(|us| {
        Write::new(
            "cpu.quota",
            "cpu.cfs_quota_us",
            us.map_or(-1, u64::cast_signed),
        )
    });
    together(&mut steps, [period, burst(cpu, "cpu.cfs_burst_us"), quota]);
    steps
}

fn v2(cpu: &Cpu, present: Present<'_>) -> Result<Vec<Step>, Error> {
    if cpu.realtime_runtime_us.is_some_and(|us| us != 0)
        || positive(cpu.realtime_period_us).is_some()
    {
        return Err(invalid(
            "cpu.realtimeRuntime",
            "cgroup v2 has no realtime budget",
        ));
    }
    let mut steps = Vec::new();
    weight_and_idle(cpu, &mut steps, |shares| {
        Write::new("cpu.shares", "cpu.weight", weight(shares))
    });
    let max = cpu_max(quota(cpu), positive(cpu.period_us), present)
        .map(|value| Write::new("cpu.quota", "cpu.max", value));
    together(&mut steps, [burst(cpu, "cpu.max.burst"), max, None]);
    Ok(steps)
}

/// An idle cgroup refuses weights: leaving that state comes first, and while in it the weight
/// stays as it is.
fn weight_and_idle(cpu: &Cpu, steps: &mut Vec<Step>, write: impl Fn(u64) -> Write) {
    let idle = cpu
        .idle
        .map(|idle| Write::new("cpu.idle", "cpu.idle", idle));
    let to_idle = cpu.idle.is_some_and(|idle| idle != 0);
    if let Some(idle) = idle.clone().filter(|_| !to_idle) {
        // Linux before 5.15 cannot be idle in the first place.
        steps.push(Step::One(idle.or_skip()));
    }
    if let Some(shares) = positive(cpu.shares).filter(|_| !to_idle) {
        steps.push(Step::One(write(shares)));
    }
    if let Some(idle) = idle.filter(|_| to_idle) {
        steps.push(Step::One(idle));
    }
}

/// The weight of cgroup v2 for the shares of v1: ⌈10^((L² + 125 L) / 612 − 7/34)⌉ with
/// L = log₂ shares, which keeps both ends and the default (2 → 1, 1024 → 100, 262144 → 10000).
/// The kubelet, runc ≥ 1.3.2 and crun ≥ 1.23 compute the same.
pub(super) fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(*SHARES.start(), *SHARES.end());
    let log = f64::from(u32::try_from(shares).unwrap_or(u32::MAX)).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    // A whole number that comes out a hair too large must not be rounded up.
    let weight = (10f64.powf(exponent) - 1e-9).ceil().clamp(1.0, 10_000.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number between 1 and 10000"
    )]
    let weight = weight as u64;
    weight
}

/// `cpu.max` has both numbers in one file: what the request leaves out stays as it is.
fn cpu_max(
    quota: Option<Option<u64>>,
    period: Option<u64>,
    present: Present<'_>,
) -> Option<String> {
    if quota.is_none() && period.is_none() {
        return None;
    }
    let now = present("cpu.max").unwrap_or_default();
    let mut now = now.split_whitespace();
    let (quota_now, period_now) = (now.next(), now.next());
    let quota = match quota {
        Some(Some(us)) => us.to_string(),
        Some(None) => "max".to_owned(),
        None => quota_now.unwrap_or("max").to_owned(),
    };
    let period = match period {
        Some(us) => us.to_string(),
        None => period_now.map_or_else(|| DEFAULT_PERIOD_US.to_string(), str::to_owned),
    };
    Some(format!("{quota} {period}"))
}

/// The quota: `None` leaves it, `Some(None)` is "no limit".
fn quota(cpu: &Cpu) -> Option<Option<u64>> {
    cpu.quota_us
        .filter(|us| *us != 0)
        .map(|us| u64::try_from(us).ok())
}

fn burst(cpu: &Cpu, file: &str) -> Option<Write> {
    let write = cpu.burst_us.map(|us| Write::new("cpu.burst", file, us))?;
    Some(if cpu.burst_us == Some(0) {
        write.or_skip()
    } else {
        write
    })
}

fn positive(value: Option<u64>) -> Option<u64> {
    value.filter(|value| *value > 0)
}

/// Appends the writes that are there as one group.
fn together(steps: &mut Vec<Step>, writes: [Option<Write>; 3]) {
    let writes: Vec<Write> = writes.into_iter().flatten().collect();
    if !writes.is_empty() {
        steps.push(Step::Together(writes));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;

    fn convert(cpu: &Cpu, version: Version, now: &str) -> String {
        let resources = Resources {
            cpu: cpu.clone(),
            ..Resources::default()
        };
        let present = |file: &str| (file == "cpu.max" && !now.is_empty()).then(|| now.to_owned());
        show(&steps(&resources, version, &present).unwrap())
    }

    #[test]
    fn weight_agrees_with_the_kubelet() {
        // From the formula in 50 decimal digits.
        let table = [
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 2),
            (10, 4),
            (102, 17),
            (256, 35),
            (512, 59),
            (1_023, 100),
            (1_024, 100),
            (1_025, 101),
            (2_048, 174),
            (4_096, 303),
            (20_480, 1_134),
            (100_000, 4_340),
            (262_143, 10_000),
            (262_144, 10_000),
            (u64::MAX, 10_000),
        ];
        for (shares, expected) in table {
            assert_eq!(weight(shares), expected, "{shares}");
        }
    }

    #[test]
    fn quota_and_period_fill_each_other_in() {
        let cpu = |quota_us, period_us| Cpu {
            quota_us,
            period_us,
            ..Cpu::default()
        };
        let table = [
            (cpu(None, None), "", "", ""),
            (cpu(Some(0), Some(0)), "max 100000", "", ""),
            (
                cpu(Some(50_000), None),
                "",
                "[cpu.max=50000 100000]",
                "[cpu.cfs_quota_us=50000]",
            ),
            (
                cpu(Some(5_000), None),
                "max 20000",
                "[cpu.max=5000 20000]",
                "[cpu.cfs_quota_us=5000]",
            ),
            (
                cpu(None, Some(9_000)),
                "max 100000",
                "[cpu.max=max 9000]",
                "[cpu.cfs_period_us=9000]",
            ),
            (
                cpu(None, Some(9_000)),
                "7000 8000",
                "[cpu.max=7000 9000]",
                "[cpu.cfs_period_us=9000]",
            ),
            (
                cpu(Some(-1), Some(9_000)),
                "7000 8000",
                "[cpu.max=max 9000]",
                "[cpu.cfs_period_us=9000, cpu.cfs_quota_us=-1]",
            ),
        ];
        for (cpu, now, v2, v1) in table {
            assert_eq!(convert(&cpu, Version::V2, now), v2);
            assert_eq!(convert(&cpu, Version::V1, now), v1);
        }
    }

    #[test]
    fn burst_is_tried_before_and_after_the_quota() {
        let cpu = Cpu {
            quota_us: Some(9),
            burst_us: Some(5),
            ..Cpu::default()
        };
        assert_eq!(
            convert(&cpu, Version::V2, ""),
            "[cpu.max.burst=5, cpu.max=9 100000]"
        );
        assert_eq!(
            convert(&cpu, Version::V1, ""),
            "[cpu.cfs_burst_us=5, cpu.cfs_quota_us=9]"
        );
    }

    #[test]
    fn idle_cgroup_gets_no_weight() {
        let cpu = |idle| Cpu {
            idle,
            shares: Some(1024),
            ..Cpu::default()
        };
        assert_eq!(convert(&cpu(None), Version::V2, ""), "cpu.weight=100");
        assert_eq!(convert(&cpu(Some(1)), Version::V2, ""), "cpu.idle=1");
        assert_eq!(
            convert(&cpu(Some(0)), Version::V2, ""),
            "cpu.idle=0; cpu.weight=100"
        );
        assert_eq!(
            convert(&cpu(Some(0)), Version::V1, ""),
            "cpu.idle=0; cpu.shares=1024"
        );
    }

    #[test]
    fn shares_of_v1_are_clipped_here_and_zero_leaves_them() {
        let cpu = |shares| Cpu {
            shares: Some(shares),
            ..Cpu::default()
        };
        assert_eq!(convert(&cpu(1), Version::V1, ""), "cpu.shares=2");
        assert_eq!(
            convert(&cpu(1_000_000), Version::V1, ""),
            "cpu.shares=262144"
        );
        assert_eq!(convert(&cpu(0), Version::V1, ""), "");
        assert_eq!(convert(&cpu(0), Version::V2, ""), "");
    }

    #[test]
    fn realtime_budget_exists_in_v1_only() {
        let cpu = Cpu {
            realtime_runtime_us: Some(500),
            realtime_period_us: Some(1000),
            ..Cpu::default()
        };
        assert_eq!(
            convert(&cpu, Version::V1, ""),
            "[cpu.rt_period_us=1000, cpu.rt_runtime_us=500]"
        );
        let resources = Resources {
            cpu,
            ..Resources::default()
        };
        assert!(steps(&resources, Version::V2, &|_| None).is_err());
    }
}
