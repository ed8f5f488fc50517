//! One compilation at a time for each key ([flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html)).

use crate::Error;
use crate::leftovers::is_named;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::{File, TryLockError};
use std::os::fd::{BorrowedFd, OwnedFd};

/// The lock of a key, held until this is dropped or its process dies. The lock file goes with it.
#[derive(Debug)]
pub struct Lock {
    directory: OwnedFd,
    name: String,
    /// Closing it gives the lock up.
    _file: File,
}

impl Lock {
    pub(crate) fn try_take(directory: BorrowedFd<'_>, name: String) -> Result<Option<Self>, Error> {
        let failed = |errno: Errno| Error::file("locking", &name, errno);
        let flags = OFlag::O_RDWR
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC
            | OFlag::O_NONBLOCK;
        loop {
            let mode = Mode::S_IRUSR | Mode::S_IWUSR;
            let file = openat(directory, name.as_str(), flags, mode).map_err(failed)?;
            let file = File::from(file);
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(Error::file("locking", &name, e)),
            }
            // Between open and lock, its former holder may have removed the file: then somebody
            // else can hold the lock of a new one with this name.
            if is_named(&file, directory, &name).map_err(failed)? {
                let directory = directory
                    .try_clone_to_owned()
                    .map_err(|e| Error::file("locking", &name, e))?;
                return Ok(Some(Self {
                    directory,
                    name,
                    _file: file,
                }));
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked, so the name is ours. A file that cannot be removed does no harm: it is
        // taken over by the next one to lock, or swept away.
        let _kept = unlinkat(
            &self.directory,
            self.name.as_str(),
            UnlinkatFlags::NoRemoveDir,
        );
    }
}
