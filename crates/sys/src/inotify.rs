//! Watching one file for changes: `inotify(7)`.
//!
//! cgroup files such as `memory.events` and `cgroup.events` announce every change of their content
//! as a modification (<https://docs.kernel.org/admin-guide/cgroup-v2.html>).

use crate::{Errno, Result, check, check_fd};
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// An inotify instance, close-on-exec and non-blocking.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

impl Inotify {
    /// `inotify_init1(2)`.
    ///
    /// # Errors
    /// `EMFILE` when the user's number of instances (`fs.inotify.max_user_instances`) or the
    /// process's number of descriptors is used up.
    pub fn new() -> Result<Self> {
        // SAFETY: takes plain integers and touches no memory of ours.
        let ret = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        check_fd(ret.into()).map(Self)
    }

    /// Reports modifications and the deletion of `path` from now on (`inotify_add_watch(2)`).
    ///
    /// # Errors
    /// `ENOENT` when there is no such file, `ENOSPC` when the user's watches are used up.
    pub fn watch_modify(&self, path: &CStr) -> Result<()> {
        let mask = libc::IN_MODIFY | libc::IN_DELETE_SELF;
        // SAFETY: `path` is a terminated string that outlives the call.
        let ret = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask) };
        check(ret.into()).map(|_| ())
    }

    /// Throws away what has been reported so far and says whether there was anything.
    ///
    /// # Errors
    /// None that the caller could cause.
    pub fn drain(&self) -> Result<bool> {
        let mut any = false;
        let mut buffer = [0u8; 4096];
        loop {
            match nix::unistd::read(&self.0, &mut buffer) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(any),
                Ok(_) => any = true,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fd::wait_readable;
    use std::ffi::CString;
    use std::time::Duration;

    #[test]
    fn modification_of_a_watched_file_is_reported_once() {
        let path = std::env::temp_dir().join(format!("hull-inotify-{}", std::process::id()));
        std::fs::write(&path, "a").unwrap();
        let c_path = CString::new(path.to_str().unwrap()).unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.watch_modify(&c_path).unwrap();
        assert!(!inotify.drain().unwrap());
        std::fs::write(&path, "b").unwrap();
        assert!(wait_readable(&inotify, Duration::from_secs(5)).unwrap());
        assert!(inotify.drain().unwrap());
        assert!(!inotify.drain().unwrap());
        assert!(!wait_readable(&inotify, Duration::from_millis(1)).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn watch_of_an_absent_file_is_enoent() {
        let inotify = Inotify::new().unwrap();
        assert_eq!(inotify.watch_modify(c"/hull/absent"), Err(Errno::ENOENT));
    }
}
