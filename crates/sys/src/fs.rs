//! Paths inside a root file system that nobody trusts
//! ([openat2(2)](https://man7.org/linux/man-pages/man2/openat2.2.html)).

use crate::{Errno, Result};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, mkdirat};
use nix::unistd::symlinkat;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How often a lookup is repeated when a rename elsewhere disturbed it (`EAGAIN`).
const LOOKUP_ATTEMPTS: usize = 128;

/// How many links to nothing are followed in one path; the kernel's own number.
const MAX_LINKS: u32 = 40;

/// A directory that acts as "/" for every lookup made through it: absolute symbolic links and `..`
/// stay inside, magic links are refused. The only way to open a path inside a root file system.
#[derive(Debug)]
pub struct InRoot(OwnedFd);

impl InRoot {
    /// Opens the directory itself. The last component of `path` must not be a symbolic link.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR` (also for a symbolic link).
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::open(path, flags, Mode::empty()).map(Self)
    }

    /// Uses a directory that is open already.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens a path. `flags` as for open(2); close-on-exec is added.
    ///
    /// # Errors
    /// As openat2(2) with `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`.
    pub fn open_at(&self, path: &str, flags: OFlag) -> Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let path = if path.is_empty() { "/" } else { path };
        for _ in 0..LOOKUP_ATTEMPTS {
            match openat2(&self.0, path, how) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// A handle of whatever is at the path, following links inside the root.
    ///
    /// # Errors
    /// As [`InRoot::open_at`].
    pub fn resolve(&self, path: &str) -> Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH)
    }

    /// A handle of whatever is at the path; if the last component is a symbolic link, of the link.
    ///
    /// # Errors
    /// As [`InRoot::open_at`].
    pub fn resolve_nofollow(&self, path: &str) -> Result<OwnedFd> {
        self.open_at(path, OFlag::O_PATH | OFlag::O_NOFOLLOW)
    }

    /// Makes a directory and everything above it that is missing, component by component on
    /// descriptors, and returns a handle of it. Where a link inside the root leads to nothing, that is
    /// made which it leads to, as an image expects whose `/var/run` is `/run`.
    ///
    /// # Errors
    /// `ENOTDIR` when something else is in the way, `ELOOP`, `EROFS`, `EACCES`.
    pub fn create_dir_all(&self, path: &str, mode: u32) -> Result<OwnedFd> {
        match self.resolve(path) {
            Ok(fd) if is_dir(&fstat(&fd)?) => return Ok(fd),
            Ok(_) => return Err(Errno::ENOTDIR),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        self.create_missing(path, mode, MAX_LINKS)
    }

    /// The part of [`InRoot::create_dir_all`] for a path that is not there.
    fn create_missing(&self, path: &str, mode: u32, links: u32) -> Result<OwnedFd> {
        let mut prefix = String::new();
        let mut current = self.resolve("/")?;
        let mut names = path
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".");
        while let Some(name) = names.next() {
            let next = format!("{prefix}/{name}");
            current = match self.resolve(&next) {
                Err(Errno::ENOENT) => match self.dangling_link(&prefix, &next)? {
                    Some(target) => {
                        let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                        let rest: Vec<&str> = names.collect();
                        let path = format!("{target}/{}", rest.join("/"));
                        return self.create_missing(&path, mode, links);
                    }
                    None => make_dir(current.as_fd(), name, mode)?,
                },
                other => other?,
            };
            prefix = next;
        }
        if is_dir(&fstat(&current)?) {
            Ok(current)
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// Where a link leads that leads to nothing, as a path from the root; `parent` is the path of its
    /// directory.
    fn dangling_link(&self, parent: &str, path: &str) -> Result<Option<String>> {
        let link = match self.resolve_nofollow(path) {
            Err(Errno::ENOENT) => return Ok(None),
            other => other?,
        };
        if !is_symlink(&fstat(&link)?) {
            return Ok(None);
        }
        let target = readlinkat(&link, "")?;
        let target = target.to_str().ok_or(Errno::EILSEQ)?;
        Ok(Some(if target.starts_with('/') {
            target.to_owned()
        } else {
            format!("{parent}/{target}")
        }))
    }

    /// Makes an empty regular file (and missing directories above it) unless something is there, and
    /// returns a handle of what is there.
    ///
    /// # Errors
    /// As [`InRoot::create_dir_all`].
    pub fn create_file(&self, path: &str) -> Result<OwnedFd> {
        self.create_file_through(path, MAX_LINKS)
    }

    fn create_file_through(&self, path: &str, links: u32) -> Result<OwnedFd> {
        match self.resolve(path) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let (above, _) = path
            .trim_end_matches('/')
            .rsplit_once('/')
            .unwrap_or_default();
        if let Some(target) = self.dangling_link(above, path)? {
            let links = links.checked_sub(1).ok_or(Errno::ELOOP)?;
            return self.create_file_through(&target, links);
        }
        let (parent, name) = self.parent(path, 0o755)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(
            &parent,
            name,
            flags | OFlag::O_WRONLY,
            Mode::from_bits_truncate(0o644),
        ) {
            Ok(_) | Err(Errno::EEXIST) => self.resolve(path),
            Err(e) => Err(e),
        }
    }

    /// A handle of the directory that holds the last component of `path` (made if missing), and the
    /// name of that component.
    ///
    /// # Errors
    /// `EINVAL` when the path has no last component, else as [`InRoot::create_dir_all`].
    pub fn parent<'a>(&self, path: &'a str, mode: u32) -> Result<(OwnedFd, &'a str)> {
        let path = path.trim_end_matches('/');
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." || name == ".." {
            return Err(Errno::EINVAL);
        }
        Ok((self.create_dir_all(dir, mode)?, name))
    }
}

impl AsFd for InRoot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn make_dir(parent: BorrowedFd<'_>, name: &str, mode: u32) -> Result<OwnedFd> {
    if name == ".." {
        return Err(Errno::ENOENT);
    }
    match mkdirat(parent, name, Mode::from_bits_truncate(mode)) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(e) => return Err(e),
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Whether the file is a directory.
#[must_use]
pub fn is_dir(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// Whether the file is a symbolic link.
#[must_use]
pub fn is_symlink(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFLNK
}

/// Makes a symbolic link in a directory, leaving an equal one alone and refusing another.
///
/// # Errors
/// `EEXIST` when something else has the name.
pub fn ensure_symlink(target: &str, dir: impl AsFd, name: &str) -> Result<()> {
    match symlinkat(target, dir.as_fd(), name) {
        Err(Errno::EEXIST) => {
            let present = readlinkat(dir.as_fd(), name).map_err(|_| Errno::EEXIST)?;
            if present == target {
                Ok(())
            } else {
                Err(Errno::EEXIST)
            }
        }
        other => other,
    }
}

/// Whether a file can be executed by the present credentials
/// ([access(2)](https://man7.org/linux/man-pages/man2/access.2.html)). It judges by the real ids,
/// which must be the effective ones; unlike faccessat2 every seccomp filter knows it.
///
/// # Errors
/// `EACCES`, `ENOENT`, …
pub fn may_execute(path: &str) -> Result<()> {
    nix::unistd::access(path, nix::unistd::AccessFlags::X_OK)
}

/// The magic number of the file system that a descriptor lies on
/// ([statfs(2)](https://man7.org/linux/man-pages/man2/statfs.2.html)).
///
/// # Errors
/// As fstatfs(2).
pub fn filesystem_magic(fd: impl AsFd) -> Result<i64> {
    nix::sys::statfs::fstatfs(fd).map(|s| s.filesystem_type().0)
}

/// A handle of a name directly in a directory; if it is a symbolic link, of the link.
///
/// # Errors
/// As openat(2).
pub fn resolve_beneath(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    openat(
        dir,
        name,
        OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A root with links to what is not there, in a directory of its own.
    fn root(name: &str) -> (std::path::PathBuf, InRoot) {
        let top = std::env::temp_dir().join(format!("hull-sys-{}-{name}", std::process::id()));
        let root = top.join("root");
        std::fs::create_dir_all(root.join("below")).unwrap();
        for (target, link) in [
            ("/run", "absolute"),
            ("sibling/deep", "below/relative"),
            ("../../../../outside", "up"),
            ("absolute/more", "chain"),
            ("loop", "loop"),
        ] {
            symlink(target, root.join(link)).unwrap();
        }
        let root = InRoot::open(&root).unwrap();
        (top, root)
    }

    #[test]
    fn directories_are_made_where_links_to_nothing_lead_inside_the_root() {
        let (top, root) = root("directories");
        for (path, made) in [
            ("/chain/x", "run/more/x"),
            ("/absolute/lock", "run/lock"),
            ("/below/relative/y", "below/sibling/deep/y"),
            ("/up/z", "outside/z"),
        ] {
            root.create_dir_all(path, 0o755).unwrap();
            assert!(top.join("root").join(made).is_dir(), "{path}");
        }
        assert_eq!(
            root.create_dir_all("/loop/x", 0o755).err(),
            Some(Errno::ELOOP)
        );
        assert!(!top.join("outside").exists());
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn files_are_made_where_links_to_nothing_lead_inside_the_root() {
        let (top, root) = root("files");
        for (path, made) in [("/chain", "run/more"), ("/up", "outside")] {
            root.create_file(path).unwrap();
            assert!(top.join("root").join(made).is_file(), "{path}");
        }
        assert_eq!(root.create_file("/loop").err(), Some(Errno::ELOOP));
        assert!(!top.join("outside").exists());
        std::fs::remove_dir_all(top).unwrap();
    }
}
