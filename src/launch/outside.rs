//! What a process in a user namespace cannot do for itself, and the daemon does for every process: set its
//! resource limits; and have it own its standard streams.

use crate::error::Error;
use crate::stdio::Prepared;
use hull_abi::{
    Blame, IdMaps, IdRange, NamespaceKind, Plan, Process, SetupError, Step, host_id, parse_map,
};
use hull_launcher::client::ChildProcess;
use hull_sys::process::set_rlimit_of;
use std::fs;

/// Looks at the user namespace of a new process, if the container has one: whether its maps are those
/// of the plan, which they are unless it was joined; and gives the standard streams to the process's
/// user, so that a program can open them again, unless somebody else is to own them.
///
/// # Errors
/// Maps that differ; what the kernel refuses.
pub(super) fn settle_ids(
    plan: &Plan,
    process: &Process,
    child: &ChildProcess,
    streams: Option<&Prepared>,
) -> Result<(), Error> {
    if !plan.has_namespace(NamespaceKind::User) {
        return Ok(());
    }
    let maps = IdMaps {
        uids: map(child, "uid_map")?,
        gids: map(child, "gid_map")?,
    };
    check(&plan.id_maps, &maps)?;
    match (streams, host_id(&maps.uids, process.user.uid)) {
        (Some(streams), Some(uid)) => streams.give_to(uid),
        // Nobody's: the process finds out when it becomes that user.
        _ => Ok(()),
    }
}

fn map(child: &ChildProcess, file: &str) -> Result<Vec<IdRange>, Error> {
    let path = format!("/proc/{}/{file}", child.pid());
    let failed = |e| Error::host(format!("read {path}"), e);
    let text = fs::read_to_string(&path).map_err(failed)?;
    parse_map(&text).ok_or_else(|| failed(std::io::ErrorKind::InvalidData.into()))
}

/// A joined user namespace need not be described; if it is, then rightly.
fn check(wanted: &IdMaps, found: &IdMaps) -> Result<(), Error> {
    if wanted.is_empty() || (same(&wanted.uids, &found.uids) && same(&wanted.gids, &found.gids)) {
        return Ok(());
    }
    Err(Error::Setup(SetupError {
        step: Step::IdMaps,
        blame: Blame::Caller,
        action: "join the user namespace".to_owned(),
        cause: "its maps are not those of linux.uidMappings and linux.gidMappings".to_owned(),
        errno: 0,
    }))
}

/// The kernel may give the lines in another order.
fn same(one: &[IdRange], other: &[IdRange]) -> bool {
    one.len() == other.len() && one.iter().all(|range| other.contains(range))
}

/// Sets the resource limits of a process that waits for them.
///
/// # Errors
/// The limit that the kernel refuses.
pub(super) fn set_limits(process: &Process, child: &ChildProcess) -> Result<(), Error> {
    for limit in &process.rlimits {
        let (number, soft, hard) = (limit.resource, limit.soft, limit.hard);
        // The number is still its own: it is our child and not reaped.
        set_rlimit_of(child.pid(), number, soft, hard).map_err(|errno| SetupError {
            step: Step::Rlimits,
            blame: Blame::Host,
            action: format!("set limit {number} to {soft}:{hard}"),
            cause: errno.desc().to_lowercase(),
            errno: errno as i32,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container: u32, host: u32, size: u32) -> IdRange {
        IdRange {
            container,
            host,
            size,
        }
    }

    #[test]
    fn a_joined_namespace_must_be_as_it_is_described() {
        let found = IdMaps {
            uids: vec![range(0, 1000, 10), range(10, 5000, 1)],
            gids: vec![range(0, 2000, 10)],
        };
        assert!(check(&IdMaps::default(), &found).is_ok());
        assert!(check(&found, &found).is_ok());
        let mut turned = found.clone();
        turned.uids.reverse();
        assert!(check(&turned, &found).is_ok());
        for wrong in [
            IdMaps {
                uids: vec![range(0, 1000, 10)],
                ..found.clone()
            },
            IdMaps {
                gids: vec![range(0, 2000, 11)],
                ..found.clone()
            },
        ] {
            assert!(check(&wrong, &found).is_err(), "{wrong:?}");
        }
    }
}
