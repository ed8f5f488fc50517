//! Where a container lives on the host, and what is written down of that.

use crate::error::Error;
use crate::state_file::{self, Poststop, StateFile};
use hull_abi::{CgroupPaths, ContainerId, HostJob, Plan};
use std::path::PathBuf;

/// Where a container lives on the host.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) id: ContainerId,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) rootfs_mounted: bool,
    pub(crate) cgroup: CgroupPaths,
    pub(crate) keyring: Option<String>,
    /// Owner of the standard streams.
    pub(crate) io_owner: (u32, u32),
}

/// Writes down what `delete` needs should we be killed. `pid` is 0 before there is an init process.
pub(super) fn remember(plan: &Plan, place: &Place, pid: i32) -> Result<(), Error> {
    let mut file = StateFile::new(place.id.as_str(), pid)?;
    file.cgroup = place.cgroup.clone();
    file.rootfs.clone_from(&place.rootfs);
    file.rootfs_mounted = place.rootfs_mounted;
    let hooks = &plan.hooks.poststop;
    file.poststop = (!hooks.is_empty()).then(|| Poststop {
        hooks: hooks.clone(),
        state: plan.state.render("stopped", None),
    });
    file.write(&place.bundle)
}

/// Nothing is left that `delete` would have to clean up.
pub(crate) fn forget(place: &Place) {
    if let Err(e) = state_file::remove(&place.bundle) {
        log::warn!("container {}: {}", place.id, e.line());
    }
}

/// The job that takes a container's cgroup and root file system away.
pub(crate) fn release_job(place: &Place) -> HostJob {
    HostJob::Release {
        rootfs: place.rootfs.to_string_lossy().into_owned(),
        unmount: place.rootfs_mounted,
        cgroup: place.cgroup.clone(),
    }
}
