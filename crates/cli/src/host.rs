//! What `hull` needs of the host before it starts a shim.

use std::fs;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::error::Error;
use crate::tool;

/// The shim's binary.
const SHIM: &str = "containerd-shim-hull-v1";

/// Namespaces, cgroups and mounts of the host are root's.
///
/// # Errors
/// When we are not root, or a variable that names a directory is relative.
pub(crate) fn require_root(verb: &str) -> Result<(), Error> {
    check_variables()?;
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::new(
        verb,
        "needs root (namespaces, cgroups and mounts of the host)",
    )
    .advise(format!("try sudo hull {verb} ...")))
}

/// The shim reads these as well, and its working directory is not ours.
fn check_variables() -> Result<(), Error> {
    for name in ["HULL_LIBEXEC", "HULL_ARTIFACTS", "HULL_STATE_DIR"] {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = value.map(PathBuf::from).filter(|path| path.is_relative()) {
            let what = format!("{name} {}", path.display());
            return Err(Error::new(what, "it must be an absolute path"));
        }
    }
    Ok(())
}

/// From here on nobody else sees what we mount, and it is gone with the last process that we started,
/// however that ends. What the host mounts or unmounts is still seen here.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn enter_private_mounts() -> Result<(), Error> {
    let failed = |errno: nix::Error| Error::new("make a mount namespace", errno.desc());
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed)?;
    let none: Option<&str> = None;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, flags, none).map_err(failed)
}

/// The shim's binary: beside ours, else in `$PATH`.
///
/// # Errors
/// When it is in neither.
pub(crate) fn shim() -> Result<PathBuf, Error> {
    tool::sibling(SHIM).ok_or_else(|| {
        Error::new(SHIM, "it is neither beside hull nor in $PATH")
            .advise("install it there: make install")
    })
}

/// A name that no other container has.
///
/// # Errors
/// When the kernel gives no random number.
pub(crate) fn random_name() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/uuid";
    let uuid =
        fs::read_to_string(path).map_err(|error| Error::new(format!("read {path}"), error))?;
    let digits: String = uuid
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    Ok(format!("hull-{digits}"))
}
