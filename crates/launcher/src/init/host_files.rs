//! What only the host's root may open: the sources of bind mounts and the device nodes of a container
//! with a user namespace. The process in between opens it in the host's mount namespace; the
//! container's process inherits mounts that are attached nowhere.

use super::{devices, mounts};
use crate::failure::{At, because};
use crate::{fault, id_maps};
use hull_abi::{
    Blame, IdMaps, Mount, MountIdMap, MountSource, NamespaceKind, Plan, Propagation, SetupError,
    Step,
};
use hull_sys::mount::{MountAttr, set_attr};
use hull_sys::single::SingleThreaded;
use nix::mount::MsFlags;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// Detached mounts, in the order in which the plan has what they are for.
#[derive(Debug, Default)]
pub(super) struct HostFiles {
    binds: VecDeque<OwnedFd>,
    devices: VecDeque<OwnedFd>,
}

impl HostFiles {
    /// Opens everything.
    pub(super) fn open(single: &SingleThreaded, plan: &Plan) -> Result<Self, SetupError> {
        let mut maps = Maps {
            single,
            made: Vec::new(),
        };
        let mut files = Self::default();
        let propagation = propagation(plan);
        for mount in &plan.mounts {
            let MountSource::Bind {
                source,
                recursive,
                id_map,
            } = &mount.source
            else {
                continue;
            };
            let tree = mounts::source(mount, source, *recursive)?;
            if let Some(id_map) = id_map
                && !fault::leaves_out("owners of mounts")
            {
                apply(&mut maps, &tree, mount, id_map)?;
            }
            let attr = MountAttr {
                propagation: propagation.bits(),
                ..MountAttr::default()
            };
            if !fault::leaves_out("propagation of copies") {
                set_attr(&tree, attr, true).at(Step::Mounts, || mounts::describe(mount))?;
            }
            files.binds.push_back(tree);
        }
        if plan.has_namespace(NamespaceKind::User) {
            for device in plan.devices.iter().filter(|device| !device.is_fifo()) {
                files.devices.push_back(devices::host_node(device)?);
            }
        }
        Ok(files)
    }

    /// The source of the next bind mount.
    pub(super) fn next_bind(&mut self) -> Result<OwnedFd, SetupError> {
        self.binds.pop_front().ok_or_else(|| missing(Step::Mounts))
    }

    /// The node for the next device that is not a FIFO.
    pub(super) fn next_device(&mut self) -> Result<OwnedFd, SetupError> {
        self.devices
            .pop_front()
            .ok_or_else(|| missing(Step::Devices))
    }
}

fn missing(step: Step) -> SetupError {
    let action = "take what was opened on the host".to_owned();
    because(step, Blame::Hull, action, "there is no more")
}

/// What the copies of the host's mounts become, which are peers of the originals at first. As with a
/// container that opens them itself, whose whole mount namespace gets this propagation; and never
/// peers in a user namespace, which must not mount anything on the host.
fn propagation(plan: &Plan) -> MsFlags {
    match plan.root.propagation.map(|(kind, _)| kind) {
        Some(Propagation::Shared) if !plan.has_namespace(NamespaceKind::User) => MsFlags::MS_SHARED,
        Some(Propagation::Private | Propagation::Unbindable) => MsFlags::MS_PRIVATE,
        Some(Propagation::Slave | Propagation::Shared) | None => MsFlags::MS_SLAVE,
    }
}

fn apply(
    maps: &mut Maps<'_>,
    tree: &OwnedFd,
    mount: &Mount,
    id_map: &MountIdMap,
) -> Result<(), SetupError> {
    let action = || format!("map the ids of {}", mounts::describe(mount));
    let namespace = maps.namespace(&id_map.maps)?;
    id_maps::apply(tree, namespace, id_map.recursive, (Step::Mounts, action))
}

/// One user namespace for each pair of maps.
struct Maps<'a> {
    single: &'a SingleThreaded,
    made: Vec<(IdMaps, OwnedFd)>,
}

impl Maps<'_> {
    fn namespace(&mut self, maps: &IdMaps) -> Result<&OwnedFd, SetupError> {
        let at = match self.made.iter().position(|(known, _)| known == maps) {
            Some(at) => at,
            None => {
                let namespace = id_maps::namespace_with(self.single, maps)?;
                self.made.push((maps.clone(), namespace));
                self.made.len() - 1
            }
        };
        let found = self.made.get(at).map(|(_, namespace)| namespace);
        found.ok_or_else(|| missing(Step::Mounts))
    }
}
