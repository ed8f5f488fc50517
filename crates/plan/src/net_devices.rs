//! `linux.netDevices`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#network-devices>).

use crate::Invalid;
use hull_abi::{NamespaceKind, NamespacePlan, NetDevice};
use oci_spec::runtime::Linux;

/// `IFNAMSIZ` of the kernel without the final NUL.
const MAX_BYTES: usize = 15;

/// The devices by their names on the host, those whose names are templates last: a template gets what
/// is free when all others have their names.
pub(crate) fn lower(
    linux: &Linux,
    namespaces: &[NamespacePlan],
) -> Result<Vec<NetDevice>, Invalid> {
    let mut devices: Vec<NetDevice> = Vec::new();
    for (host, device) in linux.net_devices().iter().flatten() {
        let given = device.name().as_ref().filter(|name| !name.is_empty());
        devices.push(NetDevice {
            host: host.clone(),
            name: given.unwrap_or(host).clone(),
        });
    }
    if devices.is_empty() {
        return Ok(devices);
    }
    if !namespaces
        .iter()
        .any(|namespace| namespace.kind == NamespaceKind::Network)
    {
        let why = "moving network devices needs a network namespace";
        return Err(Invalid::new("linux.netDevices", why));
    }
    // The config is a map: in its order the answer would differ from one create to the next.
    devices.sort_by(|a, b| (a.is_template(), &a.host).cmp(&(b.is_template(), &b.host)));
    for (at, device) in devices.iter().enumerate() {
        let field = format!("linux.netDevices[{:?}]", device.host);
        check_name(&device.host, &field)?;
        if device.host.contains('%') {
            let why = format!("{:?} is a template, and a device has a name", device.host);
            return Err(Invalid::new(field, why));
        }
        check_name(&device.name, &format!("{field}.name"))?;
        check_template(&device.name, &field)?;
        let same = |other: &&NetDevice| !device.is_template() && other.name == device.name;
        if let Some(other) = devices.iter().take(at).find(same) {
            let why = format!("{:?} is the name of {:?} too", device.name, other.host);
            return Err(Invalid::new(format!("{field}.name"), why));
        }
    }
    Ok(devices)
}

/// What the kernel takes for a name (`dev_valid_name`); it compares bytes, and the last of these blanks
/// is Latin-1's.
fn check_name(name: &str, field: &str) -> Result<(), Invalid> {
    let refuse = |why: &str| Err(Invalid::new(field, format!("{name:?} {why}")));
    let is_blank = |byte: u8| matches!(byte, 9..=13 | b' ' | 0xa0);
    match name {
        "" => refuse("is empty"),
        "." | ".." => refuse("is not a name of a network device"),
        _ if name.len() > MAX_BYTES => refuse("is longer than 15 bytes"),
        _ if name
            .bytes()
            .any(|byte| byte == b'/' || byte == b':' || is_blank(byte)) =>
        {
            refuse("has a slash, a colon or a blank in it")
        }
        _ => Ok(()),
    }
}

/// The only template is a single `%d`.
fn check_template(name: &str, field: &str) -> Result<(), Invalid> {
    let signs = name.matches('%').count();
    if signs == 0 || (signs == 1 && name.contains("%d")) {
        return Ok(());
    }
    let why = format!("{name:?} has a % that is not a single %d");
    Err(Invalid::new(format!("{field}.name"), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernel() {
        for name in [
            "eth0",
            "a",
            "abcdefghijklmno",
            "wlp3s0.100",
            "eth%d",
            "ä",
            "...",
        ] {
            assert_eq!(check_name(name, "f"), Ok(()), "{name}");
        }
        // U+00E0 ends in the byte 0xA0.
        for name in [
            "",
            ".",
            "..",
            "a b",
            "a\tb",
            "a/b",
            "a:1",
            "abcdefghijklmnop",
            "\u{e0}",
        ] {
            assert!(check_name(name, "f").is_err(), "{name}");
        }
    }

    #[test]
    fn templates_have_one_number() {
        for (name, good) in [
            ("eth0", true),
            ("eth%d", true),
            ("e%dx", true),
            ("eth%", false),
            ("eth%s", false),
            ("e%d%d", false),
            ("e%%d", false),
        ] {
            assert_eq!(check_template(name, "f").is_ok(), good, "{name}");
        }
    }
}
