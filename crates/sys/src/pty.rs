//! Pseudo terminals: [pty(7)](https://man7.org/linux/man-pages/man7/pty.7.html),
//! [ioctl_tty(2)](https://man7.org/linux/man-pages/man2/TIOCGPTPEER.2const.html).

use crate::{Result, check, check_fd};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Unlocks the slave of a freshly opened master and opens it: by the master's descriptor, never by a
/// name that somebody could have replaced.
///
/// # Errors
/// `ENOTTY` when `master` is no pty master.
pub fn open_peer(master: impl AsFd) -> Result<OwnedFd> {
    let raw = master.as_fd().as_raw_fd();
    let unlock: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int, which outlives the call.
    let ret = unsafe { libc::ioctl(raw, libc::TIOCSPTLCK, std::ptr::from_ref(&unlock)) };
    check(libc::c_long::from(ret))?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags by value and returns a new descriptor.
    let ret = unsafe { libc::ioctl(raw, libc::TIOCGPTPEER, flags) };
    check_fd(libc::c_long::from(ret))
}

/// Sets the size of a terminal in characters.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn resize(terminal: impl AsFd, columns: u16, rows: u16) -> Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let raw = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call.
    let ret = unsafe { libc::ioctl(raw, libc::TIOCSWINSZ, std::ptr::from_ref(&size)) };
    check(libc::c_long::from(ret)).map(drop)
}

/// Makes a terminal the controlling terminal of this session leader.
///
/// # Errors
/// `EPERM` when we are no session leader.
pub fn make_controlling(terminal: impl AsFd) -> Result<()> {
    // SAFETY: TIOCSCTTY takes an integer.
    let ret = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    check(libc::c_long::from(ret)).map(drop)
}

/// The size of a terminal in characters: columns and rows. A terminal that was never told its size
/// has 0 of both.
///
/// # Errors
/// `ENOTTY` when it is no terminal.
pub fn size(terminal: impl AsFd) -> Result<(u16, u16)> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let raw = terminal.as_fd().as_raw_fd();
    // SAFETY: TIOCGWINSZ writes one winsize, which outlives the call.
    let ret = unsafe { libc::ioctl(raw, libc::TIOCGWINSZ, std::ptr::from_mut(&mut size)) };
    check(libc::c_long::from(ret))?;
    Ok((size.ws_col, size.ws_row))
}
