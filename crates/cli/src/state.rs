//! The directories of containers that run, and of those whose `hull` is dead.
//!
//! Each container has a directory that its `hull` holds a lock of. A directory that nobody holds is
//! left over: its `hull` was killed. Whoever finds it, the guard of that `hull` or the next `hull`,
//! takes the lock and removes what is left, the container included.

mod place;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hull_abi::ContainerId;
use hull_client::ShimBinary;
use nix::fcntl::OFlag;
use nix::mount::{MntFlags, umount2};

use crate::error::Error;
use crate::{host, output, processes};
use place::{lock_all, runs};

pub(crate) use place::{mount_point, socket_dir, state_dir};

/// The namespace of containerd's API that our containers are in, and what the names of their cgroups begin with.
pub(crate) const NAMESPACE: &str = "hull";

/// File whose lock says that the directory is in use.
const LOCK: &str = "lock";
/// What is in it: nobody else's directory is taken for one of ours.
const MARK: &[u8] = b"the lock of a container of hull\n";
/// A directory that is being made or removed. No container has such a name.
const HALF: &str = ",half";

/// The directory of one container, in use by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct RunDir {
    id: String,
    path: PathBuf,
    _lock: File,
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
        let runs = runs()?;
        sweep(&runs)?;
        let _all = lock_all(&runs)?;
        let path = runs.join(id);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(
                Error::new(format!("run {id}"), "there is a container of this name")
                    .advise("choose another --name"),
            );
        }
        // It gets its name once it is locked, so that nobody finds it without a lock.
        let half = clear_half(&runs)?;
        DirBuilder::new()
            .mode(0o700)
            .create(&half)
            .map_err(failed("make directory", &half))?;
        let file = half.join(LOCK);
        let mut lock = File::create_new(&file).map_err(failed("make", &file))?;
        lock.write_all(MARK).map_err(failed("write", &file))?;
        lock.try_lock()
            .map_err(|error| Error::new(format!("lock {}", file.display()), error))?;
        fs::rename(&half, &path).map_err(failed("make directory", &path))?;
        Ok(Self {
            id: id.to_owned(),
            path,
            _lock: lock,
        })
    }

    /// Takes over the directory of a `hull` that is dead; nothing if it is not, or is gone.
    fn take_over(path: &Path) -> Option<Self> {
        let id = path.file_name()?.to_str()?;
        let id = ContainerId::parse(id).ok()?.as_str().to_owned();
        if !fs::symlink_metadata(path).ok()?.is_dir() {
            return None;
        }
        let lock = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path.join(LOCK))
            .ok()?;
        let mut mark = Vec::new();
        let limit = u64::try_from(MARK.len()).ok()? + 1;
        (&lock).take(limit).read_to_end(&mut mark).ok()?;
        if mark != MARK || lock.metadata().ok()?.uid() != 0 {
            return None;
        }
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => return None,
        }
        // It may have been removed by another in the meantime, and the name be in use again.
        let (ours, there) = (
            lock.metadata().ok()?,
            fs::symlink_metadata(path.join(LOCK)).ok()?,
        );
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
                .map_err(|error| Error::caused(format!("delete container {}", self.id), &error))?;
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
        self.check_unmounted()?;
        let entries = fs::read_dir(&self.path).map_err(failed("read", &self.path))?;
        for entry in entries {
            let entry = entry.map_err(failed("read", &self.path))?;
            if entry.file_name() != LOCK {
                remove_entry(&entry).map_err(failed("remove", &entry.path()))?;
            }
        }
        let runs = self.path.parent().unwrap_or(&self.path);
        let _all = lock_all(runs)?;
        let half = clear_half(runs)?;
        fs::rename(&self.path, &half).map_err(failed("remove", &self.path))?;
        clear_half(runs).map(drop)
    }

    /// Makes sure that files behind a mount, which may be the user's, are not taken for ours.
    fn check_unmounted(&self) -> Result<(), Error> {
        // A mount point that is there or has something in it cannot be removed, and nothing can be
        // mounted on one that is gone.
        for point in self.mount_points() {
            match fs::remove_dir(&point) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove mount point", &point)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        let mounts = hull_sys::mount::list()
            .map_err(|errno| Error::new("read /proc/self/mountinfo", errno.desc()))?;
        let inside = mounts
            .iter()
            .find(|mount| mount.point.starts_with(&self.path));
        inside.map_or(Ok(()), |mount| {
            Err(Error::new(
                format!("remove {}", self.path.display()),
                format!("something is still mounted on {}", mount.point.display()),
            ))
        })
    }

    /// Where [`RootFs::prepare`](crate::run::RootFs::prepare) and the shim mount.
    fn mount_points(&self) -> [PathBuf; 3] {
        [
            self.bundle().join("rootfs"),
            self.path.join("scratch"),
            self.path.join("lower"),
        ]
    }

    /// Undoes what [`RootFs::prepare`](crate::run::RootFs::prepare) and a dead shim mounted. In
    /// another process than the one that mounted there is nothing to undo.
    fn unmount(&self) {
        for point in self.mount_points() {
            let _gone = umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
    }
}

fn remove_entry(entry: &fs::DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() {
        fs::remove_dir_all(entry.path())
    } else {
        fs::remove_file(entry.path())
    }
}

/// Removes a directory that somebody was killed over; gives its path. The lock of all is held.
fn clear_half(runs: &Path) -> Result<PathBuf, Error> {
    let half = runs.join(HALF);
    drop(fs::remove_file(half.join(LOCK)));
    match fs::remove_dir(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &half)(error))
        }
        Ok(()) | Err(_) => Ok(half),
    }
}

/// Removes the container of this name if its `hull` is dead.
///
/// # Errors
/// What could not be removed.
pub(crate) fn remove_abandoned(name: &str) -> Result<(), Error> {
    let id = ContainerId::parse(name).map_err(|error| Error::new("guard", error))?;
    match RunDir::take_over(&runs()?.join(id.as_str())) {
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
            Ok(()) => format!("removed container {id}: it was left over"),
            Err(error) => format!("remove what is left of container {id}: {error}"),
        });
    }
    Ok(())
}
