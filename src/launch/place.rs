//! Where a container lives on the host, and what is written down of that.

use crate::error::Error;
use crate::observe;
use crate::state_file::{self, Poststop, StateFile};
use hull_abi::{CgroupPaths, ContainerId, HostJob, Plan, PodFiles};
use std::fs::{File, TryLockError};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

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
    /// Directory of the container below the one that the client chose for state.
    pub(crate) state_copy: Option<PathBuf>,
    /// Files that it holds for the containers of its pod.
    pub(crate) pod_files: Option<PodFiles>,
    /// Directory of the socket at which its program tells how it does, if it is a Wasm server.
    pub(crate) observed: Option<PathBuf>,
    /// Held while a module is compiled for it.
    pub(crate) compiling: Arc<tokio::sync::Mutex<()>>,
    /// What names the layers of its root file system ([`crate::wasm::layers`]).
    pub(crate) layers: Option<String>,
    /// sha256 of the Wasm module that its image is, once its first process has asked.
    pub(crate) image_module: Arc<OnceLock<[u8; 32]>>,
}

/// Writes down what `delete` needs should we be killed. `pid` is 0 before there is an init process.
pub(super) fn remember(plan: &Plan, place: &Place, pid: i32) -> Result<(), Error> {
    let mut file = StateFile::new(place.id.as_str(), pid)?;
    file.cgroup = place.cgroup.clone();
    file.rootfs.clone_from(&place.rootfs);
    file.rootfs_mounted = place.rootfs_mounted;
    file.copy.clone_from(&place.state_copy);
    file.pod_files.clone_from(&place.pod_files);
    file.observed.clone_from(&place.observed);
    let hooks = &plan.hooks.poststop;
    file.poststop = (!hooks.is_empty()).then(|| Poststop {
        hooks: hooks.clone(),
        state: plan.state.render("stopped", None),
    });
    file.write(&place.bundle)
}

/// A shared lock on the bundle that the process has which mounts and makes the cgroup: `delete` comes after
/// the end of that, even if we are killed meanwhile.
///
/// # Errors
/// When a `delete` of this container is at work.
pub(super) fn lease(place: &Place) -> Result<OwnedFd, Error> {
    let bundle = &place.bundle;
    let failed = |e| Error::host(format!("lock {bundle:?}"), e);
    let dir = File::open(bundle).map_err(failed)?;
    match dir.try_lock_shared() {
        Ok(()) => Ok(dir.into()),
        Err(TryLockError::WouldBlock) => {
            let text = format!("container {} is being cleaned up", place.id);
            Err(Error::Unavailable(text))
        }
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// Nothing is left that `delete` would have to clean up.
pub(crate) fn forget(place: &Place) {
    let copy = place
        .state_copy
        .as_deref()
        .map_or(Ok(()), state_file::remove_copy);
    let observed = place.observed.as_deref().map_or(Ok(()), observe::remove);
    for removed in [copy, observed, state_file::remove(&place.bundle)] {
        if let Err(e) = removed {
            log::warn!("container {}: {}", place.id, e.line());
        }
    }
}

/// The job that takes a container's cgroup and root file system away.
pub(crate) fn release_job(place: &Place) -> HostJob {
    HostJob::Release {
        rootfs: place.rootfs.to_string_lossy().into_owned(),
        unmount: place.rootfs_mounted,
        cgroup: place.cgroup.clone(),
        pod_files: place.pod_files.clone(),
    }
}
