//! `linux.resources` and `linux.cgroupsPath`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#control-groups>).

use crate::{Invalid, device_rules, interfaces};
use hull_abi::{
    BlockIo, Cpu, HugepageLimit, Memory, Resources, ThrottleDevice, ThrottleKind, WeightDevice,
};
use oci_spec::runtime as oci;

/// Where messages say that a value was found.
const FIELD: &str = "linux.resources";

fn at(name: &str) -> String {
    format!("{FIELD}.{name}")
}

/// Everything but the device rules.
pub(crate) fn lower(
    given: &oci::LinuxResources,
    warnings: &mut Vec<String>,
) -> Result<Resources, Invalid> {
    Ok(Resources {
        cpu: given
            .cpu()
            .as_ref()
            .map(cpu)
            .transpose()?
            .unwrap_or_default(),
        memory: match given.memory() {
            Some(given) => memory(given, warnings)?,
            None => Memory::default(),
        },
        pids: given
            .pids()
            .map(|pids| pids_limit(pids.limit(), warnings))
            .transpose()?,
        block_io: match given.block_io() {
            Some(given) => block_io(given, warnings)?,
            None => BlockIo::default(),
        },
        hugepages: hugepages(given)?,
        rdma: interfaces::rdma(given)?,
        network: interfaces::network(given)?,
        unified: unified(given)?,
        devices: None,
    })
}

/// The rules that a new container gets, given or not.
pub(crate) fn device_rules_of(
    given: Option<&oci::LinuxResources>,
) -> Result<Vec<hull_abi::DeviceRule>, Invalid> {
    let rules = given
        .and_then(|given| given.devices().as_deref())
        .unwrap_or_default();
    device_rules::lower(rules, &at("devices"))
}

fn cpu(given: &oci::LinuxCpu) -> Result<Cpu, Invalid> {
    if let Some(idle) = given.idle().filter(|idle| !(0..=1).contains(idle)) {
        return Err(Invalid::new(
            at("cpu.idle"),
            format!("{idle} is not 0 or 1"),
        ));
    }
    Ok(Cpu {
        shares: given.shares(),
        quota_us: given.quota(),
        // Go writes the absent period as 0.
        period_us: given.period().filter(|period| *period != 0),
        burst_us: given.burst(),
        idle: given.idle(),
        realtime_runtime_us: given.realtime_runtime(),
        realtime_period_us: given.realtime_period(),
        cpus: list_format(given.cpus(), &at("cpu.cpus"))?,
        mems: list_format(given.mems(), &at("cpu.mems"))?,
    })
}

/// The list format of cpuset(7); the kernel checks the numbers.
fn list_format(list: &Option<String>, field: &str) -> Result<Option<String>, Invalid> {
    let Some(list) = list.as_ref().filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    if list.contains(|c: char| !c.is_ascii_digit() && !",- ".contains(c)) {
        return Err(Invalid::new(
            field,
            format!("{list:?} is no list like \"0-2,7\""),
        ));
    }
    Ok(Some(list.clone()))
}

fn memory(given: &oci::LinuxMemory, warnings: &mut Vec<String>) -> Result<Memory, Invalid> {
    if given.kernel().is_some() || given.kernel_tcp().is_some() {
        warnings.push("ignoring the kernel memory limits: the kernel has none any more".to_owned());
    }
    if given.use_hierarchy() == Some(false) {
        warnings.push("ignoring memory.useHierarchy: cgroups are always hierarchical".to_owned());
    }
    let bytes = |value: Option<i64>, name: &str| match value {
        Some(value) if value < -1 => Err(Invalid::new(
            at(name),
            format!("{value} is not -1 or a number of bytes"),
        )),
        value => Ok(value),
    };
    let memory = Memory {
        limit_bytes: bytes(given.limit(), "memory.limit")?,
        reservation_bytes: bytes(given.reservation(), "memory.reservation")?,
        swap_bytes: bytes(given.swap(), "memory.swap")?,
        // (uint64)-1 is an old way of saying nothing.
        swappiness: given
            .swappiness()
            .filter(|swappiness| *swappiness != u64::MAX),
        disable_oom_killer: given.disable_oom_killer(),
        check_before_update: given.check_before_update().unwrap_or(false),
    };
    if let Some(swappiness) = memory.swappiness.filter(|swappiness| *swappiness > 100) {
        return Err(Invalid::new(
            at("memory.swappiness"),
            format!("{swappiness} is above 100"),
        ));
    }
    match (memory.limit_bytes, memory.swap_bytes) {
        (Some(limit), Some(swap)) if swap > 0 && swap < limit => Err(Invalid::new(
            at("memory.swap"),
            format!("{swap} bytes of memory and swap are less than {limit} bytes of memory"),
        )),
        _ => Ok(memory),
    }
}

fn pids_limit(limit: i64, warnings: &mut Vec<String>) -> Result<i64, Invalid> {
    match limit {
        ..=-2 => Err(Invalid::new(
            at("pids.limit"),
            format!("{limit} is not -1 or a number"),
        )),
        // The init process itself is one task.
        0 => {
            warnings.push("taking a limit of 0 tasks as 1".to_owned());
            Ok(1)
        }
        limit => Ok(limit),
    }
}

fn block_io(given: &oci::LinuxBlockIo, warnings: &mut Vec<String>) -> Result<BlockIo, Invalid> {
    let mut leaf_weight = given.leaf_weight().is_some();
    let mut weight_devices = Vec::new();
    for (i, device) in given.weight_device().iter().flatten().enumerate() {
        let field = at(&format!("blockIO.weightDevice[{i}]"));
        leaf_weight |= device.leaf_weight().is_some();
        check_device(device.major(), device.minor(), &field)?;
        if let Some(weight) = weight(device.weight(), &format!("{field}.weight"))? {
            let (major, minor) = (device.major(), device.minor());
            weight_devices.push(WeightDevice {
                major,
                minor,
                weight,
            });
        }
    }
    if leaf_weight {
        warnings.push("ignoring blockIO leaf weights: the kernel has none any more".to_owned());
    }
    Ok(BlockIo {
        weight: weight(given.weight(), &at("blockIO.weight"))?,
        weight_devices,
        throttles: throttles(given)?,
    })
}

/// 0 is Go's absent weight.
fn weight(given: Option<u16>, field: &str) -> Result<Option<u16>, Invalid> {
    match given {
        None | Some(0) => Ok(None),
        Some(weight @ 10..=1000) => Ok(Some(weight)),
        Some(weight) => Err(Invalid::new(
            field,
            format!("{weight} is not between 10 and 1000"),
        )),
    }
}

fn throttles(given: &oci::LinuxBlockIo) -> Result<Vec<ThrottleDevice>, Invalid> {
    let lists = [
        (
            ThrottleKind::ReadBps,
            "throttleReadBpsDevice",
            given.throttle_read_bps_device(),
        ),
        (
            ThrottleKind::WriteBps,
            "throttleWriteBpsDevice",
            given.throttle_write_bps_device(),
        ),
        (
            ThrottleKind::ReadIops,
            "throttleReadIOPSDevice",
            given.throttle_read_iops_device(),
        ),
        (
            ThrottleKind::WriteIops,
            "throttleWriteIOPSDevice",
            given.throttle_write_iops_device(),
        ),
    ];
    let mut throttles = Vec::new();
    for (kind, name, list) in lists {
        for (i, device) in list.iter().flatten().enumerate() {
            let (major, minor) = (device.major(), device.minor());
            check_device(major, minor, &at(&format!("blockIO.{name}[{i}]")))?;
            throttles.push(ThrottleDevice {
                kind,
                major,
                minor,
                rate: device.rate(),
            });
        }
    }
    Ok(throttles)
}

fn check_device(major: i64, minor: i64, field: &str) -> Result<(), Invalid> {
    if major < 0 || minor < 0 {
        return Err(Invalid::new(
            field,
            format!("{major}:{minor} is not a device number"),
        ));
    }
    Ok(())
}

fn hugepages(given: &oci::LinuxResources) -> Result<Vec<HugepageLimit>, Invalid> {
    let mut limits: Vec<HugepageLimit> = Vec::new();
    for (i, page) in given.hugepage_limits().iter().flatten().enumerate() {
        let field = at(&format!("hugepageLimits[{i}]"));
        let page_size = page.page_size().clone();
        if !is_page_size(&page_size) {
            let why = format!("{page_size:?} is no size like \"2MB\"");
            return Err(Invalid::new(format!("{field}.pageSize"), why));
        }
        if limits.iter().any(|earlier| earlier.page_size == page_size) {
            return Err(Invalid::new(
                field,
                format!("{page_size:?} is listed twice"),
            ));
        }
        let limit_bytes = u64::try_from(page.limit()).map_err(|_| {
            Invalid::new(
                format!("{field}.limit"),
                format!("{} is negative", page.limit()),
            )
        })?;
        limits.push(HugepageLimit {
            page_size,
            limit_bytes,
        });
    }
    Ok(limits)
}

/// The size becomes part of a file name.
fn is_page_size(size: &str) -> bool {
    let digits = size
        .trim_end_matches("KB")
        .trim_end_matches("MB")
        .trim_end_matches("GB");
    digits.len() + 2 == size.len()
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn unified(given: &oci::LinuxResources) -> Result<Vec<(String, String)>, Invalid> {
    let mut files: Vec<(String, String)> = given
        .unified()
        .iter()
        .flatten()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    files.sort();
    match files
        .iter()
        .find(|(name, _)| name.contains('/') || !name.contains('.'))
    {
        Some((name, _)) => {
            let field = at(&format!("unified[{name:?}]"));
            Err(Invalid::new(field, "it is not the name of a cgroup file"))
        }
        None => Ok(files),
    }
}
