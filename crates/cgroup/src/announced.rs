//! Files that the kernel changes by itself and announces: `cgroup.events`, `memory.events`.

use crate::Error;
use crate::files::CgroupDir;
use hull_sys::Errno;
use hull_sys::eventfd::AnyReadable;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// Bound on the content: a few short lines.
const MAX_CONTENT: usize = 4096;

/// An open file of a cgroup that is read again and again. Opening it each time would walk through the
/// tree, which waits for whoever makes or removes a cgroup anywhere in it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    path: String,
}

/// An open file. Its descriptor is readable from a change of the content until the next
/// [`read`](Announced::read); everything is close-on-exec.
#[derive(Debug)]
pub(crate) struct Announced {
    file: OpenFile,
    changed: AnyReadable,
}

impl Announced {
    /// Opens a file of a cgroup.
    ///
    /// # Errors
    /// [`Error::Io`] when there is no such file or descriptors are used up.
    pub(crate) fn open(dir: &CgroupDir, name: &str) -> Result<Self, Error> {
        let file = dir.open_file(name, OFlag::O_RDONLY);
        let path = dir.path_of(name);
        match file {
            Ok(file) => Self::of(OpenFile::new(file, path)),
            Err(errno) => Err(unwatched(path, errno)),
        }
    }

    /// An open file that the kernel announces changes of.
    ///
    /// # Errors
    /// [`Error::Io`] when descriptors are used up.
    pub(crate) fn of(file: OpenFile) -> Result<Self, Error> {
        match AnyReadable::announcing(file.file.as_fd()) {
            Ok(changed) => Ok(Self { file, changed }),
            Err(errno) => Err(unwatched(file.path, errno)),
        }
    }

    /// The content; `None` once the cgroup is gone. A change after the call is announced.
    ///
    /// # Errors
    /// As [`OpenFile::read`].
    pub(crate) fn read(&self) -> Result<Option<String>, Error> {
        self.file.read()
    }
}

fn unwatched(path: String, errno: Errno) -> Error {
    Error::Io {
        operation: "watch",
        path,
        errno,
    }
}

impl OpenFile {
    pub(crate) fn new(file: OwnedFd, path: String) -> Self {
        Self {
            file: file.into(),
            path,
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The content; `None` once the cgroup is gone.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, [`Error::Content`] when it is no text.
    pub(crate) fn read(&self) -> Result<Option<String>, Error> {
        let mut content = vec![0; MAX_CONTENT];
        let length = loop {
            match self.file.read_at(&mut content, 0) {
                Ok(length) => break length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = Errno::from_raw(error.raw_os_error().unwrap_or(0));
                    if errno == Errno::ENODEV {
                        return Ok(None);
                    }
                    return Err(Error::Io {
                        operation: "read",
                        path: self.path.clone(),
                        errno,
                    });
                }
            }
        };
        content.truncate(length);
        let text = String::from_utf8(content).map_err(|error| Error::Content {
            path: self.path.clone(),
            content: String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })?;
        Ok(Some(text))
    }
}

impl AsFd for Announced {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changed.as_fd()
    }
}
