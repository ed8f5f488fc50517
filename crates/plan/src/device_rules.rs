//! `linux.resources.devices`: which devices may be used
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#allowed-device-list>).

use crate::Invalid;
use hull_abi::{DeviceKind, DeviceRule};
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Everything that is not allowed below is denied.
pub(crate) const DENY_ALL: DeviceRule = DeviceRule {
    allow: false,
    kind: DeviceKind::All,
    major: None,
    minor: None,
    read: true,
    write: true,
    mknod: true,
};

/// What every container may do, as in runc: make nodes of any kind, and use the ones that every
/// program expects. The host's console (5:1) is none of them: a container's `/dev/console` is its own
/// pseudoterminal.
const DEFAULTS: [DeviceRule; 11] = [
    allow_mknod(DeviceKind::Char),
    allow_mknod(DeviceKind::Block),
    allow(1, Some(3)),    // /dev/null
    allow(1, Some(5)),    // /dev/zero
    allow(1, Some(7)),    // /dev/full
    allow(1, Some(8)),    // /dev/random
    allow(1, Some(9)),    // /dev/urandom
    allow(5, Some(0)),    // /dev/tty
    allow(5, Some(2)),    // /dev/ptmx
    allow(136, None),     // /dev/pts/*
    allow(10, Some(200)), // /dev/net/tun
];

const fn allow(major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind: DeviceKind::Char,
        major: Some(major),
        minor,
        ..DENY_ALL
    }
}

const fn allow_mknod(kind: DeviceKind) -> DeviceRule {
    DeviceRule {
        allow: true,
        kind,
        read: false,
        write: false,
        ..DENY_ALL
    }
}

/// The filter: deny everything, then the given rules in their order, then the default ones.
pub(crate) fn lower(rules: &[LinuxDeviceCgroup], field: &str) -> Result<Vec<DeviceRule>, Invalid> {
    let mut lowered = Vec::with_capacity(rules.len() + DEFAULTS.len() + 1);
    for (i, rule) in rules.iter().enumerate() {
        push(one(rule, &format!("{field}[{i}]"))?, &mut lowered);
    }
    if lowered.first() != Some(&DENY_ALL) {
        lowered.insert(0, DENY_ALL);
    }
    lowered.extend(DEFAULTS);
    Ok(lowered)
}

/// A rule for all kinds that is not about everything becomes two: cgroup v1 takes `a` for everything
/// whatever numbers and accesses come with it.
fn push(rule: DeviceRule, rules: &mut Vec<DeviceRule>) {
    let everything = DeviceRule {
        allow: rule.allow,
        ..DENY_ALL
    };
    if rule.kind == DeviceKind::All && rule != everything {
        rules.push(DeviceRule {
            kind: DeviceKind::Char,
            ..rule
        });
        rules.push(DeviceRule {
            kind: DeviceKind::Block,
            ..rule
        });
    } else {
        rules.push(rule);
    }
}

fn one(rule: &LinuxDeviceCgroup, field: &str) -> Result<DeviceRule, Invalid> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => DeviceKind::All,
        Some(LinuxDeviceType::B) => DeviceKind::Block,
        Some(LinuxDeviceType::C) => DeviceKind::Char,
        Some(other @ (LinuxDeviceType::U | LinuxDeviceType::P)) => {
            let why = format!("{:?} is no type of a device rule", other.as_str());
            return Err(Invalid::new(format!("{field}.type"), why));
        }
    };
    let access = rule.access().as_deref().unwrap_or_default();
    if access.is_empty() || access.contains(|c| !"rwm".contains(c)) {
        let why = format!("{access:?} is not made of r, w and m");
        return Err(Invalid::new(format!("{field}.access"), why));
    }
    Ok(DeviceRule {
        allow: rule.allow(),
        kind,
        major: number(rule.major(), &format!("{field}.major"))?,
        minor: number(rule.minor(), &format!("{field}.minor"))?,
        read: access.contains('r'),
        write: access.contains('w'),
        mknod: access.contains('m'),
    })
}

/// Absent or -1 is any number.
fn number(given: Option<i64>, field: &str) -> Result<Option<u32>, Invalid> {
    match given {
        None | Some(-1) => Ok(None),
        Some(number) => match u32::try_from(number) {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Invalid::new(
                field,
                format!("{number} is not a device number"),
            )),
        },
    }
}
