//! The directories below `$HULL_STATE_DIR`: made, and refused where they are not only root's.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::failed;
use crate::error::Error;

/// The variable that moves the state.
const VARIABLE: &str = "HULL_STATE_DIR";

/// Where the state is kept: `$HULL_STATE_DIR`, or `/run/hull`, as for the shim.
pub(crate) fn state_dir() -> PathBuf {
    env::var_os(VARIABLE)
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("/run/hull"), PathBuf::from)
}

/// Where the shims' sockets are. Short, since the path of a socket has at most 107 bytes.
pub(crate) fn socket_dir() -> PathBuf {
    state_dir().join("s")
}

/// The directory of all containers by its real path, which mounts are known by.
///
/// # Errors
/// When it cannot be made, or is not only ours: whoever may write there could have us remove
/// anything.
pub(super) fn runs() -> Result<PathBuf, Error> {
    let state = state_dir();
    check_text(&state)?;
    make(&state)?;
    let state = state.canonicalize().map_err(failed("find", &state))?;
    check_text(&state)?;
    let (runs, sockets) = (state.join("run"), state.join("s"));
    make(&runs)?;
    make(&sockets)?;
    check_owner(&state, 0o022)?;
    check_owner(&sockets, 0o022)?;
    check_owner(&runs, 0o077)?;
    Ok(runs)
}

/// An empty directory that only root may enter, to mount something on in a mount namespace of our own.
///
/// # Errors
/// As [`runs`].
pub(crate) fn mount_point() -> Result<PathBuf, Error> {
    runs()?;
    let point = state_dir().join("mnt");
    make(&point)?;
    check_owner(&point, 0o077)?;
    Ok(point)
}

fn make(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("make directory", path))
}

/// Refuses what is no directory of root's, or has any of these bits in its mode.
fn check_owner(path: &Path, refused: u32) -> Result<(), Error> {
    let meta = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    let why = if !meta.is_dir() {
        "it is no directory".to_owned()
    } else if meta.uid() != 0 {
        format!("it belongs to user {}, not to root", meta.uid())
    } else if meta.mode() & refused != 0 {
        format!("others may use it (mode {:04o})", meta.mode() & 0o7777)
    } else {
        return Ok(());
    };
    Err(
        Error::new(format!("use {}", path.display()), why).advise(format!(
            "set {VARIABLE} to a directory that is hull's alone"
        )),
    )
}

/// overlayfs splits its options at these.
fn check_text(path: &Path) -> Result<(), Error> {
    let text = path
        .to_str()
        .filter(|text| path.is_absolute() && !text.contains([',', ':', '\\', ' ', '\t', '\n']));
    if text.is_some() {
        return Ok(());
    }
    Err(Error::new(
        format!("{VARIABLE} {}", path.display()),
        "it must be an absolute path in UTF-8 without commas, colons, backslashes and blanks",
    ))
}

/// Excludes others who make, look for or remove directories, for some system calls.
pub(super) fn lock_all(runs: &Path) -> Result<File, Error> {
    let all = File::open(runs).map_err(failed("open", runs))?;
    all.lock().map_err(failed("lock", runs))?;
    Ok(all)
}
