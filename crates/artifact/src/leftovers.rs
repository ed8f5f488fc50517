//! Files on their way into the store, and the removal of those that never arrived.
//!
//! Temporary files and lock files are locked by the process that made them for as long as it lives,
//! so one that can be locked by another has been left behind.

use crate::store::FILE_MODE;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicU64, Ordering};

/// How the names of temporary files begin.
const TEMPORARY: &str = "tmp.";
/// How the names of lock files end.
pub(crate) const LOCK: &str = ".lock";

/// Makes names unique within the process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that is being written. It vanishes unless it is kept.
#[derive(Debug)]
pub(crate) struct Temporary<'a> {
    directory: BorrowedFd<'a>,
    name: String,
    file: File,
    kept: bool,
}

impl<'a> Temporary<'a> {
    pub(crate) fn create(directory: BorrowedFd<'a>) -> Result<Self, Errno> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{TEMPORARY}{}.{number}", std::process::id());
            let file = match openat(directory, name.as_str(), flags, Mode::S_IRUSR) {
                Ok(file) => File::from(file),
                Err(Errno::EEXIST) => continue,
                Err(errno) => return Err(errno),
            };
            // A sweep may have found it before it was locked.
            if file.try_lock().is_ok() && is_named(&file, directory, &name)? {
                return Ok(Self {
                    directory,
                    name,
                    file,
                    kept: false,
                });
            }
        }
    }

    /// Gives the file its name, in place of what has it, once its content is on disk.
    pub(crate) fn keep_as(mut self, name: &str) -> io::Result<()> {
        // The umask had a say in the mode until now.
        self.file
            .set_permissions(Permissions::from_mode(FILE_MODE))?;
        self.file.sync_all()?;
        renameat(self.directory, self.name.as_str(), self.directory, name)?;
        self.kept = true;
        File::from(self.directory.try_clone_to_owned()?).sync_all()
    }
}

impl Write for Temporary<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // A later sweep has another try.
            let _left = unlinkat(
                self.directory,
                self.name.as_str(),
                UnlinkatFlags::NoRemoveDir,
            );
        }
    }
}

/// Whether a file still has this name in the directory.
pub(crate) fn is_named(file: &File, directory: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let ours = file.metadata().map_err(|e| crate::error::errno(&e))?;
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.dev(), ours.ino())),
        Err(Errno::ENOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes the temporary files and lock files of processes that are gone. What cannot be removed
/// now is left for the next time: nothing depends on it.
pub(crate) fn sweep(directory: BorrowedFd<'_>) {
    for name in names(directory).unwrap_or_default() {
        if name.starts_with(TEMPORARY) || name.ends_with(LOCK) {
            let _left = remove_if_left(directory, &name);
        }
    }
}

/// Removes the oldest artifacts until no more than `limit` bytes are left, but not `kept`. A process
/// that has mapped one does not notice.
pub(crate) fn evict(directory: BorrowedFd<'_>, kept: &str, limit: u64) {
    let mut artifacts: Vec<_> = names(directory)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| is_artifact_name(name))
        .filter_map(|name| {
            let stat = fstatat(directory, name.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            let size = u64::try_from(stat.st_size).unwrap_or(0);
            Some(((stat.st_mtime, stat.st_mtime_nsec), size, name))
        })
        .collect();
    artifacts.sort();
    let mut total: u64 = artifacts.iter().map(|(_, size, _)| size).sum();
    for (_, size, name) in artifacts {
        if total <= limit {
            return;
        }
        let removed =
            name != kept && unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir).is_ok();
        if removed {
            total -= size;
        }
    }
}

/// Whether a file is named like a [`Key`](crate::Key).
fn is_artifact_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let names = Dir::openat(directory.as_fd(), ".", flags, Mode::empty())?
        .into_iter()
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
        .collect();
    Ok(names)
}

fn remove_if_left(directory: BorrowedFd<'_>, name: &str) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    if file.try_lock().is_ok() && is_named(&file, directory, name)? {
        unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn the_oldest_artifacts_go_first_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let name = |digit: char| digit.to_string().repeat(64);
        for (age, name) in [
            (9, name('a')),
            (7, name('b')),
            (8, name('c')),
            (1, name('d')),
        ] {
            let file = File::create(path(&name)).unwrap();
            file.set_len(100).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            file.set_modified(time).unwrap();
        }
        fs::write(path("engine"), "x".repeat(1000)).unwrap();
        let opened = File::open(directory.path()).unwrap();
        let left = || {
            let mut names: Vec<_> = fs::read_dir(directory.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        evict(opened.as_fd(), &name('a'), 400);
        assert_eq!(left().len(), 5);
        // The oldest of all is the one that was just stored.
        evict(opened.as_fd(), &name('a'), 250);
        assert_eq!(left(), [name('a'), name('d'), "engine".to_owned()]);
    }
}
