//! What `delete` must know when the daemon was killed: a small file in the bundle, written before
//! the container's init process may run.

use crate::error::Error;
use hull_abi::{CgroupPaths, Hook, PodFiles};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Name of the file in the bundle.
const NAME: &str = "hull-state";

/// Version of its content; another one is not understood.
const VERSION: u32 = 1;

/// Largest file that is read. One of ours has some 4 KiB, but hooks and annotations of a config may
/// make it as long as that.
const LIMIT: u64 = 64 << 20;

/// What has to be cleaned up for one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateFile {
    version: u32,
    /// The container.
    pub(crate) id: String,
    /// Its init process as the host sees it; 0 before there is one.
    pub(crate) pid: i32,
    /// When that process began, in clock ticks since boot: a process with the same number but
    /// another start is somebody else.
    pub(crate) start_time: u64,
    /// Its cgroup.
    pub(crate) cgroup: CgroupPaths,
    /// Absolute path of its root file system.
    pub(crate) rootfs: PathBuf,
    /// Whether we mounted the root file system.
    pub(crate) rootfs_mounted: bool,
    /// What to run in the end, if anything.
    pub(crate) poststop: Option<Poststop>,
    /// A directory that has a copy of this file as long as the container exists.
    #[serde(default)]
    pub(crate) copy: Option<PathBuf>,
    /// Files that it holds for the containers of its pod.
    #[serde(default)]
    pub(crate) pod_files: Option<PodFiles>,
    /// Directory of the socket at which its program tells how it does, if it is a Wasm server.
    #[serde(default)]
    pub(crate) observed: Option<PathBuf>,
}

/// The poststop hooks of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Poststop {
    /// The programs.
    pub(crate) hooks: Vec<Hook>,
    /// What they get on standard input: the state of the stopped container.
    pub(crate) state: String,
}

/// Directory of what we keep outside of bundles; it lives as long as the machine is up.
pub(crate) fn state_dir() -> PathBuf {
    // Tests have their own.
    std::env::var_os("HULL_STATE_DIR")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("/run/hull"), PathBuf::from)
}

/// The start time of a process: field 22 of `/proc/PID/stat`
/// (<https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html>).
///
/// # Errors
/// `NotFound` when there is no such process.
pub(crate) fn start_time(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the state, field 3, follows the last one.
    let (_, after) = stat.rsplit_once(") ").ok_or(io::ErrorKind::InvalidData)?;
    let field = after
        .split(' ')
        .nth(22 - 3)
        .ok_or(io::ErrorKind::InvalidData)?;
    field.parse().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Reads the file of a bundle; `None` where there is none.
///
/// # Errors
/// [`Error::Invalid`] when the content is not ours, [`Error::Host`] when it cannot be read.
pub(crate) fn read(bundle: &Path) -> Result<Option<StateFile>, Error> {
    let path = bundle.join(NAME);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LIMIT).read_to_end(&mut bytes));
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| Error::host(format!("read {path:?}"), e))?,
    };
    let state: StateFile = serde_json::from_slice(&bytes)
        .map_err(|e| Error::Invalid(format!("state file {path:?}: {e}")))?;
    if state.version != VERSION {
        let version = state.version;
        return Err(Error::Invalid(format!(
            "state file {path:?} has unknown version {version}"
        )));
    }
    Ok(Some(state))
}

/// Removes the file of a bundle, if there is one.
///
/// # Errors
/// [`Error::Host`] when it is there and stays.
pub(crate) fn remove(bundle: &Path) -> Result<(), Error> {
    let path = bundle.join(NAME);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::host(format!("unlink {path:?}"), e))
        }
        _ => Ok(()),
    }
}

// === impl StateFile ===

impl StateFile {
    /// The state of a container whose init process is `pid`, 0 before there is one.
    ///
    /// # Errors
    /// [`Error::Host`] when there is no such process.
    pub(crate) fn new(id: &str, pid: i32) -> Result<Self, Error> {
        let start_time = match pid {
            0 => 0,
            _ => start_time(pid).map_err(|e| Error::host(format!("read /proc/{pid}/stat"), e))?,
        };
        Ok(Self {
            version: VERSION,
            id: id.to_owned(),
            pid,
            start_time,
            cgroup: CgroupPaths::default(),
            rootfs: PathBuf::new(),
            rootfs_mounted: false,
            poststop: None,
            copy: None,
            pod_files: None,
            observed: None,
        })
    }

    /// Writes the file into a bundle with mode 0600, and its copy; whoever reads one sees all of it or
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Host`] with the path.
    pub(crate) fn write(&self, bundle: &Path) -> Result<(), Error> {
        let write = |directory: &Path| {
            let written = serde_json::to_vec(self)
                .map_err(io::Error::other)
                .and_then(|bytes| crate::bundle::write(directory, NAME, &bytes));
            written.map_err(|e| Error::host(format!("write {:?}", directory.join(NAME)), e))
        };
        // First where `delete` looks: it removes the copy.
        write(bundle)?;
        let Some(copy) = &self.copy else {
            return Ok(());
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(copy)
            .map_err(|e| Error::host(format!("make directory {copy:?}"), e))?;
        write(copy)
    }
}

/// Removes a copy with its directory, if there is one.
///
/// # Errors
/// [`Error::Host`] when it is there and stays.
pub(crate) fn remove_copy(directory: &Path) -> Result<(), Error> {
    remove(directory)?;
    match fs::remove_dir(directory) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(Error::host(format!("remove directory {directory:?}"), e))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_abi::V1Path;
    use std::os::unix::fs::MetadataExt;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(read(bundle.path()).unwrap(), None);
        let mut state = StateFile::new("c1", own_pid()).unwrap();
        state.rootfs = PathBuf::from("/b/rootfs");
        state.rootfs_mounted = true;
        state.poststop = Some(Poststop {
            hooks: vec![Hook {
                path: "/bin/true".to_owned(),
                args: Vec::new(),
                env: vec!["A=b".to_owned()],
                timeout_seconds: Some(1),
            }],
            state: "{}".to_owned(),
        });
        state.cgroup = CgroupPaths {
            scope: None,
            unified: Some("/sys/fs/cgroup/unified/c1".to_owned()),
            v1: vec![V1Path {
                controllers: vec!["cpu".to_owned(), "cpuacct".to_owned()],
                path: "/sys/fs/cgroup/cpu/c1".to_owned(),
                mount: "/sys/fs/cgroup/cpu".to_owned(),
            }],
        };
        state.write(bundle.path()).unwrap();
        assert_eq!(read(bundle.path()).unwrap(), Some(state));
        let mode = fs::metadata(bundle.path().join(NAME)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(bundle.path()).unwrap().count(), 1);
        remove(bundle.path()).unwrap();
        remove(bundle.path()).unwrap();
        assert_eq!(read(bundle.path()).unwrap(), None);
    }

    #[test]
    fn copy_comes_and_goes_with_its_directory() {
        let (bundle, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let copy = root.path().join("ns/c1");
        let mut state = StateFile::new("c1", own_pid()).unwrap();
        state.copy = Some(copy.clone());
        state.write(bundle.path()).unwrap();
        assert_eq!(read(&copy).unwrap(), Some(state));
        remove_copy(&copy).unwrap();
        remove_copy(&copy).unwrap();
        assert_eq!(fs::read_dir(root.path().join("ns")).unwrap().count(), 0);
    }

    #[test]
    fn foreign_content_is_refused() {
        let bundle = tempfile::tempdir().unwrap();
        for text in ["", "{}", "[1]", &"x".repeat(100_000)] {
            fs::write(bundle.path().join(NAME), text).unwrap();
            assert!(matches!(read(bundle.path()), Err(Error::Invalid(_))));
        }
        let mut state = StateFile::new("c1", own_pid()).unwrap();
        state.version = 2;
        state.write(bundle.path()).unwrap();
        let error = read(bundle.path()).unwrap_err().to_string();
        assert!(error.contains("unknown version 2"), "{error}");
    }

    #[test]
    fn the_start_time_is_that_of_the_kernel() {
        // Of two processes the younger began later; a comm with spaces and parentheses is ours.
        let ours = start_time(own_pid()).unwrap();
        assert!(ours > start_time(1).unwrap());
        assert_eq!(
            start_time(i32::MAX).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
