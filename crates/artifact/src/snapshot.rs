//! A copy of a module that its container cannot change any more.

use crate::error::errno;
use crate::{Error, ModuleDigest, stream};
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;

/// Copies a module to a sealed memory file at position 0 and checks that the copy has the digest
/// that was expected. The copy is what is digested: the file may change at any time.
///
/// # Errors
/// [`Error::TooLarge`] for more than `limit` bytes, [`Error::Changed`] when the copy has another
/// digest, [`Error::Module`] when the file is not a regular one (`EINVAL`) or cannot be read,
/// [`Error::Memory`] when there is no memory for the copy.
pub fn snapshot(file: &File, limit: u64, expected: &ModuleDigest) -> Result<OwnedFd, Error> {
    let size = stream::regular_size(file).map_err(|e| Error::Module(errno(&e)))?;
    if size > limit {
        return Err(Error::TooLarge { limit });
    }
    let memory = |e: std::io::Error| Error::Memory(errno(&e));
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut copy = File::from(memfd_create(c"wasm", flags).map_err(Error::Memory)?);
    let mut hasher = Sha256::new();
    // Errors of both sides come out of one call, so those of the copy are kept apart.
    let mut failed = None;
    let read = stream::whole(file, limit, |chunk| {
        hasher.update(chunk);
        copy.write_all(chunk)
            .inspect_err(|e| failed = Some(errno(e)))
    });
    match (read, failed) {
        (_, Some(errno)) => return Err(Error::Memory(errno)),
        (Err(e), None) if errno(&e) == Errno::EFBIG => return Err(Error::TooLarge { limit }),
        (Err(e), None) => return Err(Error::Module(errno(&e))),
        (Ok(_), None) => {}
    }
    if ModuleDigest::of(hasher) != *expected {
        return Err(Error::Changed);
    }
    copy.rewind().map_err(memory)?;
    hull_sys::fd::seal(&copy).map_err(Error::Memory)?;
    Ok(copy.into())
}
