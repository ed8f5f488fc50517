//! The socket at which a Wasm server tells how it does: in a directory of its own below the state directory,
//! where only root comes, with a file that says whose it is. `hull stats` finds it there.

use crate::error::Error;
use crate::state_file::state_dir;
use hull_abi::{CgroupPaths, ContainerId};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Directory of the directories.
const ALL: &str = "http";
/// Name of the socket.
const SOCKET: &str = "socket";
/// Name of the file that says whose it is.
const ABOUT: &str = "about";

/// How often somebody else may be in the way of a new directory.
const ATTEMPTS: u32 = 10;

/// Whose socket it is.
#[derive(Debug, Serialize)]
pub(crate) struct About<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
    pub(crate) cgroup: &'a CgroupPaths,
}

/// The directory of a container. Its name has always the same length: the path of a socket has at most 107
/// bytes, an id alone may have 76.
pub(crate) fn directory(namespace: &str, id: &ContainerId) -> PathBuf {
    let digest = Sha256::digest(format!("{namespace}/{id}"));
    let name = digest
        .iter()
        .take(16)
        .fold(String::new(), |mut name, byte| {
            // Writing to a string does not fail.
            _ = write!(name, "{byte:02x}");
            name
        });
    state_dir().join(ALL).join(name)
}

/// Makes the socket and listens.
///
/// # Errors
/// When that is not possible; nothing is left then.
pub(crate) fn open(directory: &Path, about: &About<'_>) -> Result<OwnedFd, Error> {
    let opened = make(directory, about).inspect_err(|_| drop(remove(directory)));
    opened.map_err(|e| Error::host(format!("make a metrics socket in {directory:?}"), e))
}

fn make(directory: &Path, about: &About<'_>) -> io::Result<OwnedFd> {
    // What a daemon left that was killed, and that nobody has cleaned up after yet.
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    create(directory)?;
    fs::write(directory.join(ABOUT), serde_json::to_vec(about)?)?;
    UnixListener::bind(directory.join(SOCKET)).map(OwnedFd::from)
}

/// Makes the directory. Who removes the last other one removes the one above it as well, perhaps just now.
fn create(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    for _ in 0..ATTEMPTS {
        match builder.create(directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    builder.create(directory)
}

/// Removes the directory, if there is one.
///
/// # Errors
/// When it is there and stays.
pub(crate) fn remove(directory: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| Error::host(format!("remove directory {directory:?}"), e))?,
    }
    // The last one leaves nothing; another may be coming.
    drop(directory.parent().map(fs::remove_dir));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn whoever_comes_finds_the_socket_until_it_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let directory = state.path().join(ALL).join("0123");
        let cgroup = CgroupPaths::default();
        let about = About {
            namespace: "n",
            id: "i",
            cgroup: &cgroup,
        };
        for _ in 0..2 {
            let socket = open(&directory, &about).unwrap();
            UnixStream::connect(directory.join(SOCKET)).unwrap();
            drop(socket);
        }
        let text = fs::read_to_string(directory.join(ABOUT)).unwrap();
        assert!(text.contains(r#""namespace":"n""#), "{text}");
        remove(&directory).unwrap();
        remove(&directory).unwrap();
        assert!(!state.path().join(ALL).exists());
    }

    #[test]
    fn those_that_go_are_not_in_the_way_of_those_that_come() {
        let state = tempfile::tempdir().unwrap();
        let all = state.path().join(ALL);
        let cgroup = CgroupPaths::default();
        let come_and_go = |name: &str| {
            let about = About {
                namespace: "n",
                id: name,
                cgroup: &cgroup,
            };
            for _ in 0..300 {
                open(&all.join(name), &about).unwrap();
                remove(&all.join(name)).unwrap();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| come_and_go("a"));
            come_and_go("b");
        });
    }

    #[test]
    fn directories_differ_by_namespace_and_id() {
        let id = |text: &str| ContainerId::parse(text).unwrap();
        let path = directory("a", &id("b"));
        assert_eq!(path, directory("a", &id("b")));
        assert_ne!(path, directory("a", &id("c")));
        assert_ne!(path, directory("c", &id("b")));
    }
}
