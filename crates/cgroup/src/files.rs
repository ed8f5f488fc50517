//! Reading and writing the files of one cgroup directory.
//!
//! Files are opened relative to the directory and never through a symbolic link; content is read
//! up to a bound.

use crate::Error;
use hull_sys::Errno;
use nix::dir::{Dir, Type};
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, faccessat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

/// Bound on the content of a file. The largest (`memory.stat`, `cgroup.procs` of a cgroup at the
/// default process limit) stay far below.
const MAX_CONTENT: usize = 8 << 20;

/// An open cgroup directory, and its path for messages.
#[derive(Debug)]
pub(crate) struct CgroupDir {
    fd: OwnedFd,
    path: String,
}

impl CgroupDir {
    /// Opens a directory of a cgroup hierarchy.
    pub(crate) fn open(path: &str) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|errno| Error::Io {
            operation: "open",
            path: path.to_owned(),
            errno,
        })?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Like [`CgroupDir::open`], with `None` where there is none.
    pub(crate) fn open_if_present(path: &str) -> Result<Option<Self>, Error> {
        match Self::open(path) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Path of a file in the directory, for messages.
    pub(crate) fn path_of(&self, name: impl AsRef<OsStr>) -> String {
        format!("{}/{}", self.path, name.as_ref().display())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let mode = nix::unistd::AccessFlags::F_OK;
        faccessat(&self.fd, name, mode, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    }

    /// Writes a value in one call, as cgroup files want it.
    pub(crate) fn write(&self, name: &str, value: &str) -> Result<(), Error> {
        self.try_write(name, value).map_err(|errno| Error::Write {
            value: value.to_owned(),
            path: self.path_of(name),
            errno,
        })
    }

    fn try_write(&self, name: &str, value: &str) -> Result<(), Errno> {
        let fd = self.open_file(name, OFlag::O_WRONLY)?;
        loop {
            match nix::unistd::write(&fd, value.as_bytes()) {
                Ok(written) if written == value.len() => return Ok(()),
                // A cgroup file takes a value whole or not at all.
                Ok(_) => return Err(Errno::EIO),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Opens a file of the directory.
    pub(crate) fn open_file(
        &self,
        name: impl AsRef<OsStr>,
        access: OFlag,
    ) -> Result<OwnedFd, Errno> {
        let name = name.as_ref();
        if name.is_empty() || name.as_bytes().contains(&b'/') {
            return Err(Errno::EINVAL);
        }
        openat(
            &self.fd,
            name,
            access | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
    }

    /// The whole content.
    pub(crate) fn read(&self, name: &str) -> Result<String, Error> {
        self.try_read(name).map_err(|errno| Error::Io {
            operation: "read",
            path: self.path_of(name),
            errno,
        })
    }

    /// The content, or `None` where there is no such file or the kernel has it switched off.
    pub(crate) fn read_if_present(&self, name: &str) -> Result<Option<String>, Error> {
        match self.try_read(name) {
            Ok(content) => Ok(Some(content)),
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::Io {
                operation: "read",
                path: self.path_of(name),
                errno,
            }),
        }
    }

    fn try_read(&self, name: &str) -> Result<String, Errno> {
        let fd = self.open_file(name, OFlag::O_RDONLY)?;
        let mut content = Vec::new();
        let mut buffer = [0u8; 8192];
        loop {
            match nix::unistd::read(&fd, &mut buffer) {
                Ok(0) => break,
                Ok(count) => content.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            if content.len() > MAX_CONTENT {
                return Err(Errno::EFBIG);
            }
        }
        String::from_utf8(content).map_err(|_| Errno::EILSEQ)
    }

    /// Makes a child directory; says whether it was made (`false`: it was there).
    pub(crate) fn make_child(&self, name: &str) -> Result<bool, Error> {
        match mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => Ok(true),
            Err(Errno::EEXIST) => Ok(false),
            Err(errno) => Err(Error::Io {
                operation: "mkdir",
                path: self.path_of(name),
                errno,
            }),
        }
    }

    /// Opens a child directory.
    pub(crate) fn child(&self, name: impl AsRef<OsStr>) -> Result<Self, Error> {
        let name = name.as_ref();
        let fd = self
            .open_file(name, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .map_err(|errno| Error::Io {
                operation: "open",
                path: self.path_of(name),
                errno,
            })?;
        Ok(Self {
            fd,
            path: self.path_of(name),
        })
    }

    /// The directory above. Walking with this instead of open parents needs no more descriptors the
    /// deeper a container has nested its cgroups.
    pub(crate) fn parent(&self) -> Result<Self, Error> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, "..", flags, Mode::empty()).map_err(|errno| Error::Io {
            operation: "open",
            path: self.path_of(".."),
            errno,
        })?;
        let path = self
            .path
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent)
            .to_owned();
        Ok(Self { fd, path })
    }

    /// Names of the child cgroups. The container may have made them and chosen any bytes.
    pub(crate) fn children(&self) -> Result<Vec<OsString>, Error> {
        let failed = |errno| Error::Io {
            operation: "list",
            path: self.path.clone(),
            errno,
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut dir = Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            if entry.file_type() != Some(Type::Directory) {
                continue;
            }
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
            }
        }
        Ok(names)
    }

    /// Removes an empty child cgroup.
    pub(crate) fn remove_child(&self, name: impl AsRef<OsStr>) -> Result<(), Errno> {
        unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::RemoveDir)
    }
}

impl AsFd for CgroupDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
