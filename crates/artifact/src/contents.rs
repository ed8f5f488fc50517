//! What is in a store, for whoever looks at it or makes room in it.
//!
//! An artifact is only removed under the lock of its key: whoever stores one holds that lock until
//! it has been opened. A process that has an artifact open or mapped does not notice that its name
//! is gone.

use crate::{Error, Flaw, Found, Key, Store, leftovers, verify};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{UtimensatFlags, fstatat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// What the directory says of one artifact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// What it is stored under.
    pub key: Key,
    /// Size of its file in bytes.
    pub size: u64,
    /// When it was stored.
    pub stored: SystemTime,
    /// When it was last used, to the hour ([`Store::touch`]); never before it was stored.
    pub used: SystemTime,
}

impl Entry {
    /// Whether somebody has used it since the hour in which it was stored.
    fn is_used_again(&self) -> bool {
        self.used >= self.stored + NOTED
    }
}

/// What became of an artifact that was to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It is gone.
    Yes,
    /// It was kept, because somebody is about to store or use it.
    Busy,
    /// It was kept, because there is nothing wrong with it.
    Good,
    /// There was none.
    Absent,
}

/// How old a note of an artifact's use may be before it is written anew: to know the hour is enough to choose
/// what goes, and almost no start has to write.
const NOTED: Duration = Duration::from_secs(3600);

/// Whether the use of an artifact is to be noted ([`Store::touch`]), because that was last done long ago.
#[must_use]
pub fn is_touch_due(artifact: &File) -> bool {
    let noted = artifact
        .metadata()
        .map(|meta| time(meta.atime(), meta.atime_nsec()));
    // A note from the future is as good as none.
    noted.is_ok_and(|noted| noted.elapsed().is_ok_and(|age| age > NOTED))
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0));
    SystemTime::UNIX_EPOCH + seconds + nanoseconds
}

impl Store {
    /// The artifacts, the least recently used first. Files of other names are no artifacts.
    ///
    /// # Errors
    /// [`Error::File`] when the directory cannot be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let names = self.names()?;
        let mut entries: Vec<Entry> = names.iter().filter_map(|name| self.entry(name)).collect();
        entries.sort_by_key(|entry| (entry.used, entry.stored, *entry.key.as_bytes()));
        Ok(entries)
    }

    /// How many files there are that belong to compilations: those on their way into the store, locks,
    /// and what processes that were killed left behind.
    ///
    /// # Errors
    /// As [`Store::entries`].
    pub fn unfinished(&self) -> Result<usize, Error> {
        let names = self.names()?;
        Ok(names
            .iter()
            .filter(|name| leftovers::is_unfinished(name))
            .count())
    }

    /// Removes what processes that were killed left behind. Says how many files that were.
    pub fn sweep(&self) -> usize {
        leftovers::sweep(self.directory())
    }

    /// Looks for the artifact of a key and reads it through: it is good only if it is what was stored
    /// under this key.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn examine(&self, key: &Key) -> Result<Found, Error> {
        match self.open(key)? {
            Found::Good(file) => Ok(match verify(&file, key) {
                Ok(()) => Found::Good(file),
                Err(flaw) => Found::Bad(flaw),
            }),
            found @ (Found::Bad(_) | Found::Absent) => Ok(found),
        }
    }

    /// Removes the artifact of a key.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be locked or removed.
    pub fn remove(&self, key: &Key) -> Result<Removed, Error> {
        match self.try_lock(key) {
            Ok(Some(_lock)) => self.unlink(key),
            Ok(None) => Ok(Removed::Busy),
            // A full disk has no room for a lock, and this is how it gets room. Whoever makes the same
            // artifact just now makes it again, or fails for want of room anyway.
            Err(error) if error.is_full() => self.unlink(key),
            Err(error) => Err(error),
        }
    }

    /// Removes the artifact of a key if there is still something wrong with it.
    ///
    /// # Errors
    /// As [`Store::remove`] and [`Store::examine`].
    pub fn remove_bad(&self, key: &Key) -> Result<Removed, Error> {
        let Some(_lock) = self.try_lock(key)? else {
            return Ok(Removed::Busy);
        };
        match self.examine(key)? {
            Found::Good(_) => Ok(Removed::Good),
            Found::Bad(Flaw::Unreadable(errno)) => {
                Err(Error::file("reading", &key.to_string(), errno))
            }
            Found::Bad(_) => self.unlink(key),
            Found::Absent => Ok(Removed::Absent),
        }
    }

    /// Notes that an artifact is used now: the ones that nobody uses go first when room is needed. Changes
    /// nothing but the time of access of its file.
    ///
    /// # Errors
    /// [`Error::File`] when that cannot be written.
    pub fn touch(&self, key: &Key) -> Result<(), Error> {
        let name = key.to_string();
        let (now, keep) = (TimeSpec::UTIME_NOW, TimeSpec::UTIME_OMIT);
        let flags = UtimensatFlags::NoFollowSymlink;
        match utimensat(self.directory(), name.as_str(), &now, &keep, flags) {
            // Removed meanwhile.
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::file("noting the use of", &name, errno)),
        }
    }

    /// Removes the least recently used artifacts until no more than `limit` bytes are left, but not `kept`, whose
    /// lock the caller may hold.
    ///
    /// Half of the limit is for those that were used again after they were stored: they go last, so that nobody
    /// drives out what others need by having ever new modules compiled.
    pub(crate) fn evict(&self, kept: &Key, limit: u64) {
        let entries = self.entries().unwrap_or_default();
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        let mut needed = 0;
        let (mut last, mut first): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().rev().partition(|entry| {
                needed += if entry.is_used_again() { entry.size } else { 0 };
                entry.is_used_again() && needed <= limit / 2
            });
        first.reverse();
        last.reverse();
        for entry in first.iter().chain(&last).filter(|entry| entry.key != *kept) {
            if total <= limit {
                return;
            }
            if matches!(self.remove(&entry.key), Ok(Removed::Yes)) {
                total -= entry.size;
            }
        }
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        leftovers::names(self.directory())
            .map_err(|errno| Error::file("listing", "its directory", errno))
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        let key = Key::from_name(name)?;
        let stat = fstatat(self.directory(), name, AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        let stored = time(stat.st_mtime, stat.st_mtime_nsec);
        Some(Entry {
            key,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            stored,
            used: time(stat.st_atime, stat.st_atime_nsec).max(stored),
        })
    }

    fn unlink(&self, key: &Key) -> Result<Removed, Error> {
        let name = key.to_string();
        match unlinkat(self.directory(), name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) => Ok(Removed::Yes),
            Err(Errno::ENOENT) => Ok(Removed::Absent),
            Err(errno) => Err(Error::file("removing", &name, errno)),
        }
    }
}
