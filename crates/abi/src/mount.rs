//! One OCI mount, lowered: what to make, with which attributes, and where to put it.
//!
//! Follows <https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts>.

use crate::IdMaps;
use serde::{Deserialize, Serialize};

/// A set of per-mount attributes with the values of `MOUNT_ATTR_*` in `linux/mount.h`
/// (see [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountFlags(pub u64);

impl MountFlags {
    /// Read-only.
    pub const RDONLY: Self = Self(0x1);
    /// Set-user-id bits have no effect.
    pub const NOSUID: Self = Self(0x2);
    /// Device nodes cannot be opened.
    pub const NODEV: Self = Self(0x4);
    /// Programs cannot be executed.
    pub const NOEXEC: Self = Self(0x8);
    /// The whole access-time field (an enumeration, not a bit): clear it before setting one.
    pub const ATIME_MASK: Self = Self(0x70);
    /// Update access times relative to modification (the kernel's default, value zero).
    pub const RELATIME: Self = Self(0x0);
    /// Never update access times.
    pub const NOATIME: Self = Self(0x10);
    /// Always update access times.
    pub const STRICTATIME: Self = Self(0x20);
    /// Never update directory access times.
    pub const NODIRATIME: Self = Self(0x80);
    /// Symbolic links are not followed.
    pub const NOSYMFOLLOW: Self = Self(0x20_0000);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether every bit of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no bit is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How mount events travel
/// ([mount_namespaces(7)](https://man7.org/linux/man-pages/man7/mount_namespaces.7.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// No events in or out.
    Private,
    /// Events come in, none go out.
    Slave,
    /// Events in both directions.
    Shared,
    /// Private, and cannot be bind-mounted.
    Unbindable,
}

/// The id map of a mount: an owner `container` of a file is shown as `host`
/// ([mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountIdMap {
    /// Both maps.
    pub maps: IdMaps,
    /// Whether the mounts below get it too.
    pub recursive: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: String,
        /// Whether the mounts below the source come along.
        recursive: bool,
        /// Other owners than the files have, if any.
        id_map: Option<MountIdMap>,
    },
    /// A new instance of a file system.
    Filesystem {
        /// `proc`, `tmpfs`, `overlay`, …
        fstype: String,
        /// The source string as the spec gives it.
        source: String,
        /// Options that the file system itself understands: `key=value`, or a bare `key`.
        data: Vec<(String, Option<String>)>,
    },
    /// The container's own cgroup in whatever hierarchies the host has: on v1 a tmpfs with one mount
    /// for each.
    Cgroup,
}

/// One mount of the container, in the order in which it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container.
    pub destination: String,
    /// What is mounted.
    pub source: MountSource,
    /// Attributes to set on the mount itself.
    pub set: MountFlags,
    /// Attributes to clear on the mount itself (for binds, which inherit the source's).
    pub clear: MountFlags,
    /// Attributes to set on the whole tree (`rro`, `rnosuid`, …).
    pub set_recursive: MountFlags,
    /// Attributes to clear on the whole tree (`rrw`, `rsuid`, …).
    pub clear_recursive: MountFlags,
    /// Propagation of the new mount; `true` for the whole tree below it.
    pub propagation: Option<(Propagation, bool)>,
    /// Whether a tmpfs begins with a copy of the directory that it covers.
    pub tmpcopyup: bool,
}
