//! `linux.devices` and the default devices
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#devices>).

use crate::{Invalid, paths};
use hull_abi::{Device, Mount, MountSource, NamespaceKind, NamespacePlan};
use oci_spec::runtime::{Linux, LinuxDevice, LinuxDeviceType};

/// File type bits of inode(7).
const S_IFCHR: u32 = 0o020_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFIFO: u32 = 0o010_000;

/// Mode of a device that gives none, runc's default.
const DEFAULT_MODE: u32 = 0o666;

/// Widest numbers that the kernel's `dev_t` holds: 12 and 20 bits.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Path, major and minor number of what every container has.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Whether `/dev` is a bind mount: then it is somebody else's, and nothing is made in it.
pub(crate) fn dev_is_bound(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| {
        mount.destination == "/dev" && matches!(mount.source, MountSource::Bind { .. })
    })
}

/// The default devices that the config does not list itself, then the listed ones.
pub(crate) fn lower(
    linux: &Linux,
    namespaces: &[NamespacePlan],
    dev_is_bound: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Device>, Invalid> {
    let mut listed: Vec<Device> = Vec::new();
    let is_made = !namespaces.iter().any(|n| n.kind == NamespaceKind::User);
    for (i, device) in linux.devices().iter().flatten().enumerate() {
        let wants =
            device.file_mode().is_some() || device.uid().is_some() || device.gid().is_some();
        let device = node(device, &format!("linux.devices[{i}]"))?;
        if wants && !is_made && !device.is_fifo() {
            warnings.push(format!(
                "device {:?} is the host's node in a user namespace, its mode and owner stay",
                device.path
            ));
        }
        // As in runc, where the second mknod finds the path taken.
        if listed.iter().any(|earlier| earlier.path == device.path) {
            warnings.push(format!(
                "device {:?} is listed twice, taking the first",
                device.path
            ));
        } else {
            listed.push(device);
        }
    }
    if dev_is_bound {
        let lines = listed.iter().map(|device| {
            format!(
                "device {:?} is not made because /dev is a bind mount",
                device.path
            )
        });
        warnings.extend(lines);
        return Ok(Vec::new());
    }
    let defaults = DEFAULTS
        .iter()
        .filter(|(path, ..)| !listed.iter().any(|d| d.path == *path));
    let mut devices: Vec<Device> = defaults.map(default_node).collect();
    devices.extend(listed);
    Ok(devices)
}

fn default_node((path, major, minor): &(&str, u32, u32)) -> Device {
    Device {
        path: (*path).to_owned(),
        mode: S_IFCHR | DEFAULT_MODE,
        major: *major,
        minor: *minor,
        uid: 0,
        gid: 0,
    }
}

fn node(device: &LinuxDevice, field: &str) -> Result<Device, Invalid> {
    let given = paths::text(device.path());
    let path = paths::clean(&given);
    if !given.starts_with('/') || path == "/" {
        let why = format!("{given:?} is not an absolute path of a file");
        return Err(Invalid::new(format!("{field}.path"), why));
    }
    let file_type = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => S_IFCHR,
        LinuxDeviceType::B => S_IFBLK,
        LinuxDeviceType::P => S_IFIFO,
        LinuxDeviceType::A => {
            let why = "\"a\" is no type of a device node";
            return Err(Invalid::new(format!("{field}.type"), why));
        }
    };
    let is_fifo = file_type == S_IFIFO;
    let number = |given: i64, max: u32, name: &str| {
        if is_fifo {
            Ok(0)
        } else {
            number(given, max, &format!("{field}.{name}"))
        }
    };
    Ok(Device {
        path,
        mode: file_type | (device.file_mode().unwrap_or(DEFAULT_MODE) & 0o7777),
        major: number(device.major(), MAX_MAJOR, "major")?,
        minor: number(device.minor(), MAX_MINOR, "minor")?,
        uid: id(device.uid(), &format!("{field}.uid"))?,
        gid: id(device.gid(), &format!("{field}.gid"))?,
    })
}

fn number(given: i64, max: u32, field: &str) -> Result<u32, Invalid> {
    let number = u32::try_from(given).ok().filter(|number| *number <= max);
    number.ok_or_else(|| Invalid::new(field, format!("{given} is not between 0 and {max}")))
}

fn id(given: Option<u32>, field: &str) -> Result<u32, Invalid> {
    match given {
        Some(u32::MAX) => Err(Invalid::new(
            field,
            format!("{} is not a valid id", u32::MAX),
        )),
        Some(id) => Ok(id),
        None => Ok(0),
    }
}
