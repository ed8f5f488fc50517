//! A root file system as an uncompressed layer.

use std::io;
use std::path::Path;

use tar::{Builder, EntryType, Header};

use crate::error::{Result, at};
use crate::rootfs::{Entry, Kind, Rootfs};

/// The layer's tar bytes: ustar, time 0, numeric owners only, parents before children.
pub(crate) fn tar(rootfs: &Rootfs) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for (path, entry) in rootfs.entries() {
        append(&mut builder, path, entry).map_err(at("put into the layer", Path::new(path)))?;
    }
    builder
        .into_inner()
        .map_err(at("finish", Path::new("the layer")))
}

fn append(builder: &mut Builder<Vec<u8>>, path: &str, entry: &Entry) -> io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(0);
    header.set_size(0);
    match &entry.kind {
        Kind::Directory => {
            header.set_entry_type(EntryType::Directory);
            builder.append_data(&mut header, format!("{path}/"), io::empty())
        }
        Kind::File(bytes) => {
            header.set_entry_type(EntryType::Regular);
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, path, bytes.as_slice())
        }
        Kind::Symlink(target) => {
            header.set_entry_type(EntryType::Symlink);
            builder.append_link(&mut header, path, target)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::digest::Digest;

    fn sample() -> Rootfs {
        let mut rootfs = Rootfs::default();
        rootfs.directory("tmp", 0o1777);
        rootfs.file("bin/tool", 0o755, b"#!".to_vec());
        rootfs.owned_directory("home", 0o700, 1000, 100);
        rootfs.symlink("bin/link", "tool");
        rootfs.directory("bin", 0o755);
        rootfs
    }

    #[test]
    fn everything_is_in_the_layer_with_its_owner_mode_and_time_zero() {
        let bytes = tar(&sample()).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            assert_eq!(header.mtime().unwrap(), 0);
            assert_eq!(header.username().unwrap(), Some(""));
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                text = target.display().to_string();
            }
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            seen.push((
                entry.path().unwrap().display().to_string(),
                header.mode().unwrap(),
                owner,
                text,
            ));
        }
        let row =
            |path: &str, mode, owner, text: &str| (path.to_owned(), mode, owner, text.to_owned());
        assert_eq!(
            seen,
            [
                row("bin/", 0o755, (0, 0), ""),
                row("bin/link", 0o777, (0, 0), "tool"),
                row("bin/tool", 0o755, (0, 0), "#!"),
                row("home/", 0o700, (1000, 100), ""),
                row("tmp/", 0o1777, (0, 0), ""),
            ]
        );
    }

    #[test]
    fn the_same_files_give_the_same_digest_and_another_byte_another_one() {
        let first = Digest::of(&tar(&sample()).unwrap());
        assert_eq!(first, Digest::of(&tar(&sample()).unwrap()));
        let mut changed = sample();
        changed.file("bin/tool", 0o755, b"#?".to_vec());
        assert_ne!(first, Digest::of(&tar(&changed).unwrap()));
    }
}
