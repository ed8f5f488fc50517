//! What identifies an artifact: the module and the engine that compiled it.

use crate::ModuleDigest;
use crate::digest::{Hex, unhex};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Separates our keys from every other use of SHA-256. The number changes with the meaning of an
/// artifact, not with that of the engine, which has its own say in the engine id.
const KEY_DOMAIN: &[u8] = b"hull artifact key 2\0";

/// The longest id that we take.
const MAX_ENGINE_ID: usize = 200;

/// What makes two compilations interchangeable: version and settings of the engine and the
/// processor's features, as `hull-wasmc --id` prints them in one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EngineId(String);

/// Text that is no engine id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an engine id: it must be one line of 1 to {MAX_ENGINE_ID} printable ASCII characters")]
pub struct InvalidEngineId;

impl EngineId {
    /// Parses the output of `hull-wasmc --id`: one line with or without its end.
    ///
    /// # Errors
    /// [`InvalidEngineId`] for no text, more than one line, more than 200 characters, or anything
    /// but printable ASCII.
    pub fn parse(text: &str) -> Result<Self, InvalidEngineId> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let printable = line.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if line.is_empty() || line.len() > MAX_ENGINE_ID || !printable {
            return Err(InvalidEngineId);
        }
        Ok(Self(line.to_owned()))
    }

    /// The same engine with further proposals switched on: what it makes is nobody else's. `names` are in the
    /// order of the compiler's, and short.
    #[must_use]
    pub fn with(&self, names: &str) -> Self {
        if names.is_empty() {
            return self.clone();
        }
        Self(format!("{self} +{names}"))
    }

    /// The line without its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Identifies an artifact. Displayed as 64 hexadecimal digits, which are also its file name.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of what this engine makes of this module.
    #[must_use]
    pub fn new(module: &ModuleDigest, engine: &EngineId) -> Self {
        // The parts cannot be confused: the first two have a fixed length.
        let hasher = Sha256::new()
            .chain_update(KEY_DOMAIN)
            .chain_update(module.as_bytes())
            .chain_update(engine.as_str());
        Self(hasher.finalize().into())
    }

    /// Takes the bytes of a key as they are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that a file of this name is stored under: 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        unhex(name).map(Self)
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
