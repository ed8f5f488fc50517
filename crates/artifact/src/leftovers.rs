//! Files on their way into the store, and the removal of those that never arrived.
//!
//! Temporary files and lock files are locked by the process that made them for as long as it lives,
//! so one that can be locked by another has been left behind.

use crate::Key;
use crate::notes::is_note;
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
/// How the names of lock files begin that are places of those who compile.
pub(crate) const SLOT: &str = "slot";

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

/// Whether a name is one that we give to a file on its way or to a lock: `tmp.PID.NUMBER`,
/// `KEY.lock`, `slotNUMBER.lock`, `note.DIGEST.lock`. Other files are not ours to remove.
pub(crate) fn is_unfinished(name: &str) -> bool {
    if let Some(locked) = name.strip_suffix(LOCK) {
        return Key::from_name(locked).is_some()
            || is_note(locked)
            || locked.strip_prefix(SLOT).is_some_and(is_number);
    }
    let numbers = name.strip_prefix(TEMPORARY);
    numbers
        .and_then(|numbers| numbers.split_once('.'))
        .is_some_and(|(process, number)| is_number(process) && is_number(number))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes the temporary files and lock files of processes that are gone, and says how many. What
/// cannot be removed now is left for the next time: nothing depends on it.
pub(crate) fn sweep(directory: BorrowedFd<'_>) -> usize {
    let names = names(directory).unwrap_or_default();
    let unfinished = names.iter().filter(|name| is_unfinished(name));
    unfinished
        .filter(|name| remove_if_left(directory, name) == Ok(true))
        .count()
}

/// The names in the directory, in no order.
pub(crate) fn names(directory: BorrowedFd<'_>) -> Result<Vec<String>, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let names = Dir::openat(directory.as_fd(), ".", flags, Mode::empty())?
        .into_iter()
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
        .collect();
    Ok(names)
}

/// Whether it was removed: a file that is in use stays.
fn remove_if_left(directory: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    let left = file.try_lock().is_ok() && is_named(&file, directory, name)?;
    if left {
        unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)?;
    }
    Ok(left)
}
