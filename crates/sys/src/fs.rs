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

/// How many links to nothing are followed on the way to what is made, as many as the kernel follows.
const MAX_LINKS: usize = 40;

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
    /// descriptors, and returns a handle of it. Of a symbolic link to nothing (`/var/run` of an image
    /// without `/run`) that is made to which it leads inside the root.
    ///
    /// # Errors
    /// `ENOTDIR` when something else is in the way, `ELOOP`, `EROFS`, `EACCES`.
    pub fn create_dir_all(&self, path: &str, mode: u32) -> Result<OwnedFd> {
        self.create_dirs(path, mode, MAX_LINKS)
    }

    fn create_dirs(&self, path: &str, mode: u32, links: usize) -> Result<OwnedFd> {
        match self.resolve(path) {
            Ok(fd) if is_dir(&fstat(&fd)?) => return Ok(fd),
            Ok(_) => return Err(Errno::ENOTDIR),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        let mut prefix = String::new();
        let mut current = self.resolve("/")?;
        for name in path
            .split('/')
            .filter(|name| !name.is_empty() && *name != ".")
        {
            let parent = prefix.clone();
            prefix.push('/');
            prefix.push_str(name);
            current = match self.resolve(&prefix) {
                Err(Errno::ENOENT) => match make_dir(current.as_fd(), name, mode) {
                    Err(Errno::ENOTDIR) => {
                        let target = link_target(current.as_fd(), &parent, name)?;
                        let left = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                        self.create_dirs(&target, mode, left)?
                    }
                    made => made?,
                },
                other => other?,
            };
        }
        if is_dir(&fstat(&current)?) {
            Ok(current)
        } else {
            Err(Errno::ENOTDIR)
        }
    }

    /// Makes an empty regular file (and missing directories above it) unless something is there, and
    /// returns a handle of what is there. Symbolic links to nothing are treated as by
    /// [`InRoot::create_dir_all`].
    ///
    /// # Errors
    /// As [`InRoot::create_dir_all`].
    pub fn create_file(&self, path: &str) -> Result<OwnedFd> {
        self.create_file_behind(path, MAX_LINKS)
    }

    fn create_file_behind(&self, path: &str, links: usize) -> Result<OwnedFd> {
        match self.resolve(path) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let (parent, name) = self.parent(path, 0o755)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(
            &parent,
            name,
            flags | OFlag::O_WRONLY,
            Mode::from_bits_truncate(0o644),
        ) {
            Ok(_) => self.resolve(path),
            Err(Errno::EEXIST) => match self.resolve(path) {
                Err(Errno::ENOENT) => {
                    let above = path.trim_end_matches('/').rsplit_once('/');
                    let above = above.map_or("", |(above, _)| above);
                    let target = link_target(parent.as_fd(), above, name)?;
                    let left = links.checked_sub(1).ok_or(Errno::ELOOP)?;
                    self.create_file_behind(&target, left)
                }
                other => other,
            },
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

/// The path to which a symbolic link leads that lies in the directory `parent`, whose path is `above`.
fn link_target(parent: BorrowedFd<'_>, above: &str, name: &str) -> Result<String> {
    // EINVAL: no link, but something else that is in the way.
    let target = readlinkat(parent, name).map_err(|_| Errno::ENOTDIR)?;
    let target = target.to_str().ok_or(Errno::EILSEQ)?;
    Ok(if target.starts_with('/') {
        target.to_owned()
    } else {
        format!("{above}/{target}")
    })
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

/// Reads a regular file of this process's own root whole, without waiting for anybody: a FIFO or a device
/// in its place is refused.
///
/// # Errors
/// As openat2(2) without magic links, `EINVAL` for what is no regular file, `EFBIG` beyond the limit.
pub fn read_regular(path: &str, limit: u64) -> Result<Vec<u8>> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = openat2(nix::fcntl::AT_FDCWD, path, how)?;
    if SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Errno::EINVAL);
    }
    crate::fd::read_to_end(file, limit)
}

/// Opens a directory of this process's own root, on the way to which there is no symbolic link.
///
/// # Errors
/// As openat2(2) with `RESOLVE_NO_SYMLINKS`.
pub fn open_plain_directory(path: &str) -> Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    openat2(nix::fcntl::AT_FDCWD, path, how)
}

/// The working directory of this process, whether it may be read or not.
///
/// # Errors
/// As open(2) with `O_PATH`.
pub fn working_directory() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(".", flags, Mode::empty())
}

/// Makes a directory the working directory of this process.
///
/// # Errors
/// As fchdir(2).
pub fn enter(dir: impl AsFd) -> Result<()> {
    nix::unistd::fchdir(dir)
}

/// Makes `name` in a directory a file with this content that only its owner may read, in place of whatever
/// was called so; a symbolic link is replaced, never followed. `temporary` is the file's name until it is
/// complete.
///
/// # Errors
/// As openat(2), write(2) and renameat(2); then nothing is left but what was there before.
pub fn replace(dir: impl AsFd, name: &str, temporary: &str, content: &[u8]) -> Result<()> {
    let dir = dir.as_fd();
    let remove = || nix::unistd::unlinkat(dir, temporary, nix::unistd::UnlinkatFlags::NoRemoveDir);
    match remove() {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = openat(dir, temporary, flags | OFlag::O_CLOEXEC, mode)?;
    let done = crate::stream::write_all(&file, content)
        .and_then(|()| nix::fcntl::renameat(dir, temporary, dir, name));
    if done.is_err() {
        // What went wrong first is what the caller wants to know.
        _ = remove();
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A root with links to nothing, and a directory beside it that nobody may touch.
    struct Scene {
        dir: PathBuf,
        root: InRoot,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(dir.join("root/var")).unwrap();
            let root = InRoot::open(&dir.join("root")).unwrap();
            Self { dir, root }
        }

        fn link(&self, target: &str, at: &str) {
            symlink(target, self.dir.join("root").join(at)).unwrap();
        }

        fn has(&self, path: &str) -> bool {
            self.dir.join(path).symlink_metadata().is_ok()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.dir).unwrap();
        }
    }

    #[test]
    fn links_to_nothing_lead_to_what_is_made_inside() {
        let scene = Scene::new("hull-links");
        scene.link("/run", "var/run");
        scene.link("../deep/../er/still", "var/up");
        scene.link("/../../../beside", "out");
        scene.link("../../../beside2", "out2");
        scene.root.create_dir_all("/var/run/a/b", 0o755).unwrap();
        assert!(scene.has("root/run/a/b"));
        scene.root.create_dir_all("/var/up/x", 0o755).unwrap();
        assert!(scene.has("root/er/still/x") && scene.has("root/deep"));
        scene.root.create_dir_all("/out/x", 0o755).unwrap();
        scene.root.create_file("/out2/y").unwrap();
        assert!(scene.has("root/beside/x") && scene.has("root/beside2/y"));
        assert!(!scene.has("beside") && !scene.has("beside2"));
    }

    #[test]
    fn file_is_made_where_its_link_leads() {
        let scene = Scene::new("hull-file-links");
        scene.link("../run/resolve/stub.conf", "var/resolv.conf");
        scene.link("resolv.conf", "var/again");
        scene.root.create_file("/var/again").unwrap();
        assert!(scene.has("root/run/resolve/stub.conf"));
    }

    #[test]
    fn links_in_a_circle_and_files_in_the_way_are_errors() {
        let scene = Scene::new("hull-circle");
        scene.link("b", "a");
        scene.link("a", "b");
        // A file lies on the way, and nothing is made beyond it.
        scene.link("/file/x", "c");
        fs::write(scene.dir.join("root/file"), "").unwrap();
        assert_eq!(
            scene.root.create_dir_all("/a/x", 0o755).err(),
            Some(Errno::ELOOP)
        );
        assert_eq!(scene.root.create_file("/a").err(), Some(Errno::ELOOP));
        assert_eq!(
            scene.root.create_dir_all("/c", 0o755).err(),
            Some(Errno::ENOTDIR)
        );
        assert_eq!(
            scene.root.create_dir_all("/file/x", 0o755).err(),
            Some(Errno::ENOTDIR)
        );
        assert_eq!(fs::read_dir(scene.dir.join("root")).unwrap().count(), 5);
    }
}
