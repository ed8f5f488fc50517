//! Becoming root of a user namespace.

use crate::failure::At;
use hull_abi::{SetupError, Step};
use hull_sys::{cred, process};

/// Becomes root of the user namespace that we are in. Whatever is made from now on belongs to it.
pub(super) fn become_root() -> Result<(), SetupError> {
    cred::set_groups(&[])
        .and_then(|()| cred::set_gid(0))
        .and_then(|()| cred::set_uid(0))
        .at(Step::IdMaps, || {
            "become root of the user namespace".to_owned()
        })?;
    // A change of user may have made us dumpable again (fs.suid_dumpable).
    process::set_not_dumpable().at(Step::IdMaps, || "stay hidden from ptrace".to_owned())
}
