//! Network devices: [netdevice(7)](https://man7.org/linux/man-pages/man7/netdevice.7.html).

use crate::{Result, check, check_fd};
use std::os::fd::{AsRawFd, OwnedFd};

/// Brings the loopback device of this network namespace up.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the namespace.
pub fn loopback_up() -> Result<()> {
    // SAFETY: integers only; a new descriptor comes back.
    let ret = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    let socket: OwnedFd = check_fd(libc::c_long::from(ret))?;
    // SAFETY: all-zero bytes are a valid ifreq, a C struct of integers and arrays.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    // IFF_UP is 1, so the conversion cannot lose anything.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "IFF_UP | IFF_RUNNING is 0x41"
    )]
    let flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which outlives the call.
    let ret = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS,
            std::ptr::from_ref(&request),
        )
    };
    check(libc::c_long::from(ret)).map(drop)
}
