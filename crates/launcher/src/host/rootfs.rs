//! The root file system that containerd's snapshotter describes, mounted on a directory of the
//! bundle in the host's mount namespace, where hooks and other tools expect it.

use super::mapped_rootfs;
use crate::failure::{At, Blamed, because};
use hull_abi::{Blame, HostMount, SetupError, Step};
use hull_sys::Errno;
use hull_sys::fs::InRoot;
use hull_sys::mount::move_mount;
use hull_sys::single::SingleThreaded;
use nix::mount::{MntFlags, MsFlags, mount as mount2, umount2};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// mount(2) takes one page of options.
const MAX_DATA: usize = 4095;
/// A busy mount is tried again this often: somebody may be looking at it.
const UNMOUNT_ATTEMPTS: u32 = 10;

/// Applies the mounts in order; on failure the earlier ones are undone.
pub(super) fn mount(
    single: &SingleThreaded,
    mounts: &[HostMount],
    rootfs: &str,
) -> Result<(), SetupError> {
    if mounts.is_empty() {
        return Ok(());
    }
    match std::fs::create_dir(rootfs) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => {
            return Err(hull_sys::fd::errno(&e))
                .at(Step::RootfsMount, || format!("make {rootfs:?}"));
        }
    }
    mounts
        .iter()
        .try_for_each(|m| mount_one(single, m, rootfs))
        .inspect_err(|_| {
            // The first failure is the one to report.
            drop(unmount(Path::new(rootfs)));
        })
}

/// What the words of mount(8) mean to mount(2).
#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    flags: MsFlags,
    propagation: MsFlags,
    data: Vec<String>,
}

fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed {
        flags: MsFlags::empty(),
        propagation: MsFlags::empty(),
        data: Vec::new(),
    };
    for option in options {
        let (flag, set) = match option.as_str() {
            "ro" => (MsFlags::MS_RDONLY, true),
            "rw" => (MsFlags::MS_RDONLY, false),
            "nosuid" => (MsFlags::MS_NOSUID, true),
            "suid" => (MsFlags::MS_NOSUID, false),
            "nodev" => (MsFlags::MS_NODEV, true),
            "dev" => (MsFlags::MS_NODEV, false),
            "noexec" => (MsFlags::MS_NOEXEC, true),
            "exec" => (MsFlags::MS_NOEXEC, false),
            "sync" => (MsFlags::MS_SYNCHRONOUS, true),
            "async" => (MsFlags::MS_SYNCHRONOUS, false),
            "dirsync" => (MsFlags::MS_DIRSYNC, true),
            "noatime" => (MsFlags::MS_NOATIME, true),
            "atime" => (MsFlags::MS_NOATIME, false),
            "nodiratime" => (MsFlags::MS_NODIRATIME, true),
            "diratime" => (MsFlags::MS_NODIRATIME, false),
            "relatime" => (MsFlags::MS_RELATIME, true),
            "norelatime" => (MsFlags::MS_RELATIME, false),
            "strictatime" => (MsFlags::MS_STRICTATIME, true),
            "bind" => (MsFlags::MS_BIND, true),
            "rbind" => (MsFlags::MS_BIND.union(MsFlags::MS_REC), true),
            "defaults" => continue,
            word => {
                match propagation(word) {
                    Some(flags) => parsed.propagation = flags,
                    None => parsed.data.push(word.to_owned()),
                }
                continue;
            }
        };
        parsed.flags.set(flag, set);
    }
    parsed
}

fn propagation(word: &str) -> Option<MsFlags> {
    let recursive = |flags: MsFlags| flags.union(MsFlags::MS_REC);
    Some(match word {
        "private" => MsFlags::MS_PRIVATE,
        "rprivate" => recursive(MsFlags::MS_PRIVATE),
        "slave" => MsFlags::MS_SLAVE,
        "rslave" => recursive(MsFlags::MS_SLAVE),
        "shared" => MsFlags::MS_SHARED,
        "rshared" => recursive(MsFlags::MS_SHARED),
        "unbindable" => MsFlags::MS_UNBINDABLE,
        "runbindable" => recursive(MsFlags::MS_UNBINDABLE),
        _ => return None,
    })
}

fn mount_one(single: &SingleThreaded, wanted: &HostMount, rootfs: &str) -> Result<(), SetupError> {
    let action = || {
        format!(
            "mount {} {:?} on {rootfs:?}{}",
            wanted.fstype, wanted.source, wanted.target
        )
    };
    let mut parsed = parse(&wanted.options);
    if wanted.fstype == "bind" {
        parsed.flags |= MsFlags::MS_BIND;
    }
    // A sub-path lies in a mounted image, whose links must not lead out of it.
    let below = Some(wanted.target.as_str()).filter(|target| !matches!(*target, "" | "/"));
    let place = |make: bool| match below {
        None => InRoot::open(Path::new(rootfs)),
        Some(sub) => {
            let root = InRoot::open(Path::new(rootfs))?;
            let found = match make {
                true => root.create_dir_all(sub, 0o755),
                false => root.resolve(sub),
            };
            found.map(InRoot::from_fd)
        }
    };
    let target = place(true).at(Step::RootfsMount, action)?;
    if let Some(maps) = mapped_rootfs::take(wanted, &mut parsed.data)? {
        let tree = mapped_rootfs::make(single, wanted, parsed.flags, &parsed.data, &maps)?;
        move_mount(tree, &target).at(Step::RootfsMount, action)?;
    } else {
        let data = shortened(&parsed.data).at(Step::RootfsMount, action)?;
        mount2(
            Some(wanted.source.as_str()),
            &magic_link(&target),
            Some(wanted.fstype.as_str()).filter(|t| *t != "bind"),
            parsed.flags,
            Some(data.as_str()).filter(|d| !d.is_empty()),
        )
        .at(Step::RootfsMount, action)
        .blame(Blame::Host)?;
    }
    // The descriptor is of what is covered by now.
    let mounted = place(false).at(Step::RootfsMount, action)?;
    finish(&parsed, &magic_link(&mounted)).at(Step::RootfsMount, action)
}

fn magic_link(place: &InRoot) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", place.as_fd().as_raw_fd()))
}

/// What a mount takes in further calls.
fn finish(parsed: &Parsed, target: &Path) -> Result<(), Errno> {
    let none: Option<&str> = None;
    let attributes = parsed.flags - MsFlags::MS_BIND - MsFlags::MS_REC;
    if parsed.flags.contains(MsFlags::MS_BIND) && !attributes.is_empty() {
        // A bind takes its attributes in a second call (mount(2)).
        let again = attributes | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount2(none, target, none, again, none)?;
    }
    if !parsed.propagation.is_empty() {
        mount2(none, target, none, parsed.propagation, none)?;
    }
    Ok(())
}

/// Joins options. When they do not fit into a page, which an overlay of many layers does not, the
/// directory that all lower ones share becomes our own and their paths relative to it.
fn shortened(options: &[String]) -> Result<String, Errno> {
    let data = options.join(",");
    if data.len() <= MAX_DATA {
        return Ok(data);
    }
    let Some(lower) = options.iter().find_map(|o| o.strip_prefix("lowerdir=")) else {
        return Err(Errno::E2BIG);
    };
    let shared = shared_directory(lower).ok_or(Errno::E2BIG)?;
    nix::unistd::chdir(shared.as_str())?;
    let relative: Vec<&str> = lower
        .split(':')
        .filter_map(|p| p.strip_prefix(&shared)?.strip_prefix('/'))
        .collect();
    let lower = format!("lowerdir={}", relative.join(":"));
    let options: Vec<&str> = options
        .iter()
        .map(|o| {
            if o.starts_with("lowerdir=") {
                lower.as_str()
            } else {
                o.as_str()
            }
        })
        .collect();
    let data = options.join(",");
    if data.len() <= MAX_DATA {
        Ok(data)
    } else {
        Err(Errno::E2BIG)
    }
}

/// The longest directory above every path of a `:`-separated list.
fn shared_directory(paths: &str) -> Option<String> {
    let mut paths = paths.split(':');
    let mut shared = Path::new(paths.next()?).parent()?;
    for path in paths {
        while !Path::new(path).parent()?.starts_with(shared) {
            shared = shared.parent()?;
        }
    }
    shared.to_str().filter(|s| s.len() > 1).map(str::to_owned)
}

/// Unmounts everything at and below a directory, the latest mount first.
///
/// # Errors
/// "rootfs umount" with the mount point that stays busy.
pub fn unmount(rootfs: &Path) -> Result<(), SetupError> {
    let mounts = hull_sys::mount::list().at(Step::RootfsUnmount, || {
        "read /proc/self/mountinfo".to_owned()
    })?;
    let mut points: Vec<PathBuf> = mounts
        .into_iter()
        .map(|m| m.point)
        .filter(|p| p.starts_with(rootfs))
        .collect();
    // Later lines were mounted later, possibly on top of earlier ones.
    points.reverse();
    points.iter().try_for_each(|point| unmount_one(point))
}

fn unmount_one(point: &Path) -> Result<(), SetupError> {
    let action = || format!("failed rootfs umount of {}", point.display());
    let mut pause = Duration::from_millis(1);
    for _ in 0..UNMOUNT_ATTEMPTS {
        match umount2(point, MntFlags::UMOUNT_NOFOLLOW) {
            // No longer a mount, or gone: what we wanted.
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(Errno::EBUSY) => {
                std::thread::sleep(pause);
                pause *= 2;
            }
            Err(errno) => return Err(errno).at(Step::RootfsUnmount, action),
        }
    }
    Err(because(
        Step::RootfsUnmount,
        Blame::Host,
        action(),
        "device or resource busy",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Vec<String> {
        words.iter().map(|&w| w.to_owned()).collect()
    }

    #[test]
    fn words_become_flags_and_the_last_one_wins() {
        let parsed = parse(&options(&[
            "rbind",
            "ro",
            "rw",
            "nosuid",
            "rprivate",
            "index=off",
        ]));
        assert_eq!(
            parsed.flags,
            MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_NOSUID
        );
        assert_eq!(parsed.propagation, MsFlags::MS_PRIVATE | MsFlags::MS_REC);
        assert_eq!(parsed.data, ["index=off"]);
    }

    #[test]
    fn shared_directory_is_the_deepest_common_parent() {
        assert_eq!(
            shared_directory("/a/b/1/fs:/a/b/22/fs").as_deref(),
            Some("/a/b")
        );
        assert_eq!(shared_directory("/a/b/1:/a/bc/2").as_deref(), Some("/a"));
        assert_eq!(shared_directory("/a/1:/b/2"), None);
    }
}
