//! `linux.resources.blockIO`.

use super::{Present, Step, Write, invalid};
use crate::Error;
use crate::routes::Version;
use hull_abi::{Resources, ThrottleDevice, ThrottleKind};

const WEIGHT: &str = "blockIO.weight";
const WEIGHT_DEVICE: &str = "blockIO.weightDevice";

pub(super) fn steps(r: &Resources, version: Version, _: Present<'_>) -> Result<Vec<Step>, Error> {
    let block_io = &r.block_io;
    let mut steps = Vec::new();
    if let Some(weight) = block_io.weight.filter(|weight| *weight != 0) {
        let weight = checked(WEIGHT, weight)?;
        let write = match version {
            Version::V1 => {
                Write::new(WEIGHT, "blkio.bfq.weight", weight).or_use("blkio.weight", weight)
            }
            Version::V2 => {
                Write::new(WEIGHT, "io.bfq.weight", weight).or_use("io.weight", io_weight(weight))
            }
        };
        steps.push(Step::One(write));
    }
    for device in block_io
        .weight_devices
        .iter()
        .filter(|device| device.weight != 0)
    {
        let weight = checked(WEIGHT_DEVICE, device.weight)?;
        let value = |weight: u64| format!("{}:{} {weight}", device.major, device.minor);
        let write = match version {
            Version::V1 => Write::new(WEIGHT_DEVICE, "blkio.bfq.weight_device", value(weight))
                .or_use("blkio.weight_device", value(weight)),
            Version::V2 => Write::new(WEIGHT_DEVICE, "io.bfq.weight", value(weight))
                .or_use("io.weight", value(io_weight(weight))),
        };
        steps.push(Step::One(write));
    }
    steps.extend(
        block_io
            .throttles
            .iter()
            .map(|throttle| Step::One(limit(throttle, version))),
    );
    Ok(steps)
}

/// A rate of 0 takes the limit away in both versions.
fn limit(device: &ThrottleDevice, version: Version) -> Write {
    let write = rate(device, version);
    if device.rate == 0 {
        write.or_skip()
    } else {
        write
    }
}

fn rate(device: &ThrottleDevice, version: Version) -> Write {
    let (name, file, key) = match device.kind {
        ThrottleKind::ReadBps => ("throttleReadBpsDevice", "read_bps_device", "rbps"),
        ThrottleKind::WriteBps => ("throttleWriteBpsDevice", "write_bps_device", "wbps"),
        ThrottleKind::ReadIops => ("throttleReadIOPSDevice", "read_iops_device", "riops"),
        ThrottleKind::WriteIops => ("throttleWriteIOPSDevice", "write_iops_device", "wiops"),
    };
    let ThrottleDevice {
        major, minor, rate, ..
    } = device;
    match (version, rate) {
        (Version::V1, rate) => Write::new(
            name,
            &format!("blkio.throttle.{file}"),
            format!("{major}:{minor} {rate}"),
        ),
        (Version::V2, 0) => Write::new(name, "io.max", format!("{major}:{minor} {key}=max")),
        (Version::V2, rate) => Write::new(name, "io.max", format!("{major}:{minor} {key}={rate}")),
    }
}

fn checked(limit: &'static str, weight: u16) -> Result<u64, Error> {
    if (10..=1000).contains(&weight) {
        Ok(weight.into())
    } else {
        Err(invalid(limit, format!("{weight} is not in 10 to 1000")))
    }
}

/// From 10–1000 to the 1–10000 of `io.weight`, linearly as runc does.
fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    use super::super::testing::show;
    use super::*;
    use hull_abi::{BlockIo, WeightDevice};

    fn convert(block_io: BlockIo, version: Version) -> Result<Vec<Step>, Error> {
        let resources = Resources {
            block_io,
            ..Resources::default()
        };
        steps(&resources, version, &|_| None)
    }

    #[test]
    fn weight_of_v2_is_stretched_where_bfq_is_missing() {
        for (weight, expected) in [(10, 1), (100, 910), (500, 4950), (1000, 10_000)] {
            let steps = convert(
                BlockIo {
                    weight: Some(weight),
                    ..BlockIo::default()
                },
                Version::V2,
            );
            let write = Write::new(WEIGHT, "io.bfq.weight", weight).or_use("io.weight", expected);
            assert_eq!(steps.unwrap(), [Step::One(write)]);
        }
    }

    #[test]
    fn weight_out_of_range_is_refused_and_zero_left() {
        for weight in [1, 9, 1001] {
            let block_io = BlockIo {
                weight: Some(weight),
                ..BlockIo::default()
            };
            assert!(convert(block_io, Version::V1).is_err());
        }
        let block_io = BlockIo {
            weight: Some(0),
            ..BlockIo::default()
        };
        assert_eq!(convert(block_io, Version::V1).unwrap(), []);
    }

    #[test]
    fn devices_have_their_own_lines() {
        let throttle = |kind, rate| ThrottleDevice {
            kind,
            major: 8,
            minor: 16,
            rate,
        };
        let block_io = BlockIo {
            weight_devices: vec![WeightDevice {
                major: 8,
                minor: 0,
                weight: 300,
            }],
            throttles: vec![
                throttle(ThrottleKind::ReadBps, 1_048_576),
                throttle(ThrottleKind::WriteIops, 0),
            ],
            ..BlockIo::default()
        };
        assert_eq!(
            show(&convert(block_io.clone(), Version::V1).unwrap()),
            "blkio.bfq.weight_device=8:0 300; blkio.throttle.read_bps_device=8:16 1048576; \
             blkio.throttle.write_iops_device=8:16 0"
        );
        assert_eq!(
            show(&convert(block_io, Version::V2).unwrap()),
            "io.bfq.weight=8:0 300; io.max=8:16 rbps=1048576; io.max=8:16 wiops=max"
        );
    }
}
