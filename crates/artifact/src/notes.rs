//! What was found out by reading a large file, so that a later start need not read it again.
//!
//! A note is of a file as stat(2) shows it: whoever writes to a file changes its ctime, which nobody can set
//! who cannot set the clock. Who writes to it through a mapping changes its ctime only when the kernel writes the
//! pages back, and can so deceive whoever takes its file in between: its own container, whose file it is. It holds until the machine is started again, after which neither the disk nor the clock is what it
//! was for sure. Where a file is tells its device: inode numbers and times of a file system that a container
//! may make up must not be taken for those of another. The ctime of an artifact says nothing, since noting its
//! use changes it ([`Store::touch`]); but nobody writes to the store who could not change everything.

use crate::digest::Hex;
use crate::digest::unhex;
use crate::leftovers::{self, LOCK, Temporary};
use crate::store::check;
use crate::{Error, Key, Lock, Store};
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, Metadata};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

/// Files below this size are read faster than anything is noted, in bytes.
pub const NOTED_SIZE: u64 = 1 << 20;

/// How the names of notes begin; 64 hexadecimal digits follow.
pub(crate) const PREFIX: &str = "note.";
/// Most notes that are kept; when there are more, the older half goes.
const MAX_NOTES: usize = 4096;
/// Longer than any that we write.
const MAX_SIZE: u64 = 1024;
/// A file that has changed this recently may change again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);
/// Separates this use of SHA-256 from every other.
const DOMAIN: &[u8] = b"hull note 1\0";
/// What tells one start of the machine from another (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The present run of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot(String);

/// A file as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    name: String,
    boot: Boot,
    changed: SystemTime,
}

impl Boot {
    /// Asks the kernel; `None` where it does not say.
    #[must_use]
    pub fn current() -> Option<Self> {
        let text = fs::read_to_string(BOOT_ID).ok()?;
        let id = text.trim();
        (!id.is_empty() && !id.contains('\n')).then(|| Self(id.to_owned()))
    }
}

impl Sight {
    /// A look at a file. `place` names its file system, which must be one of the host's own. `None` for files
    /// that are not noted.
    #[must_use]
    pub fn of(file: &File, place: &str, boot: &Boot) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Self::at(&meta, place, changed, boot)
    }

    /// A look at the artifact of a key.
    #[must_use]
    pub fn of_artifact(file: &File, key: &Key, boot: &Boot) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let written = (meta.mtime(), meta.mtime_nsec());
        Self::at(&meta, &format!("artifact {key}"), written, boot)
    }

    fn at(meta: &Metadata, place: &str, changed: (i64, i64), boot: &Boot) -> Option<Self> {
        if !meta.is_file() || meta.len() < NOTED_SIZE {
            return None;
        }
        let mut hasher = Sha256::new().chain_update(DOMAIN);
        for text in [place, &boot.0] {
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        }
        for number in [meta.ino(), meta.size()] {
            hasher.update(number.to_le_bytes());
        }
        for time in [meta.mtime(), meta.mtime_nsec(), changed.0, changed.1] {
            hasher.update(time.to_le_bytes());
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let seconds = Duration::from_secs(u64::try_from(changed.0).unwrap_or(0));
        Some(Self {
            name: format!("{PREFIX}{}", Hex(&digest)),
            boot: boot.clone(),
            changed: SystemTime::UNIX_EPOCH + seconds,
        })
    }

    fn is_settled(&self) -> bool {
        self.changed.elapsed().is_ok_and(|since| since > SETTLED)
    }
}

impl Store {
    /// What was noted of a file that looks like this: a digest or a key.
    #[must_use]
    pub fn recall(&self, sight: &Sight) -> Option<[u8; 32]> {
        let file = self.open_name(&sight.name).ok()?;
        check(&file).ok()?;
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
        let (boot, value) = text.trim_end().split_once('\n')?;
        if boot == sight.boot.0 {
            unhex(value)
        } else {
            None
        }
    }

    /// Reads a file by `read` and notes what that gives, unless it is known, somebody else is at it, or the
    /// file changes or has only just changed.
    ///
    /// # Errors
    /// What `read` says, or [`Error::File`] when the note cannot be written.
    pub fn note(
        &self,
        look: impl Fn() -> Option<Sight>,
        read: impl FnOnce() -> Result<[u8; 32], Error>,
    ) -> Result<(), Error> {
        let Some(sight) = look().filter(Sight::is_settled) else {
            return Ok(());
        };
        let name = format!("{}{LOCK}", sight.name);
        let Some(_lock) = Lock::try_take(self.directory(), name)? else {
            return Ok(());
        };
        if self.recall(&sight).is_some() {
            return Ok(());
        }
        let value = read()?;
        if look().as_ref() != Some(&sight) {
            return Ok(());
        }
        let failed = |e: std::io::Error| Error::file("writing", &sight.name, e);
        let mut file = Temporary::create(self.directory()).map_err(|e| failed(e.into()))?;
        writeln!(file, "{}\n{}", sight.boot.0, Hex(&value)).map_err(failed)?;
        file.keep_as(&sight.name).map_err(failed)?;
        limit(self.directory(), MAX_NOTES);
        Ok(())
    }
}

/// Nothing grows for ever: what is needed again is noted again.
pub(crate) fn limit(directory: BorrowedFd<'_>, most: usize) {
    let names = leftovers::names(directory.as_fd()).unwrap_or_default();
    let notes: Vec<_> = names.iter().filter(|name| is_note(name)).collect();
    if notes.len() <= most {
        return;
    }
    let written = |name: &str| {
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        stat.map_or((0, 0), |stat| (stat.st_mtime, stat.st_mtime_nsec))
    };
    let mut notes: Vec<_> = notes
        .into_iter()
        .map(|name| (written(name), name))
        .collect();
    notes.sort_unstable();
    let older = notes.len().div_ceil(2);
    for (_, name) in notes.into_iter().take(older) {
        // One that stays is no worse than before.
        let _kept = unlinkat(directory, name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

pub(crate) fn is_note(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|digits| unhex(digits).is_some())
}
