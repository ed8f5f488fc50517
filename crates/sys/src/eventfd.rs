//! Descriptors that only signal: `eventfd(2)`, `timerfd_create(2)`, and `epoll(7)` to make one
//! readable descriptor of several.
//!
//! All are close-on-exec and non-blocking.

use crate::{Errno, Result, check, check_fd};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A counter that the kernel or another process raises.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at zero.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` when descriptors are used up.
    pub fn new() -> Result<Self> {
        // SAFETY: takes plain integers and touches no memory of ours.
        let ret = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        check_fd(ret.into()).map(Self)
    }

    /// Takes the count and sets it back to zero; 0 means that nothing was signalled.
    ///
    /// # Errors
    /// None that the caller could cause.
    pub fn take(&self) -> Result<u64> {
        take_count(self.0.as_fd())
    }
}

impl From<OwnedFd> for EventFd {
    /// A counter that another process has made.
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<EventFd> for OwnedFd {
    fn from(event: EventFd) -> Self {
        event.0
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A timer on the monotonic clock that is readable once it has expired.
#[derive(Debug)]
pub struct TimerFd(OwnedFd);

impl TimerFd {
    /// A timer that is not running.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` when descriptors are used up.
    pub fn new() -> Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: takes plain integers and touches no memory of ours.
        let ret = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
        check_fd(ret.into()).map(Self)
    }

    /// Expires once after `delay`, which replaces what was set before; zero stops the timer
    /// (`timerfd_settime(2)`).
    ///
    /// # Errors
    /// `EINVAL` for a delay that the kernel cannot count.
    pub fn set(&self, delay: Duration) -> Result<()> {
        let value = libc::timespec {
            tv_sec: delay.as_secs().try_into().map_err(|_| Errno::EINVAL)?,
            tv_nsec: delay.subsec_nanos().into(),
        };
        let once = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let spec = libc::itimerspec {
            it_interval: once,
            it_value: value,
        };
        // SAFETY: `spec` is initialised and outlives the call; no old value is asked for.
        let ret = unsafe {
            libc::timerfd_settime(self.0.as_raw_fd(), 0, &raw const spec, std::ptr::null_mut())
        };
        check(ret.into()).map(|_| ())
    }

    /// How often the timer has expired since the last call; 0 if it has not.
    ///
    /// # Errors
    /// None that the caller could cause.
    pub fn take(&self) -> Result<u64> {
        take_count(self.0.as_fd())
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A descriptor that is readable while one of its members is (level-triggered).
#[derive(Debug)]
pub struct AnyReadable(OwnedFd);

impl AnyReadable {
    /// Joins `members`; a member that is closed leaves by itself.
    ///
    /// # Errors
    /// `EMFILE` or `ENOSPC` when descriptors or watches are used up, `EPERM` for a member that
    /// cannot be polled.
    pub fn new(members: &[BorrowedFd<'_>]) -> Result<Self> {
        Self::watching(members, libc::EPOLLIN)
    }

    /// Readable while a file of a cgroup or of sysfs has changed since it was last read through this
    /// very descriptor, as `memory.events` announces it
    /// (<https://docs.kernel.org/admin-guide/cgroup-v2.html>). Unlike inotify this takes nothing of
    /// which a user has only 128.
    ///
    /// # Errors
    /// As [`AnyReadable::new`].
    pub fn announcing(file: BorrowedFd<'_>) -> Result<Self> {
        Self::watching(&[file], libc::EPOLLPRI)
    }

    fn watching(members: &[BorrowedFd<'_>], events: i32) -> Result<Self> {
        // SAFETY: takes a plain integer and touches no memory of ours.
        let ret = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let epoll = check_fd(ret.into())?;
        for member in members {
            let mut event = libc::epoll_event {
                events: events.cast_unsigned(),
                u64: 0,
            };
            let (epoll, member) = (epoll.as_raw_fd(), member.as_raw_fd());
            // SAFETY: both descriptors are borrowed for the call and `event` outlives it.
            let ret =
                unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, member, &raw mut event) };
            check(ret.into())?;
        }
        Ok(Self(epoll))
    }
}

impl AsFd for AnyReadable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads the eight-byte count of an eventfd or timerfd.
fn take_count(fd: BorrowedFd<'_>) -> Result<u64> {
    let mut count = [0u8; 8];
    loop {
        match nix::unistd::read(fd, &mut count) {
            Ok(8) => return Ok(u64::from_ne_bytes(count)),
            Ok(_) => return Err(Errno::EIO),
            Err(Errno::EAGAIN) => return Ok(0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(fd: BorrowedFd<'_>, timeout_ms: i32) -> bool {
        let mut poll = libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `poll` is one valid pollfd, exclusively borrowed for the call.
        unsafe { libc::poll(&raw mut poll, 1, timeout_ms) == 1 }
    }

    #[test]
    fn event_count_is_taken_once() {
        let event = EventFd::new().unwrap();
        assert_eq!(event.take(), Ok(0));
        nix::unistd::write(&event, &3u64.to_ne_bytes()).unwrap();
        assert_eq!(event.take(), Ok(3));
        assert_eq!(event.take(), Ok(0));
    }

    #[test]
    fn joined_descriptor_is_readable_when_the_timer_expires() {
        let (event, timer) = (EventFd::new().unwrap(), TimerFd::new().unwrap());
        let any = AnyReadable::new(&[event.as_fd(), timer.as_fd()]).unwrap();
        assert!(!readable(any.as_fd(), 0));
        timer.set(Duration::from_millis(1)).unwrap();
        assert!(readable(any.as_fd(), 5000));
        assert_eq!(timer.take(), Ok(1));
        assert!(!readable(any.as_fd(), 0));
    }

    #[test]
    fn stopped_timer_does_not_expire() {
        let timer = TimerFd::new().unwrap();
        timer.set(Duration::from_secs(3600)).unwrap();
        timer.set(Duration::ZERO).unwrap();
        assert_eq!(timer.take(), Ok(0));
    }
}
