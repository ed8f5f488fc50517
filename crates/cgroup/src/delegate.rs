//! Giving a container's own v2 cgroup to the user that it runs as.

use crate::Error;
use crate::routes::Routes;
use hull_sys::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{Uid, fchown, fchownat};
use std::io::Read as _;

/// Which files of a cgroup may be given away: the kernel's own list
/// ([cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html), "Cgroups delegation").
const KERNELS_LIST: &str = "/sys/kernel/cgroup/delegate";

/// Bound on that list: some twenty names of files.
const MAX_LIST: u64 = 64 << 10;

/// What the OCI spec names for kernels without a list (before Linux 4.15).
const SPECS_LIST: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Makes a host user the owner of the cgroup's directory and of those of its files with which it can
/// be divided, so that this user can make cgroups in it, move its own processes there and enable
/// controllers for them. The limits stay the host's: their files are not on the list.
///
/// Does nothing where v1 controllers are in use, because giving a v1 cgroup away is not safe
/// (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cgroup-ownership>).
///
/// # Errors
/// [`Error::Io`] for the directory or file whose owner could not be changed. A file on the list that
/// the cgroup does not have is none.
pub(crate) fn delegate(routes: &Routes, owner: u32) -> Result<(), Error> {
    let Some(dir) = routes.unified().filter(|_| routes.is_unified()) else {
        return Ok(());
    };
    let owner = Some(Uid::from_raw(owner));
    let failed = |path: String| {
        move |errno| Error::Io {
            operation: "change the owner of",
            path,
            errno,
        }
    };
    fchown(dir, owner, None).map_err(failed(dir.path().to_owned()))?;
    let list = list_of_kernel();
    for name in list.as_deref().unwrap_or(SPECS_LIST).lines() {
        // The list is the kernel's, but a path in it would lead out of the directory.
        if name.is_empty() || name.contains('/') {
            continue;
        }
        match fchownat(dir, name, owner, None, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failed(dir.path_of(name))(errno)),
        }
    }
    Ok(())
}

fn list_of_kernel() -> Option<String> {
    let mut list = String::new();
    let file = std::fs::File::open(KERNELS_LIST).ok()?;
    file.take(MAX_LIST).read_to_string(&mut list).ok()?;
    Some(list).filter(|list| !list.is_empty())
}
