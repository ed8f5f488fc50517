//! Descriptors on the event loop.

use hull_sys::{Errno, fd};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor that the result owns.
///
/// # Errors
/// `EPERM` for a file that cannot be watched (a regular one), `ENOMEM`, `ENOSPC`.
#[expect(
    deprecated,
    reason = "unsound only for types whose descriptor is not theirs; an OwnedFd's is, and the \
              replacement is an unsafe fn"
)]
pub fn watch(descriptor: OwnedFd, interest: Interest) -> Result<AsyncFd<OwnedFd>, Errno> {
    AsyncFd::with_interest(descriptor, interest).map_err(|e| fd::errno(&e))
}
