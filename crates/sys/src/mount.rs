//! Mounts by descriptor: [fsopen(2)](https://man7.org/linux/man-pages/man2/fsopen.2.html),
//! [fsconfig(2)](https://man7.org/linux/man-pages/man2/fsconfig.2.html),
//! [fsmount(2)](https://man7.org/linux/man-pages/man2/fsmount.2.html),
//! [open_tree(2)](https://man7.org/linux/man-pages/man2/open_tree.2.html),
//! [move_mount(2)](https://man7.org/linux/man-pages/man2/move_mount.2.html),
//! [mount_setattr(2)](https://man7.org/linux/man-pages/man2/mount_setattr.2.html).
//!
//! A mount is prepared while it is attached nowhere, its destination is resolved to a descriptor, and
//! then the one is moved onto the other: no path can be swapped in between (CVE-2021-30465).

use crate::{Errno, Result, check, check_fd};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;

const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_FLAG: libc::c_uint = 0;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const OPEN_TREE_CLONE: libc::c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: libc::c_uint = 0x40;

/// Longest value that fsconfig(2) takes, its final NUL included.
pub const MAX_VALUE: usize = 256;

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

/// A file system that is being configured.
#[derive(Debug)]
pub struct FsContext(OwnedFd);

impl FsContext {
    /// Begins a new instance of a file system type.
    ///
    /// # Errors
    /// `ENODEV` for an unknown type.
    pub fn open(fstype: &str) -> Result<Self> {
        let fstype = c_string(fstype)?;
        // SAFETY: `fstype` is a C string that outlives the call.
        let ret = unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) };
        check_fd(ret).map(Self)
    }

    fn config(&self, command: libc::c_uint, key: Option<&str>, value: Option<&str>) -> Result<()> {
        let key = key.map(c_string).transpose()?;
        let value = value.map(c_string).transpose()?;
        let pointer =
            |text: &Option<CString>| text.as_ref().map_or(std::ptr::null(), |t| t.as_ptr());
        // SAFETY: both pointers are null or C strings that outlive the call.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_fsconfig,
                self.0.as_raw_fd(),
                command,
                pointer(&key),
                pointer(&value),
                0,
            )
        };
        check(ret).map(drop)
    }

    /// Sets `key=value`, or the bare flag `key`.
    ///
    /// # Errors
    /// `EINVAL` for an unknown option or a bad or too long value.
    pub fn set(&self, key: &str, value: Option<&str>) -> Result<()> {
        let command = if value.is_some() {
            FSCONFIG_SET_STRING
        } else {
            FSCONFIG_SET_FLAG
        };
        self.config(command, Some(key), value)
    }

    /// Makes the instance and a mount of it that is attached nowhere, with these `MOUNT_ATTR_*`.
    ///
    /// # Errors
    /// As the file system says; [`FsContext::message`] may tell more.
    pub fn mount(&self, attributes: u64) -> Result<OwnedFd> {
        self.config(FSCONFIG_CMD_CREATE, None, None)?;
        let attributes = libc::c_uint::try_from(attributes).map_err(|_| Errno::EINVAL)?;
        // SAFETY: integers only.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_fsmount,
                self.0.as_raw_fd(),
                FSMOUNT_CLOEXEC,
                attributes,
            )
        };
        check_fd(ret)
    }

    /// What the kernel has to say about a failure, if anything (one line).
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let mut bytes = [0u8; 512];
        let len = nix::unistd::read(&self.0, &mut bytes).ok()?;
        let text = String::from_utf8_lossy(bytes.get(..len)?).into_owned();
        // Lines look like "e overlay: No lowerdir specified".
        Some(
            text.trim()
                .trim_start_matches(['e', 'w', 'i'])
                .trim()
                .to_owned(),
        )
    }
}

/// A copy, attached nowhere, of the mount at a path (of the tree below it if `recursive`).
///
/// # Errors
/// `ENOENT`, `EINVAL` for what must not be copied.
pub fn clone_tree(path: &str, recursive: bool) -> Result<OwnedFd> {
    let path = c_string(path)?;
    open_tree(libc::AT_FDCWD, &path, recursive, 0)
}

/// A copy, attached nowhere, of the mount under an open file.
///
/// # Errors
/// As [`clone_tree`].
pub fn clone_tree_at(fd: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    let flags = libc::AT_EMPTY_PATH.unsigned_abs();
    open_tree(fd.as_fd().as_raw_fd(), c"", recursive, flags)
}

fn open_tree(dir: i32, path: &std::ffi::CStr, recursive: bool, flags: u32) -> Result<OwnedFd> {
    let mut flags = flags | OPEN_TREE_CLONE | libc::O_CLOEXEC.unsigned_abs();
    if recursive {
        flags |= libc::AT_RECURSIVE.unsigned_abs();
    }
    // SAFETY: `path` is a C string that outlives the call.
    check_fd(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Attaches a detached mount (or moves an attached one) onto an open file or directory.
///
/// # Errors
/// `ENOTDIR` when one is a directory and the other is not, `EINVAL` for a foreign namespace.
pub fn move_mount(from: impl AsFd, to: impl AsFd) -> Result<()> {
    // SAFETY: the two paths are empty C strings that live for ever.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_fd().as_raw_fd(),
            c"".as_ptr(),
            to.as_fd().as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    check(ret).map(drop)
}

/// A change of a mount's attributes.
#[derive(Debug, Default, Clone, Copy)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear first.
    pub clear: u64,
    /// One of `MS_PRIVATE`, `MS_SLAVE`, `MS_SHARED`, `MS_UNBINDABLE`, or 0 for no change.
    pub propagation: u64,
}

/// Changes a mount (the tree below it if `recursive`).
///
/// # Errors
/// `EPERM` for a locked flag, `EINVAL` when the descriptor is not the root of a mount.
pub fn set_attr(mount: impl AsFd, attr: MountAttr, recursive: bool) -> Result<()> {
    let raw = libc::mount_attr {
        attr_set: attr.set,
        attr_clr: attr.clear,
        propagation: attr.propagation,
        userns_fd: 0,
    };
    mount_setattr(mount.as_fd(), raw, recursive)
}

/// Shows the files of a detached mount (of the tree below it if `recursive`) with other owners: by
/// the maps of a user namespace.
///
/// # Errors
/// `EINVAL` when the file system does not support that, `EPERM` for a mount that has a map already.
pub fn set_id_map(mount: impl AsFd, user_namespace: impl AsFd, recursive: bool) -> Result<()> {
    let raw = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(user_namespace.as_fd().as_raw_fd()).map_err(|_| Errno::EBADF)?,
    };
    mount_setattr(mount.as_fd(), raw, recursive)
}

fn mount_setattr(mount: BorrowedFd<'_>, raw: libc::mount_attr, recursive: bool) -> Result<()> {
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the path is an empty C string, `raw` outlives the call and the size is its size.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(&raw),
            size_of::<libc::mount_attr>(),
        )
    };
    check(ret).map(drop)
}

/// One line of mountinfo
/// ([proc_pid_mountinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountInfo {
    /// Number of the mount.
    pub id: u64,
    /// Where it is mounted.
    pub point: std::path::PathBuf,
    /// Type of its file system.
    pub fstype: String,
}

/// The mounts of this mount namespace, in the order in which they were made.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub fn list() -> Result<Vec<MountInfo>> {
    // Names of mount points are bytes: one that is not UTF-8 must not hide the others.
    let content = std::fs::read("/proc/self/mountinfo").map_err(|e| crate::fd::errno(&e))?;
    Ok(parse(&content))
}

fn parse(content: &[u8]) -> Vec<MountInfo> {
    let lines = content.split(|byte| *byte == b'\n');
    lines.filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<MountInfo> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let point = std::ffi::OsString::from_vec(unescape(fields.nth(3)?)?).into();
    // Blanks in names are escaped, so a lone dash ends the optional fields.
    fields.find(|field| *field == b"-")?;
    let fstype = String::from_utf8_lossy(fields.next()?).into_owned();
    Some(MountInfo { id, point, fstype })
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> Option<Vec<u8>> {
    let mut parts = field.split(|byte| *byte == b'\\');
    let mut bytes = parts.next()?.to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(3)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 8).ok()?);
        bytes.extend_from_slice(rest);
    }
    Some(bytes)
}

/// The number of the mount that an open file lies on.
///
/// # Errors
/// `EBADF` when `/proc/self/fdinfo` does not tell.
pub fn id_of(fd: impl AsFd) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let info = std::fs::read_to_string(path).map_err(|e| crate::fd::errno(&e))?;
    let id = info
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .ok_or(Errno::EBADF)?;
    id.trim().parse().map_err(|_| Errno::EBADF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn mountinfo_escapes_are_undone() {
        let line = br"36 35 98:0 / /a\040b\134c rw shared:1 - ext4 /dev/root rw";
        let info = parse_line(line).unwrap();
        assert_eq!((info.id, info.fstype.as_str()), (36, "ext4"));
        assert_eq!(info.point, std::path::PathBuf::from(r"/a b\c"));
        assert_eq!(parse_line(b"36 35"), None);
        assert_eq!(parse_line(br"36 35 98:0 / /a\04 rw - ext4 x rw"), None);
    }

    #[test]
    fn mount_points_are_bytes_and_hide_no_other_mount() {
        let content = b"36 35 98:0 / /r\xff\\040\xc3 rw - tmpfs tmpfs rw\n37 36 0:5 /\xff /b rw - proc proc rw\n";
        let mounts = parse(content);
        let points: Vec<&[u8]> = mounts
            .iter()
            .map(|mount| mount.point.as_os_str().as_bytes())
            .collect();
        assert_eq!(points, [b"/r\xff \xc3".as_slice(), b"/b"]);
        assert_eq!(mounts[1].fstype, "proc");
    }
}
