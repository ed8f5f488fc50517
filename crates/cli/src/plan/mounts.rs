//! The mounts of a plan in words.

use super::text::Section;
use crate::layout::Row;
use hull_abi::{Mount, MountFlags, MountSource, Propagation};

/// Attributes that are single bits, with the word that sets and the one that clears each.
const ATTRIBUTES: [(MountFlags, &str, &str); 6] = [
    (MountFlags::RDONLY, "ro", "rw"),
    (MountFlags::NOSUID, "nosuid", "suid"),
    (MountFlags::NODEV, "nodev", "dev"),
    (MountFlags::NOEXEC, "noexec", "exec"),
    (MountFlags::NODIRATIME, "nodiratime", "diratime"),
    (MountFlags::NOSYMFOLLOW, "nosymfollow", "symfollow"),
];

/// One row for each mount, in order.
pub(super) fn section(mounts: &[Mount]) -> Section {
    Section::rows("mounts", mounts.iter().map(row).collect())
}

fn row(mount: &Mount) -> Row {
    let (kind, source, mut words) = match &mount.source {
        MountSource::Bind {
            source,
            recursive,
            id_map,
        } => {
            let kind = if *recursive { "rbind" } else { "bind" };
            let words = id_map.iter().map(|map| match map.recursive {
                true => "ridmap".to_owned(),
                false => "idmap".to_owned(),
            });
            (kind, Some(source), words.collect())
        }
        MountSource::Filesystem { fstype, data, .. } => {
            let words = data.iter().map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            });
            (fstype.as_str(), None, words.collect())
        }
        MountSource::Cgroup => ("cgroup", None, Vec::new()),
    };
    words.splice(0..0, attributes(mount.set, mount.clear, ""));
    words.extend(attributes(mount.set_recursive, mount.clear_recursive, "r"));
    if let Some((propagation, recursive)) = mount.propagation {
        let prefix = if recursive { "r" } else { "" };
        words.push(format!("{prefix}{}", propagation_word(propagation)));
    }
    if mount.tmpcopyup {
        words.push("tmpcopyup".to_owned());
    }
    let mut text = words.join(" ");
    if let Some(source) = source {
        text = format!("{source} {text}").trim_end().to_owned();
    }
    vec![(&mount.destination).into(), kind.into(), text.into()]
}

/// The words of mount(8) that change the attributes so.
fn attributes(set: MountFlags, clear: MountFlags, prefix: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (flag, on, off) in ATTRIBUTES {
        if set.contains(flag) {
            words.push(on);
        } else if clear.contains(flag) {
            words.push(off);
        }
    }
    if set.contains(MountFlags::NOATIME) {
        words.push("noatime");
    } else if set.contains(MountFlags::STRICTATIME) {
        words.push("strictatime");
    } else if clear.contains(MountFlags::ATIME_MASK) {
        words.push("relatime");
    }
    words.iter().map(|word| format!("{prefix}{word}")).collect()
}

/// The word of mount(8).
pub(super) fn propagation_word(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Private => "private",
        Propagation::Slave => "slave",
        Propagation::Shared => "shared",
        Propagation::Unbindable => "unbindable",
    }
}
