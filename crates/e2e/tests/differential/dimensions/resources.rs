//! Limits, as far as the hierarchies of the development host have them: hybrid, with v1 controllers.

use serde_json::json;

use super::{Dimension, many, one};
use crate::case::Draft;
use crate::random::Random;

pub(super) const DIMENSIONS: &[Dimension] = &[
    one("cpu shares", 30, shares),
    one("cpu bandwidth", 35, bandwidth),
    one("cpuset", 25, cpuset),
    one("memory", 45, memory),
    one("swappiness", 15, swappiness),
    one("oom killer", 10, |draft, random| {
        draft.set(
            "/linux/resources/memory/disableOOMKiller",
            random.percent(50),
        );
    }),
    one("pids", 40, pids),
    one("block I/O", 20, block_io),
    one("huge pages", 8, |draft, _| {
        let limit = json!([{ "pageSize": "2MB", "limit": 4 * MIB }]);
        draft.set("/linux/resources/hugepageLimits", limit);
    }),
    one("no device rules", 10, |draft, _| {
        draft.unset("/linux/resources/devices");
    }),
    many(5, "device rule", 35, device_rule),
];

const MIB: i64 = 1 << 20;

fn shares(draft: &mut Draft<'_>, random: &mut Random) {
    let shares = *random.pick(&[2, 100, 512, 1024, 1025, 262_144]);
    draft.set("/linux/resources/cpu/shares", shares);
}

fn bandwidth(draft: &mut Draft<'_>, random: &mut Random) {
    if random.percent(80) {
        let quota = *random.pick(&[-1, 50_000, 100_000, 250_000]);
        draft.set("/linux/resources/cpu/quota", quota);
    }
    if random.percent(60) {
        let period = *random.pick(&[50_000, 100_000, 200_000]);
        draft.set("/linux/resources/cpu/period", period);
    }
    if random.percent(20) {
        draft.set("/linux/resources/cpu/quota", 60_000);
        draft.set("/linux/resources/cpu/burst", *random.pick(&[0, 20_000]));
    }
    if random.percent(10) {
        draft.set("/linux/resources/cpu/idle", random.within(0, 1));
    }
}

fn cpuset(draft: &mut Draft<'_>, random: &mut Random) {
    if random.percent(80) {
        draft.set(
            "/linux/resources/cpu/cpus",
            *random.pick(&["0", "1", "0-1", "0,1", ""]),
        );
    }
    if random.percent(40) {
        draft.set("/linux/resources/cpu/mems", "0");
    }
}

fn memory(draft: &mut Draft<'_>, random: &mut Random) {
    let limit = *random.pick(&[-1, 64 * MIB, 100 * MIB + 1, 512 * MIB]);
    if random.percent(80) {
        draft.set("/linux/resources/memory/limit", limit);
    }
    if random.percent(40) {
        draft.set(
            "/linux/resources/memory/reservation",
            *random.pick(&[-1, 32 * MIB]),
        );
    }
    if random.percent(30) && limit > 0 {
        draft.set("/linux/resources/memory/limit", limit);
        let swap = *random.pick(&[-1, limit, 2 * limit]);
        draft.set("/linux/resources/memory/swap", swap);
    }
    if random.percent(10) {
        draft.set("/linux/resources/memory/kernel", 64 * MIB);
    }
    if random.percent(10) {
        draft.set("/linux/resources/memory/useHierarchy", random.percent(50));
    }
}

fn swappiness(draft: &mut Draft<'_>, random: &mut Random) {
    draft.set("/linux/resources/memory/swappiness", random.within(0, 100));
}

fn pids(draft: &mut Draft<'_>, random: &mut Random) {
    // No fewer than the threads of a Go program, which runc is.
    draft.set(
        "/linux/resources/pids/limit",
        *random.pick(&[-1, 64, 100, 100_000]),
    );
}

fn block_io(draft: &mut Draft<'_>, random: &mut Random) {
    let rate = json!([{ "major": 254, "minor": 0, "rate": 10 * MIB }]);
    match random.below(4) {
        0 => draft.set("/linux/resources/blockIO/throttleReadBpsDevice", rate),
        1 => draft.set("/linux/resources/blockIO/throttleWriteBpsDevice", rate),
        2 => draft.set("/linux/resources/blockIO/throttleReadIOPSDevice", rate),
        _ => draft.set("/linux/resources/blockIO/throttleWriteIOPSDevice", rate),
    }
}

fn device_rule(draft: &mut Draft<'_>, random: &mut Random) {
    if draft.spec.json()["linux"]["resources"]
        .get("devices")
        .is_none()
    {
        return;
    }
    let mut rule = json!({ "allow": random.percent(70) });
    // Never the host's disks.
    let (kind, major, minor) = *random.pick(&[
        ("c", Some(10), Some(200)),
        ("c", Some(10), None),
        ("c", Some(1), Some(5)),
        ("c", Some(1), Some(11)),
        ("c", Some(4), Some(64)),
        ("b", Some(7), None),
        ("c", None, Some(3)),
        ("c", Some(1), Some(-1)),
    ]);
    rule["type"] = kind.into();
    if let Some(major) = major {
        rule["major"] = major.into();
    }
    if let Some(minor) = minor {
        rule["minor"] = minor.into();
    }
    rule["access"] = (*random.pick(&["r", "rw", "rwm", "m", "wm"])).into();
    draft.set("/linux/resources/devices/-", rule);
}
