//! The directories of containers that run, and of those whose `hull` is dead.
//!
//! Each container has a directory that its `hull` holds a lock of. A directory that nobody holds is
//! left over: its `hull` was killed. Whoever finds it, the guard of that `hull` or the next `hull`,
//! takes the lock and removes what is left, the container included.

use std::env;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_abi::ContainerId;
use hull_client::ShimBinary;
use nix::mount::{MntFlags, umount2};

use crate::error::Error;
use crate::{host, output, processes};

/// The namespace of containerd's API that our containers are in, and the parent of their cgroups.
pub(crate) const NAMESPACE: &str = "hull";

/// File whose lock says that the directory is in use.
const LOCK: &str = "lock";

/// The directory of one container, in use by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct RunDir {
    id: String,
    path: PathBuf,
    _lock: File,
}

/// Where the state is kept: `$HULL_STATE_DIR`, or `/run/hull`, as for the shim.
fn state_dir() -> PathBuf {
    env::var_os("HULL_STATE_DIR")
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from("/run/hull"), PathBuf::from)
}

/// The directory of all containers.
fn runs() -> PathBuf {
    state_dir().join("run")
}

/// Where the shims' sockets are. Short, since the path of a socket has at most 107 bytes.
pub(crate) fn socket_dir() -> PathBuf {
    state_dir().join("s")
}

fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let what = format!("{what} {}", path.display());
    move |error| Error::new(what, error)
}

impl RunDir {
    /// Makes the directory of a new container, after everything that dead ones left is removed.
    ///
    /// # Errors
    /// When there is a container of that name, or the directory cannot be made.
    pub(crate) fn make(id: &str) -> Result<Self, Error> {
        let runs = runs();
        check_path(&runs)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&runs)
            .map_err(failed("make directory", &runs))?;
        sweep(&runs)?;
        // Nobody takes the directory for an abandoned one before it is locked.
        let _all = lock_all(&runs)?;
        let path = runs.join(id);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|error| {
                if error.kind() == io::ErrorKind::AlreadyExists {
                    Error::new(format!("run {id}"), "there is a container of this name")
                        .advise("choose another --name")
                } else {
                    failed("make directory", &path)(error)
                }
            })?;
        let file = path.join(LOCK);
        let lock = File::create_new(&file).map_err(failed("make", &file))?;
        lock.try_lock()
            .map_err(|error| Error::new(format!("lock {}", file.display()), error))?;
        Ok(Self {
            id: id.to_owned(),
            path,
            _lock: lock,
        })
    }

    /// Takes over the directory of a `hull` that is dead; nothing if it is not, or is gone.
    fn take_over(path: &Path) -> Option<Self> {
        let id = path.file_name()?.to_str()?.to_owned();
        let lock = File::open(path.join(LOCK));
        let lock = match lock {
            Ok(lock) => lock,
            // Killed between the two steps: there is nothing in it yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(fs::remove_dir(path));
                return None;
            }
            Err(_) => return None,
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        // It may have been removed by another in the meantime, and the name be in use again.
        let (ours, there) = (lock.metadata().ok()?, fs::metadata(path.join(LOCK)).ok()?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return None;
        }
        Some(Self {
            id,
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The container's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The path of the bundle.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
    }

    /// The socket on which we receive events.
    pub(crate) fn events(&self) -> PathBuf {
        // Beside the shims' sockets, for the same reason.
        socket_dir().join(format!("{}.e", self.id))
    }

    /// How the shim is called.
    ///
    /// # Errors
    /// When its binary is not there.
    pub(crate) fn shim(&self) -> Result<ShimBinary, Error> {
        Ok(ShimBinary {
            binary: host::shim()?,
            namespace: NAMESPACE.to_owned(),
            // Not a socket: it only makes the name of the shim's own socket.
            grpc_address: self.path.clone(),
            ttrpc_address: self.events(),
            env: Vec::new(),
            debug: false,
        })
    }

    /// Removes the container, whatever state it is in, and everything that belongs to it: the shim's
    /// processes, its cgroups, mounts and files.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub(crate) fn remove(self) -> Result<(), Error> {
        let bundle = self.bundle();
        if bundle.is_dir() {
            processes::kill_daemon(&bundle)?;
            // As containerd does it after the death of a shim.
            self.shim()?
                .delete(&self.id, &bundle)
                .map_err(|error| Error::new(format!("delete container {}", self.id), error))?;
        }
        self.remove_files()
    }

    /// Removes the directory of a container that is deleted and whose shim has ended.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub(crate) fn remove_files(self) -> Result<(), Error> {
        drop(fs::remove_file(self.events()));
        self.unmount();
        let mounted = fs::read_to_string("/proc/self/mountinfo")
            .map_err(failed("read", Path::new("/proc/self/mountinfo")))?;
        let inside = format!(" {}/", self.path.display());
        if mounted.contains(&inside) {
            // Files behind a mount may be the user's.
            return Err(Error::new(
                format!("remove {}", self.path.display()),
                "something is still mounted in it",
            ));
        }
        fs::remove_dir_all(&self.path).map_err(failed("remove", &self.path))
    }

    /// Undoes what [`RootFs::prepare`](crate::run::RootFs::prepare) and a dead shim mounted. In
    /// another process than the one that mounted there is nothing to undo.
    fn unmount(&self) {
        let points = [
            self.bundle().join("rootfs"),
            self.path.join("scratch"),
            self.path.join("lower"),
        ];
        for point in points {
            let _gone = umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
    }
}

/// overlayfs splits its options at these.
fn check_path(runs: &Path) -> Result<(), Error> {
    let text = runs.to_string_lossy();
    if runs.is_absolute() && !text.contains([',', ':', '\\', ' ', '\n']) {
        return Ok(());
    }
    Err(Error::new(
        format!("HULL_STATE_DIR {text}"),
        "it must be an absolute path without commas, colons, backslashes and blanks",
    ))
}

/// Excludes others who make or look for directories, for some system calls.
fn lock_all(runs: &Path) -> Result<File, Error> {
    let all = File::open(runs).map_err(failed("open", runs))?;
    all.lock().map_err(failed("lock", runs))?;
    Ok(all)
}

/// Removes the container of this name if its `hull` is dead.
///
/// # Errors
/// What could not be removed.
pub(crate) fn remove_abandoned(name: &str) -> Result<(), Error> {
    let id = ContainerId::parse(name).map_err(|error| Error::new("guard", error))?;
    match RunDir::take_over(&runs().join(id.as_str())) {
        Some(left) => left.remove(),
        None => Ok(()),
    }
}

/// Removes every container whose `hull` is dead. One that cannot be removed is told and stays.
fn sweep(runs: &Path) -> Result<(), Error> {
    let abandoned: Vec<RunDir> = {
        let _all = lock_all(runs)?;
        fs::read_dir(runs)
            .map_err(failed("read", runs))?
            .flatten()
            .filter_map(|entry| RunDir::take_over(&entry.path()))
            .collect()
    };
    for left in abandoned {
        let id = left.id.clone();
        output::warn(&match left.remove() {
            Ok(()) => format!("removed container {id}: its hull was killed"),
            Err(error) => format!("remove what is left of container {id}: {error}"),
        });
    }
    Ok(())
}
