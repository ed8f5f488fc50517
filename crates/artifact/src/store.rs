//! The directory that keeps artifacts.

use crate::error::{self, Error};
use crate::leftovers::{self, Temporary};
use crate::{Flaw, Key, Lock, is_artifact, stream, trailer};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};
use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _};
use std::path::Path;

/// Permission bits of everything that is kept. Others may read what they cannot reach, since the directory is
/// ours alone: a container's user opens the artifact that it was handed once more, to map it.
pub(crate) const FILE_MODE: u32 = 0o444;
/// The permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;

/// Most bytes that are kept. Beyond that the least recently used artifacts go; whoever runs one keeps it.
const MAX_SIZE: u64 = 8 << 30;

/// Mode of the store's directory.
const DIRECTORY_MODE: u32 = 0o700;
/// Mode of directories above it that are missing.
const PARENT_MODE: u32 = 0o755;

/// A directory of artifacts that belongs to us alone. Any number of processes may use it at once.
#[derive(Debug)]
pub struct Store {
    directory: OwnedFd,
}

/// What is stored under a key.
#[derive(Debug)]
pub enum Found {
    /// A file that only we can have written. Its digest was not checked: see
    /// [`verify`](crate::verify).
    Good(File),
    /// Something that must not be used; [`Store::insert`] puts a good file in its place.
    Bad(Flaw),
    /// Nothing.
    Absent,
}

impl Store {
    /// Uses a directory that was checked before, by [`Store::prepare`] in another process.
    #[must_use]
    pub fn at(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// Opens the directory of the store, made if it is absent, and checks that artifacts in it are
    /// safe and can be run.
    ///
    /// # Errors
    /// [`Error::Directory`] when it cannot be made or opened, is a symbolic link or no directory,
    /// belongs to another user than our effective one, is open to other users, or lies on a file
    /// system that is mounted `noexec`.
    pub fn prepare(path: &Path) -> Result<Self, Error> {
        let refused = |why: String| Error::Directory {
            path: path.to_owned(),
            why,
        };
        make(path).map_err(|e| refused(format!("making it: {}", error::errno(&e).desc())))?;
        let directory = open(path).map_err(|errno| refused(not_opened(errno)))?;
        let store = Self { directory };
        match store.unfit() {
            Ok(None) => Ok(store),
            Ok(Some(why)) => Err(refused(why)),
            Err(errno) => Err(refused(format!("looking at it: {}", errno.desc()))),
        }
    }

    /// Opens the directory of the store as it is, to look at what is in it or to remove that; `None`
    /// when there is none. Whether artifacts in it may be run is for [`Store::unfit`] to say.
    ///
    /// # Errors
    /// [`Error::Directory`] when it cannot be opened, is a symbolic link or no directory.
    pub fn existing(path: &Path) -> Result<Option<Self>, Error> {
        match open(path) {
            Ok(directory) => Ok(Some(Self { directory })),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::Directory {
                path: path.to_owned(),
                why: not_opened(errno),
            }),
        }
    }

    /// What makes the directory useless for artifacts, and what to do about it. The text goes on
    /// after the directory's name.
    ///
    /// # Errors
    /// As [fstat(2)](https://man7.org/linux/man-pages/man2/fstat.2.html) and fstatvfs(3).
    pub fn unfit(&self) -> Result<Option<String>, Errno> {
        unsafe_directory(self.directory.as_fd())
    }

    /// Looks for the artifact of a key, without reading it.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be opened for a reason that lies in the host.
    pub fn open(&self, key: &Key) -> Result<Found, Error> {
        let name = key.to_string();
        for _ in 0..REPLACED {
            let file = match self.open_name(&name) {
                Ok(file) => file,
                Err(Errno::ENOENT) => return Ok(Found::Absent),
                // A symbolic link, a socket.
                Err(Errno::ELOOP | Errno::ENXIO) => return Ok(Found::Bad(Flaw::Type)),
                Err(errno) => return Err(Error::file("opening", &name, errno)),
            };
            match check(&file).and_then(|()| trailer::read(&file)) {
                Ok(_) => return Ok(Found::Good(file)),
                // It was evicted or replaced since it was opened.
                Err(Flaw::Links(0)) => {}
                Err(flaw) => return Ok(Found::Bad(flaw)),
            }
        }
        Ok(Found::Absent)
    }

    /// Takes the lock of a key, so that one process compiles what many wait for. `None` when
    /// somebody else has it.
    ///
    /// # Errors
    /// [`Error::File`] when the lock file cannot be made or locked.
    pub fn try_lock(&self, key: &Key) -> Result<Option<Lock>, Error> {
        Lock::try_take(self.directory.as_fd(), format!("{key}{}", leftovers::LOCK))
    }

    /// Takes one of `count` places for those who compile, so that a host never has more compilations
    /// at once than it can bear. `None` when all are taken.
    ///
    /// # Errors
    /// As [`Store::try_lock`].
    pub fn try_slot(&self, count: usize) -> Result<Option<Lock>, Error> {
        for number in 0..count {
            let name = format!("{}{number}{}", leftovers::SLOT, leftovers::LOCK);
            if let Some(slot) = Lock::try_take(self.directory.as_fd(), name)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Stores an artifact under a key, in place of what may be there. It is on disk when this
    /// returns, and at no time does anybody find a part of it.
    ///
    /// The bytes are digested as they are written, so the file may belong to a compiler that is
    /// not trusted; it is read from its first byte to its end. What processes that were killed left
    /// behind is removed.
    ///
    /// # Errors
    /// [`Error::NotAnArtifact`], or [`Error::File`] when it cannot be read or written.
    pub fn insert(&self, key: &Key, artifact: &File) -> Result<(), Error> {
        let name = key.to_string();
        leftovers::sweep(self.directory.as_fd());
        let mut header = [0; 8];
        match artifact.read_exact_at(&mut header, 0) {
            Ok(()) if is_artifact(&header) => {}
            Ok(()) | Err(_) => return Err(Error::NotAnArtifact),
        }
        let mut temporary = Temporary::create(self.directory.as_fd())
            .map_err(|errno| Error::file("making a file for", &name, errno))?;
        let mut digest = trailer::Digest::new(key);
        stream::whole(artifact, u64::MAX, |chunk| {
            digest.update(chunk);
            temporary.write_all(chunk)
        })
        .and_then(|_| temporary.write_all(&digest.trailer()))
        .map_err(|e| Error::file("writing", &name, e))?;
        temporary
            .keep_as(&name)
            .map_err(|e| Error::file("keeping", &name, e))?;
        self.evict(key, MAX_SIZE);
        Ok(())
    }

    /// Opens a file of the directory for reading, never through a link and never waiting.
    pub(crate) fn open_name(&self, name: &str) -> Result<File, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        // The time of access tells of uses, and looking is none. Only the owner may ask for that.
        let quietly = openat(
            &self.directory,
            name,
            flags | OFlag::O_NOATIME,
            Mode::empty(),
        );
        match quietly {
            Err(Errno::EPERM) => openat(&self.directory, name, flags, Mode::empty()),
            opened => opened,
        }
        .map(File::from)
    }

    /// The open directory, to hand it on as it was checked.
    #[must_use]
    pub fn into_directory(self) -> OwnedFd {
        self.directory
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// How often an artifact may be replaced while it is opened.
const REPLACED: usize = 100;

/// Checks that only we can have written a file.
pub(crate) fn check(file: &File) -> Result<(), Flaw> {
    let metadata = file.metadata()?;
    let mode = metadata.mode() & PERMISSIONS;
    if !metadata.is_file() {
        Err(Flaw::Type)
    } else if metadata.uid() != nix::unistd::geteuid().as_raw() {
        Err(Flaw::Owner(metadata.uid()))
    } else if mode != FILE_MODE {
        Err(Flaw::Mode(mode))
    } else if metadata.nlink() != 1 {
        Err(Flaw::Links(metadata.nlink()))
    } else {
        Ok(())
    }
}

/// Makes the directory unless something has its name.
fn make(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        let mut parents = DirBuilder::new();
        parents.mode(PARENT_MODE).recursive(true).create(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty())
}

fn not_opened(errno: Errno) -> String {
    if matches!(errno, Errno::ENOTDIR | Errno::ELOOP) {
        "it is not a directory".to_owned()
    } else if errno == Errno::EACCES && !nix::unistd::geteuid().is_root() {
        "only root may look into it".to_owned()
    } else {
        format!("opening it: {}", errno.desc())
    }
}

/// What makes a directory useless for artifacts, and what to do about it.
fn unsafe_directory(directory: BorrowedFd<'_>) -> Result<Option<String>, Errno> {
    let stat = nix::sys::stat::fstat(directory)?;
    let us = nix::unistd::geteuid().as_raw();
    let mode = stat.st_mode & PERMISSIONS;
    if stat.st_uid != us {
        let uid = stat.st_uid;
        return Ok(Some(format!(
            "it belongs to uid {uid}, but must belong to uid {us}: run chown {us} on it"
        )));
    }
    if mode & 0o077 != 0 {
        return Ok(Some(format!(
            "its mode is {mode:03o}, but no other user may have access: run chmod 700 on it"
        )));
    }
    if fstatvfs(directory)?.flags().contains(FsFlags::ST_NOEXEC) {
        return Ok(Some(
            "it is on a file system that is mounted noexec, but holds code: \
             mount it exec or set HULL_ARTIFACTS to another directory"
                .to_owned(),
        ));
    }
    Ok(None)
}
