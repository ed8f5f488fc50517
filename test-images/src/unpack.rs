//! A root file system as a directory, for a bundle that no containerd made.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::Path;

use crate::error::{Error, Result, at};
use crate::rootfs::{Entry, Kind, Rootfs};

/// Writes the files below `dir`, which is made when absent and must be empty otherwise.
///
/// Owners other than the caller need root.
pub(crate) fn into_dir(rootfs: &Rootfs, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(at("create", dir))?;
    if fs::read_dir(dir).map_err(at("list", dir))?.next().is_some() {
        return Err(Error::NotEmpty(dir.to_path_buf()));
    }
    // A container's user has to get through `/`, whatever the caller's umask.
    fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(at("change mode of", dir))?;
    for (path, entry) in rootfs.entries() {
        let path = dir.join(path);
        write(&path, entry).map_err(at("write", &path))?;
    }
    Ok(())
}

fn write(path: &Path, entry: &Entry) -> io::Result<()> {
    match &entry.kind {
        Kind::Directory => fs::create_dir(path)?,
        Kind::File(bytes) => fs::write(path, bytes)?,
        Kind::Symlink(target) => symlink(target, path)?,
    }
    lchown(path, Some(entry.uid), Some(entry.gid))?;
    // After chown, which clears set-id bits; and a link has no mode of its own.
    if matches!(entry.kind, Kind::Symlink(_)) {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(entry.mode))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn files_links_and_modes_arrive_in_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let own = fs::metadata(temp.path()).unwrap();
        let mut rootfs = Rootfs::default();
        rootfs.owned_directory("tmp", 0o1777, own.uid(), own.gid());
        let dir = temp.path().join("rootfs");
        into_dir(&rootfs, &dir).unwrap();
        let made = fs::metadata(dir.join("tmp")).unwrap();
        assert_eq!(made.mode() & 0o7777, 0o1777);
        assert_eq!((made.uid(), made.gid()), (own.uid(), own.gid()));
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("mine"), b"").unwrap();
        let error = into_dir(&Rootfs::default(), temp.path()).unwrap_err();
        assert!(matches!(error, Error::NotEmpty(_)), "{error}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }
}
