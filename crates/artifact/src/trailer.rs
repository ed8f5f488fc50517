//! The end of a stored file: mark, length and digest of the artifact before it.
//!
//! ```text
//! artifact │ "hullart1" (8) │ length of the artifact, little endian (8) │ SHA-256 (32)
//! ```
//! The digest covers a constant, the key and the artifact.

use crate::{Flaw, Key, stream};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Size of the trailer in bytes.
pub(crate) const SIZE: usize = 48;
/// Mark and version of the layout.
const MAGIC: [u8; 8] = *b"hullart1";
/// Separates this use of SHA-256 from every other.
const DOMAIN: &[u8] = b"hull artifact 1\0";

/// The first bytes of a 64-bit little-endian ELF file whose OS ABI is wasmtime's own number, 200
/// (`ELFOSABI_WASMTIME` of wasmtime-environ).
const ARTIFACT_HEADER: [u8; 8] = [0x7f, b'E', b'L', b'F', 2, 1, 1, 200];

/// Whether a file that begins with these bytes is a compiled artifact of wasmtime. Eight bytes are
/// enough to tell; fewer are never an artifact.
#[must_use]
pub fn is_artifact(header: &[u8]) -> bool {
    header.starts_with(&ARTIFACT_HEADER)
}

/// Digests an artifact that is written or read.
pub(crate) struct Digest {
    hasher: Sha256,
    length: u64,
}

impl Digest {
    pub(crate) fn new(key: &Key) -> Self {
        let hasher = Sha256::new()
            .chain_update(DOMAIN)
            .chain_update(key.as_bytes());
        Self { hasher, length: 0 }
    }

    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
        self.length += chunk.len() as u64;
    }

    /// The trailer of what was digested.
    pub(crate) fn trailer(self) -> Vec<u8> {
        let digest: [u8; 32] = self.hasher.finalize().into();
        [
            MAGIC.as_slice(),
            &self.length.to_le_bytes(),
            digest.as_slice(),
        ]
        .concat()
    }
}

/// Reads a whole stored file and checks that it is what was stored under this key.
///
/// The file must not change afterwards: it must be one that [`Store::open`](crate::Store::open)
/// called good, which nobody but us can write to.
///
/// # Errors
/// The first [`Flaw`] found.
pub fn verify(file: &File, key: &Key) -> Result<(), Flaw> {
    let (length, present) = read(file)?;
    let mut digest = Digest::new(key);
    stream::prefix(file, length, |chunk| {
        digest.update(chunk);
        Ok(())
    })?;
    if digest.length != length {
        return Err(Flaw::Length);
    }
    if digest.trailer() == present {
        Ok(())
    } else {
        Err(Flaw::Digest)
    }
}

/// Checks everything of a trailer that costs nothing. Returns the length of the artifact and the
/// trailer's bytes.
pub(crate) fn read(file: &File) -> Result<(u64, [u8; SIZE]), Flaw> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(Flaw::Type);
    }
    let length = metadata
        .len()
        .checked_sub(SIZE as u64)
        .ok_or(Flaw::Length)?;
    let mut trailer = [0; SIZE];
    file.read_exact_at(&mut trailer, length)?;
    let (magic, rest) = trailer.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(Flaw::Trailer);
    }
    if !rest.starts_with(&length.to_le_bytes()) {
        return Err(Flaw::Length);
    }
    Ok((length, trailer))
}
