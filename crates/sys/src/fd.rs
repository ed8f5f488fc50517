//! Descriptors: placing, closing, waiting, sealed memory.

use crate::{Errno, Result, check, check_fd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

/// Makes `fd` also the descriptor with the number `target`, inherited through execve
/// ([dup2(2)](https://man7.org/linux/man-pages/man2/dup.2.html)). A target of 3 or above must be nobody's: see
/// [`lift`].
///
/// # Errors
/// As dup2(2).
pub fn place(fd: impl AsFd, target: u8) -> Result<()> {
    let source = fd.as_fd().as_raw_fd();
    let target = RawFd::from(target);
    if source == target {
        // dup2 onto itself does nothing, not even clear close-on-exec.
        // SAFETY: integers only.
        let ret = unsafe { libc::fcntl(source, libc::F_SETFD, 0) };
        return check(libc::c_long::from(ret)).map(drop);
    }
    // SAFETY: integers only; replacing a standard stream, or filling a number that the caller has freed,
    // is what it asks for.
    check(libc::c_long::from(unsafe { libc::dup2(source, target) })).map(drop)
}

/// Moves a descriptor to the first free number from `lowest` on, so that those below are free to be
/// [`place`]d; close-on-exec.
///
/// # Errors
/// `EINVAL` for a number beyond the limit of open files, `EMFILE`.
pub fn lift(fd: OwnedFd, lowest: u8) -> Result<OwnedFd> {
    let lowest = RawFd::from(lowest);
    // SAFETY: integers only; F_DUPFD_CLOEXEC makes a new descriptor, and the old one is closed by its owner.
    let ret = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    check_fd(libc::c_long::from(ret))
}

/// Takes the ownership of a standard stream away from its number: duplicates it to a close-on-exec
/// descriptor of 3 or above and puts `/dev/null` in its place.
///
/// # Errors
/// `EBADF` when the stream is closed, or as open(2) of `/dev/null`.
pub fn take_stdio(number: u8) -> Result<OwnedFd> {
    // SAFETY: integers only; F_DUPFD_CLOEXEC makes a new descriptor.
    let ret = unsafe { libc::fcntl(RawFd::from(number), libc::F_DUPFD_CLOEXEC, 3) };
    let taken = check_fd(libc::c_long::from(ret))?;
    let null = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|e| errno(&e))?;
    place(null, number)?;
    Ok(taken)
}

/// Takes over a descriptor that this process was started with, by its number, and makes it
/// close-on-exec.
///
/// Only what survived an execve is without close-on-exec; the standard library sets it on everything
/// that it opens. So a number that something in this process owns is refused, and so is a second
/// call for the same one. To be called before there are other threads.
///
/// # Errors
/// `EINVAL` for a standard stream, `EBADF` for a number that is not open, `EBUSY` for one that is
/// close-on-exec and hence not inherited or already taken.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd> {
    if number < 3 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: integers only.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFD) };
    check(libc::c_long::from(flags))?;
    if flags & libc::FD_CLOEXEC != 0 {
        return Err(Errno::EBUSY);
    }
    // SAFETY: integers only.
    let ret = unsafe { libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC) };
    check(libc::c_long::from(ret))?;
    // SAFETY: the descriptor is open, and as it was inherited nothing in this process owns it; from
    // now on it is close-on-exec, so this function does not give it out again.
    Ok(unsafe { std::os::fd::FromRawFd::from_raw_fd(number) })
}

/// Closes every descriptor from 3 on that is not in `keep`
/// ([close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html)).
///
/// For a process that will never use the others again: whatever still owns one of them in this
/// process must not be dropped or used afterwards.
///
/// # Errors
/// As close_range(2).
pub fn close_all_except(keep: &[RawFd]) -> Result<()> {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 3u32;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX, 0)
}

/// Marks every descriptor from 3 on close-on-exec.
///
/// # Errors
/// As close_range(2).
pub fn cloexec_all() -> Result<()> {
    close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: libc::c_uint) -> Result<()> {
    // SAFETY: integers only; see `close_all_except` for what it means to the caller.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// Waits until a descriptor is readable or at its end; `false` when the time is over.
///
/// # Errors
/// As poll(2); an interruption is not an error.
pub fn wait_readable(fd: impl AsFd, timeout: Duration) -> Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, left) {
            Ok(0) | Err(Errno::EINTR) if Instant::now() < deadline => {}
            Ok(0) | Err(Errno::EINTR) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(e) => return Err(e),
        }
    }
}

/// What [`wait_while_connected`] has waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read, or its end.
    Readable,
    /// The other end of the connection is closed.
    HungUp,
    /// The time is over.
    Elapsed,
}

/// As [`wait_readable`], and ends as well when the other end of a socket is closed.
///
/// # Errors
/// As poll(2); an interruption is not an error.
pub fn wait_while_connected(
    fd: impl AsFd,
    connection: impl AsFd,
    timeout: Duration,
) -> Result<Waited> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left =
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        let mut fds = [
            PollFd::new(fd.as_fd(), PollFlags::POLLIN),
            PollFd::new(connection.as_fd(), PollFlags::empty()),
        ];
        match poll(&mut fds, left) {
            Ok(0) | Err(Errno::EINTR) if Instant::now() < deadline => continue,
            Ok(0) | Err(Errno::EINTR) => return Ok(Waited::Elapsed),
            Ok(_) => {}
            Err(e) => return Err(e),
        }
        let [readable, connection] = fds.map(|fd| fd.any().unwrap_or_default());
        return match (readable, connection) {
            (true, _) => Ok(Waited::Readable),
            (false, true) => Ok(Waited::HungUp),
            (false, false) => Err(Errno::EINVAL),
        };
    }
}

/// Whether a descriptor has something to read right now.
#[must_use]
pub fn is_readable(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let polled = poll(&mut fds, PollTimeout::ZERO).is_ok();
    let [only] = fds;
    polled
        && only
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN))
}

/// How many bytes lie in a pipe or FIFO that nobody has read yet
/// ([pipe(7)](https://man7.org/linux/man-pages/man7/pipe.7.html), `FIONREAD`).
///
/// # Errors
/// `ENOTTY` for what is neither.
pub fn unread(pipe: impl AsFd) -> Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, for which the pointer is valid.
    let ret = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    check(libc::c_long::from(ret))?;
    Ok(usize::try_from(bytes).unwrap_or_default())
}

/// Whether the other end of a socket or pipe is closed.
#[must_use]
pub fn is_hung_up(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::empty())];
    let polled = poll(&mut fds, PollTimeout::ZERO).is_ok();
    let [only] = fds;
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    polled && only.revents().is_some_and(|events| events.intersects(gone))
}

/// Lets a descriptor survive execve. Gives its number.
///
/// # Errors
/// None in practice.
pub fn inherit(fd: impl AsFd) -> Result<RawFd> {
    let raw = fd.as_fd().as_raw_fd();
    // SAFETY: integers only; an inherited descriptor is no memory of ours.
    let ret = unsafe { libc::fcntl(raw, libc::F_SETFD, 0) };
    check(libc::c_long::from(ret)).map(|_| raw)
}

/// An empty memory file that may be sealed later.
///
/// # Errors
/// `ENOMEM`, `EMFILE`, `ENFILE`.
pub fn memory(name: &std::ffi::CStr) -> Result<OwnedFd> {
    // SAFETY: `name` is a C string that outlives the call.
    let ret =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    check_fd(libc::c_long::from(ret))
}

/// A memory file with this content, at position 0
/// ([memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)).
///
/// # Errors
/// `ENOMEM`, `EMFILE`, `ENFILE`.
pub fn memory_with(name: &std::ffi::CStr, content: &[u8]) -> Result<OwnedFd> {
    let file = std::fs::File::from(memory(name)?);
    file.write_all_at(content, 0).map_err(|e| errno(&e))?;
    Ok(file.into())
}

/// As [`memory_with`], sealed: read-only for everybody.
///
/// # Errors
/// As [`memory_with`].
pub fn sealed_memory(name: &std::ffi::CStr, content: &[u8]) -> Result<OwnedFd> {
    let file = memory_with(name, content)?;
    seal(&file)?;
    Ok(file)
}

/// Forbids every further change of a memory file. That can wait for other processors, which may hold its
/// pages in a list of their own.
///
/// # Errors
/// `EPERM` when it was sealed against that, `EBUSY` when it is mapped writable.
pub fn seal(fd: impl AsFd) -> Result<()> {
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    // SAFETY: integers only.
    let ret = unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_ADD_SEALS, seals) };
    check(libc::c_long::from(ret)).map(drop)
}

/// Reads a whole file from its present position, refusing more than `limit` bytes.
///
/// # Errors
/// `EFBIG` beyond the limit, else as read(2).
pub fn read_to_end(fd: OwnedFd, limit: u64) -> Result<Vec<u8>> {
    let file = std::fs::File::from(fd);
    let size = file.metadata().map_or(0, |meta| meta.len()).min(limit);
    // One more than the file has: the read that finds the end needs room too.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| errno(&e))?;
    if bytes.len() as u64 > limit {
        Err(Errno::EFBIG)
    } else {
        Ok(bytes)
    }
}

/// The device of a file, as `st_dev` has it, without asking anybody who may be slow or hostile: a server of
/// FUSE is not spoken to ([statx(2)](https://man7.org/linux/man-pages/man2/statx.2.html),
/// `AT_STATX_DONT_SYNC` with an empty mask).
///
/// # Errors
/// `ENOSYS` where a filter forbids it.
pub fn device(fd: impl AsFd) -> Result<u64> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let mut seen = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path is an empty C string that lives for ever, and the kernel writes one struct statx to the
    // pointer, which is valid for that.
    let ret = unsafe {
        let fd = fd.as_fd().as_raw_fd();
        libc::statx(fd, c"".as_ptr(), flags, 0, seen.as_mut_ptr())
    };
    check(libc::c_long::from(ret))?;
    // SAFETY: it is made of integers, for which zeroes are values as well.
    let seen = unsafe { seen.assume_init() };
    Ok(libc::makedev(seen.stx_dev_major, seen.stx_dev_minor))
}

/// The errno inside a standard library error, `EIO` if there is none.
#[must_use]
pub fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn device_is_that_of_stat() {
        for path in ["/", "/proc/self/status", "/dev/null"] {
            let file = std::fs::File::open(path).unwrap();
            let seen = file.metadata().unwrap();
            assert_eq!(device(&file).unwrap(), seen.dev(), "{path}");
        }
    }

    #[test]
    fn only_inherited_descriptors_are_taken_and_only_once() {
        assert_eq!(take_inherited(2).unwrap_err(), Errno::EINVAL);
        assert_eq!(take_inherited(100_000).unwrap_err(), Errno::EBADF);
        let owned = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(take_inherited(owned.as_raw_fd()).unwrap_err(), Errno::EBUSY);

        let number = owned.into_raw_fd();
        // SAFETY: integers only; nothing owns the descriptor any more.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        let taken = take_inherited(number).unwrap();
        assert_eq!(taken.as_raw_fd(), number);
        assert_eq!(take_inherited(number).unwrap_err(), Errno::EBUSY);
    }
}
