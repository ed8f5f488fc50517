//! The `options` table of a runtime in containerd's CRI configuration, as text: containerd 1.7 and later
//! send it so to every runtime whose type is not that of the runc shim
//! (<https://github.com/containerd/containerd/blob/main/internal/cri/config/config.go>,
//! `GenerateRuntimeOptions`). The keys are those of the runc shim's options.
//!
//! What containerd writes is one key and one plain value a line, and no more of
//! [TOML](https://toml.io/en/v1.0.0) is read here.

use containerd_shim_protos::shim::oci;

/// The options in a text, and what in it says nothing to us: a key, or the name of a table in it.
///
/// # Errors
/// A line of text: the key of ours whose value cannot be used.
pub(super) fn parse(text: &str) -> Result<(oci::Options, Vec<String>), String> {
    let mut options = oci::Options::default();
    let mut unknown = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            // All that follows belongs to it or to another one.
            unknown.push(line.to_owned());
            break;
        }
        let Some((key, value)) = line.split_once('=') else {
            // The rest of a value of several lines, of which none of ours is one.
            unknown.push(line.to_owned());
            continue;
        };
        let key = key.trim().trim_matches(['"', '\'']);
        if !set(&mut options, key, value.trim())? {
            unknown.push(key.to_owned());
        }
    }
    Ok((options, unknown))
}

/// Sets one option; tells whether it is one of ours. containerd's parser does not look at the case either.
fn set(options: &mut oci::Options, key: &str, value: &str) -> Result<bool, String> {
    let wrong = |wanted: &str| format!("{key} = {value}: expected {wanted}");
    let switch = || match word(value) {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(wrong("true or false")),
    };
    let number = || {
        let digits = word(value).replace('_', "");
        digits.parse().map_err(|_| wrong("a number"))
    };
    let text = || quoted(value).ok_or_else(|| wrong("a quoted text"));
    match key.to_ascii_lowercase().as_str() {
        "nopivotroot" => options.no_pivot_root = switch()?,
        "nonewkeyring" => options.no_new_keyring = switch()?,
        "systemdcgroup" => options.systemd_cgroup = switch()?,
        "iouid" => options.io_uid = number()?,
        "iogid" => options.io_gid = number()?,
        "shimcgroup" => options.shim_cgroup = text()?,
        "binaryname" => options.binary_name = text()?,
        "root" => options.root = text()?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// A value without the comment behind it.
fn word(value: &str) -> &str {
    value.split('#').next().unwrap_or_default().trim()
}

/// What is between quotes, where nothing but a comment follows and nothing in it is escaped.
fn quoted(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c))?;
    let (text, rest) = value.get(1..)?.split_once(quote)?;
    let plain = quote == '\'' || !text.contains('\\');
    (plain && word(rest).is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_read_as_containerd_writes_it() {
        let text = "BinaryName = ''\nCriuPath = '/usr/bin/criu'\nIoGid = 1_001\nIoUid = 1000\n\
            NoNewKeyring = true\nNoPivotRoot = false\nRoot = '/run/x'\n\
            ShimCgroup = \"/shims\"\nSystemdCgroup = true\n";
        let (options, unknown) = parse(text).unwrap();
        let wanted = oci::Options {
            no_new_keyring: true,
            systemd_cgroup: true,
            io_uid: 1000,
            io_gid: 1001,
            root: "/run/x".to_owned(),
            shim_cgroup: "/shims".to_owned(),
            ..oci::Options::default()
        };
        assert_eq!(options, wanted);
        assert_eq!(unknown, ["CriuPath"]);
    }

    #[test]
    fn spaces_comments_case_and_tables_are_no_matter() {
        let text = "# all of it\n\n  \"systemdcgroup\"=true # yes\r\nRoot = '/a#b' # x\n\
            [more]\nNoPivotRoot = true\n";
        let (options, unknown) = parse(text).unwrap();
        assert!(options.systemd_cgroup && !options.no_pivot_root);
        assert_eq!(options.root, "/a#b");
        assert_eq!(unknown, ["[more]"]);
        assert_eq!(parse("").unwrap().0, oci::Options::default());
    }

    #[test]
    fn wrong_values_are_named() {
        for (text, name) in [
            ("SystemdCgroup = 1", "SystemdCgroup = 1: expected true"),
            ("IoUid = -1", "IoUid = -1: expected a number"),
            ("Root = /run", "Root = /run: expected a quoted"),
            ("Root = \"/a\\n\"", "expected a quoted"),
            ("Root = '/a' '/b'", "expected a quoted"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
