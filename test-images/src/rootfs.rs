//! A root file system as data, before it becomes a layer or a directory.

use std::collections::BTreeMap;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file with these bytes.
    File(Vec<u8>),
    /// A symbolic link with this target.
    Symlink(String),
}

/// One file of a root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits with set-id and sticky bits.
    pub(crate) mode: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// The files of a root file system by path, relative and without a trailing slash.
///
/// The map's order is that of the layer: sorted by bytes, so a directory always comes before what
/// is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rootfs {
    entries: BTreeMap<String, Entry>,
}

impl Rootfs {
    /// Adds a directory that root owns.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.owned_directory(path, mode, 0, 0);
    }

    /// Adds a directory with an owner.
    pub(crate) fn owned_directory(&mut self, path: &str, mode: u32, uid: u32, gid: u32) {
        self.insert(
            path,
            Entry {
                kind: Kind::Directory,
                mode,
                uid,
                gid,
            },
        );
    }

    /// Adds a file that root owns.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: Vec<u8>) {
        self.insert(
            path,
            Entry {
                kind: Kind::File(bytes),
                mode,
                uid: 0,
                gid: 0,
            },
        );
    }

    /// Adds a symbolic link that root owns.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        let kind = Kind::Symlink(target.to_owned());
        self.insert(
            path,
            Entry {
                kind,
                mode: 0o777,
                uid: 0,
                gid: 0,
            },
        );
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        self.entries.insert(path.to_owned(), entry);
    }

    /// All files, parents first.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_str(), entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_whatever_the_order_of_insertion() {
        let mut rootfs = Rootfs::default();
        rootfs.file("a/b/c", 0o644, Vec::new());
        rootfs.symlink("a-link", "a");
        rootfs.directory("a/b", 0o755);
        rootfs.directory("a", 0o755);
        let paths: Vec<_> = rootfs.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "a-link", "a/b", "a/b/c"]);
    }
}
