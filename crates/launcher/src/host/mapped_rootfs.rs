//! Mounts of a root file system with other owners: containerd 2.x asks for them by the options
//! `uidmap=` and `gidmap=`, so that the layers of an image need not be copied for each range of ids
//! (containerd `core/mount/mount_linux.go`).
//!
//! An overlay cannot be mapped itself, its lower directories can. The mapped copies of these need a place
//! while the overlay is made, which is in a mount namespace that nobody else sees.

use crate::failure::{At, because};
use crate::id_maps;
use hull_abi::{Blame, HostMount, IdMaps, IdRange, SetupError, Step};
use hull_sys::Errno;
use hull_sys::mount::{FsContext, clone_tree, move_mount};
use hull_sys::ns;
use hull_sys::single::SingleThreaded;
use nix::fcntl::{OFlag, open};
use nix::libc::CLONE_NEWNS;
use nix::mount::{MsFlags, mount as mount2};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, mkdir};
use std::os::fd::OwnedFd;

const NONE: Option<&str> = None;

/// The maps among the options of a mount, which are taken out of them.
pub(super) fn take(
    wanted: &HostMount,
    data: &mut Vec<String>,
) -> Result<Option<IdMaps>, SetupError> {
    let mut value = |key: &str| {
        let at = data.iter().position(|option| option.starts_with(key))?;
        data.remove(at).strip_prefix(key).map(str::to_owned)
    };
    let (uids, gids) = match (value("uidmap="), value("gidmap=")) {
        (None, None) => return Ok(None),
        (Some(uids), Some(gids)) => (uids, gids),
        (one, _) => {
            let missing = if one.is_none() { "uidmap" } else { "gidmap" };
            let cause = format!("the option {missing} is missing");
            return Err(refused(wanted, &cause));
        }
    };
    let parsed =
        |map: &str| parse(map).ok_or_else(|| refused(wanted, &format!("{map:?} is no map of ids")));
    Ok(Some(IdMaps {
        uids: parsed(&uids)?,
        gids: parsed(&gids)?,
    }))
}

/// `container:host:size`, several of them separated by commas.
fn parse(map: &str) -> Option<Vec<IdRange>> {
    let range = |text: &str| {
        let mut numbers = text.split(':').map(str::parse);
        let (container, host, size) = (numbers.next()?, numbers.next()?, numbers.next()?);
        numbers.next().is_none().then_some(IdRange {
            container: container.ok()?,
            host: host.ok()?,
            size: size.ok()?,
        })
    };
    map.split(',').map(range).collect()
}

fn refused(wanted: &HostMount, cause: &str) -> SetupError {
    because(Step::RootfsMount, Blame::Caller, describe(wanted), cause)
}

fn describe(wanted: &HostMount) -> String {
    format!(
        "mount {} {:?} with other owners",
        wanted.fstype, wanted.source
    )
}

/// The mount, attached nowhere. `data` is what only the file system understands.
pub(super) fn make(
    single: &SingleThreaded,
    wanted: &HostMount,
    flags: MsFlags,
    data: &[String],
    maps: &IdMaps,
) -> Result<OwnedFd, SetupError> {
    let namespace = id_maps::namespace_with(single, maps)?;
    let action = || describe(wanted);
    if flags.contains(MsFlags::MS_BIND) {
        let recursive = flags.contains(MsFlags::MS_REC);
        return mapped(&wanted.source, &namespace, recursive);
    }
    if wanted.fstype != "overlay" {
        return Err(refused(wanted, "only a bind mount and an overlay can be"));
    }
    let lower = data.iter().find_map(|o| o.strip_prefix("lowerdir="));
    let lower = lower.ok_or_else(|| refused(wanted, "the option lowerdir is missing"))?;
    let layers = lower
        .split(':')
        .map(|path| mapped(path, &namespace, false))
        .collect::<Result<Vec<_>, SetupError>>()?;
    let read_only = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let host = open("/proc/self/ns/mnt", read_only, Mode::empty()).at(Step::RootfsMount, action)?;
    ns::unshare(CLONE_NEWNS).at(Step::RootfsMount, action)?;
    let made = overlay(data, flags, &layers).at(Step::RootfsMount, action);
    // Everything but the overlay ends with that namespace.
    ns::set(host, CLONE_NEWNS).at(Step::RootfsMount, action)?;
    made
}

fn mapped(path: &str, namespace: &OwnedFd, recursive: bool) -> Result<OwnedFd, SetupError> {
    let action = || format!("map the ids of {path:?}");
    let tree = clone_tree(path, recursive).at(Step::RootfsMount, action)?;
    id_maps::apply(&tree, namespace, recursive, (Step::RootfsMount, action))?;
    Ok(tree)
}

/// An overlay of mapped layers, made in a mount namespace of our own.
fn overlay(data: &[String], flags: MsFlags, layers: &[OwnedFd]) -> Result<OwnedFd, Errno> {
    let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
    mount2(NONE, "/", NONE, private, NONE)?;
    // Any directory serves: it is covered for us alone.
    let place = FsContext::open("tmpfs")?.mount(0)?;
    move_mount(&place, directory("/proc")?)?;
    chdir("/proc")?;
    let mut names = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let name = number.to_string();
        mkdir(name.as_str(), Mode::S_IRWXU)?;
        move_mount(layer, directory(&name)?)?;
        names.push(name);
    }
    let lower = format!("lowerdir={}", names.join(":"));
    let others = data.iter().filter(|o| !o.starts_with("lowerdir="));
    let options: Vec<&str> = others.chain([&lower]).map(String::as_str).collect();
    mkdir("overlay", Mode::S_IRWXU)?;
    let options = options.join(",");
    let fstype = Some("overlay");
    mount2(fstype, "overlay", fstype, flags, Some(options.as_str()))?;
    clone_tree("overlay", false)
}

fn directory(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay_with(options: &[&str]) -> (HostMount, Vec<String>) {
        let options: Vec<String> = options.iter().map(|&o| o.to_owned()).collect();
        let mount = HostMount {
            fstype: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: options.clone(),
        };
        (mount, options)
    }

    #[test]
    fn maps_are_taken_out_of_the_options() {
        let (mount, mut data) = overlay_with(&[
            "index=off",
            "uidmap=0:1:2,3:4:5",
            "gidmap=0:9:1",
            "lowerdir=/a:/b",
        ]);
        let maps = take(&mount, &mut data).unwrap().unwrap();
        let range = |container, host, size| IdRange {
            container,
            host,
            size,
        };
        assert_eq!(maps.uids, [range(0, 1, 2), range(3, 4, 5)]);
        assert_eq!(maps.gids, [range(0, 9, 1)]);
        assert_eq!(data, ["index=off", "lowerdir=/a:/b"]);
        assert!(take(&mount, &mut data).unwrap().is_none());
    }

    #[test]
    fn half_of_a_map_and_no_map_are_refused() {
        for (options, part) in [
            (["uidmap=0:1:1", "ro"], "gidmap is missing"),
            (["ro", "gidmap=0:1:1"], "uidmap is missing"),
            (["uidmap=0:1", "gidmap=0:1:1"], "\"0:1\" is no map"),
            (["uidmap=0:1:1:1", "gidmap=0:1:1"], "\"0:1:1:1\" is no map"),
            (["uidmap=0:1:1", "gidmap="], "\"\" is no map"),
        ] {
            let (mount, mut data) = overlay_with(&options);
            let error = take(&mount, &mut data).unwrap_err();
            assert!(error.cause.contains(part), "{options:?}: {error}");
        }
    }
}
