//! What identifies a Wasm file: its SHA-256.

use crate::stream;
use nix::errno::Errno;
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::io;

/// SHA-256 of a Wasm file. Displayed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ModuleDigest([u8; 32]);

impl ModuleDigest {
    /// Takes the bytes of a digest as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest of these bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(Sha256::new().chain_update(bytes))
    }

    /// The bytes of the digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 lower-case hexadecimal digits, with or without `sha256:` before them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        unhex(digits).map(Self)
    }

    pub(crate) fn of(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for ModuleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Displays bytes as lower-case hexadecimal digits.
pub(crate) struct Hex<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The bytes that 64 lower-case hexadecimal digits stand for.
pub(crate) fn unhex(digits: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() != 64 || !digits.bytes().all(digit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Digests a whole file from its first byte, whatever its position, which stays as it is.
///
/// # Errors
/// `EINVAL` for anything but a regular file, `EFBIG` for more than `limit` bytes, else as
/// [pread(2)](https://man7.org/linux/man-pages/man2/pread.2.html).
pub fn digest(file: &File, limit: u64) -> io::Result<ModuleDigest> {
    let size = stream::regular_size(file)?;
    if size > limit {
        return Err(Errno::EFBIG.into());
    }
    let mut hasher = Sha256::new();
    stream::whole(file, limit, |chunk| {
        hasher.update(chunk);
        Ok(())
    })?;
    Ok(ModuleDigest::of(hasher))
}
