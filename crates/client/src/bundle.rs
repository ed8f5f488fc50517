//! Bundles as containerd prepares them for a shim.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::error::{Error, Result};
use crate::fifo::{FifoReader, make_fifo};
use crate::spec::Spec;

/// A bundle directory with `config.json`, an empty `rootfs` and the `log` FIFO.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    log: Mutex<FifoReader>,
}

impl Bundle {
    /// Makes the directory with containerd's modes (containerd `core/runtime/v2/bundle.go`).
    ///
    /// # Errors
    /// The path that could not be made, for one an existing bundle of the same name.
    pub fn make(path: &Path, spec: &Spec) -> Result<Self> {
        Self::make_with_config(path, &spec.json().to_string())
    }

    /// The same with any text as `config.json`.
    ///
    /// # Errors
    /// As [`Bundle::make`].
    pub fn make_with_config(path: &Path, config: &str) -> Result<Self> {
        let make = |path: &Path, mode: u32| {
            DirBuilder::new()
                .mode(mode)
                .create(path)
                .map_err(Error::path("make directory", path))
        };
        make(path, 0o700)?;
        let rootfs = path.join("rootfs");
        make(&rootfs, 0o711)?;
        // The umask may have taken bits that containerd sets.
        fs::set_permissions(&rootfs, fs::Permissions::from_mode(0o711))
            .map_err(Error::path("chmod", &rootfs))?;
        let file = path.join("config.json");
        fs::write(&file, config).map_err(Error::path("write", &file))?;
        let log = path.join("log");
        make_fifo(&log)?;
        Ok(Self {
            path: path.to_owned(),
            log: Mutex::new(FifoReader::open(&log)?),
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mount point for the root file system.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.path.join("rootfs")
    }

    /// What the shim logged since the last call.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().map_or_else(
            |_poisoned| String::new(),
            |mut log| String::from_utf8_lossy(&log.read_available()).into_owned(),
        )
    }

    /// Removes the bundle as containerd does: `rootfs` must be empty and no mount.
    ///
    /// # Errors
    /// The path that could not be removed: EBUSY for a mount, ENOTEMPTY for files that the shim
    /// left in `rootfs`.
    pub fn remove(&self) -> Result<()> {
        let rootfs = self.rootfs();
        match fs::remove_dir(&rootfs) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::path("remove directory", &rootfs)(error));
            }
            Ok(()) | Err(_) => {}
        }
        fs::remove_dir_all(&self.path).map_err(Error::path("remove bundle", &self.path))
    }
}
