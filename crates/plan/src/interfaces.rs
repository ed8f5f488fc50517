//! `linux.resources.network` and `linux.resources.rdma`: limits on network interfaces and RDMA
//! devices of the host
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#network>,
//! <https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#rdma>).

use crate::Invalid;
use hull_abi::{Network, RdmaLimit};
use oci_spec::runtime::LinuxResources;

/// Where messages say that a value was found.
const NETWORK: &str = "linux.resources.network";
const RDMA: &str = "linux.resources.rdma";

/// Longest name of a network interface (`IFNAMSIZ` without the end).
const MAX_INTERFACE: usize = 15;
/// Longest name of an RDMA device (`IB_DEVICE_NAME_MAX` without the end).
const MAX_DEVICE: usize = 63;

/// Class and priorities of packets.
pub(crate) fn network(given: &LinuxResources) -> Result<Network, Invalid> {
    let Some(given) = given.network() else {
        return Ok(Network::default());
    };
    let mut priorities = Vec::new();
    for (i, entry) in given.priorities().iter().flatten().enumerate() {
        if !is_name(entry.name(), MAX_INTERFACE) {
            let field = format!("{NETWORK}.priorities[{i}].name");
            let why = format!("{:?} is not the name of a network interface", entry.name());
            return Err(Invalid::new(field, why));
        }
        priorities.push((entry.name().clone(), entry.priority()));
    }
    Ok(Network {
        // Go writes the absent class as 0, which no packet is tagged with.
        class_id: given.class_id().filter(|class| *class != 0),
        priorities,
    })
}

/// Limits in the order of the devices' names.
pub(crate) fn rdma(given: &LinuxResources) -> Result<Vec<RdmaLimit>, Invalid> {
    let mut limits = Vec::new();
    for (device, limit) in given.rdma().iter().flatten() {
        let refused = |why: &str| Err(Invalid::new(format!("{RDMA}[{device:?}]"), why));
        if !is_name(device, MAX_DEVICE) {
            return refused("it is not the name of an RDMA device");
        }
        if limit.hca_handles().is_none() && limit.hca_objects().is_none() {
            return refused("it has neither hcaHandles nor hcaObjects");
        }
        limits.push(RdmaLimit {
            device: device.clone(),
            hca_handles: limit.hca_handles(),
            hca_objects: limit.hca_objects(),
        });
    }
    limits.sort_by(|a, b| a.device.cmp(&b.device));
    Ok(limits)
}

/// The kernel reads one name and its numbers from a line.
fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len()) && !name.contains(|c: char| c.is_whitespace() || c == '/')
}
