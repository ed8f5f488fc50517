//! What a Wasm file can be run as, as the compiler has read it: so that whoever starts it can refuse what
//! it does not have without loading any code.
//!
//! It is kept at the end of the compiler's output, which wasmtime does not mind, and so is covered by
//! the digest of what is stored. It has one of its own, too, since it is read where nobody has time to
//! read all of the code:
//!
//! ```text
//! code │ Exports, encoded │ length of the latter, little endian (4) │ its SHA-256 (32) │ "hullexp1" (8)
//! ```

mod codec;

use crate::{Flaw, Kind, trailer};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Mark and version of the layout.
const MAGIC: [u8; 8] = *b"hullexp1";
/// Length, digest and mark.
const FOOTER: usize = 44;
/// Longest encoding, in bytes: [`Exports::push`] keeps it below.
const MAX_SIZE: usize = 128 << 10;
/// Most bytes that the functions take in it.
const MAX_FUNCTIONS: usize = MAX_SIZE - 1024;

/// What a Wasm file can be run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exports {
    /// What kind of file it is.
    pub kind: Kind,
    /// The versions of WASI for which it is a command.
    pub commands: Vec<Wasi>,
    /// The versions of WASI for which it is a server of HTTP requests.
    pub servers: Vec<Wasi>,
    /// Other functions that it exports, in its order. Not all of them where there are very many.
    functions: Vec<Function>,
    /// How many more functions there are.
    more: u32,
    /// Bytes that `functions` take in the encoding.
    size: usize,
}

/// A version of WASI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wasi {
    /// Preview 1, for core modules.
    Preview1,
    /// 0.2.
    V0_2,
    /// 0.3.
    V0_3,
}

/// An exported function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name, `interface#function` for one in an interface.
    pub name: String,
    /// The types of its parameters.
    pub params: Vec<Type>,
    /// The types of its results.
    pub results: Vec<Type>,
}

/// A type of a parameter or result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Type {
    /// As messages show it: `i32`, `list<u8>`, `record`.
    pub text: String,
    /// Whether its values can be written as text.
    pub has_text: bool,
}

// === impl Exports ===

impl Exports {
    /// Nothing yet.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            commands: Vec::new(),
            servers: Vec::new(),
            functions: Vec::new(),
            more: 0,
            size: 0,
        }
    }

    /// Functions that are neither what makes it a command nor a handler of requests, in its order. Not
    /// all of them where there are [`Exports::more`].
    #[must_use]
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// How many functions there are beyond those that are known.
    #[must_use]
    pub fn more(&self) -> u32 {
        self.more
    }

    /// Adds a function, or only counts it once there are too many.
    pub fn push(&mut self, function: impl FnOnce() -> Function) {
        if self.more == 0 {
            let function = function();
            let size = self.size.saturating_add(codec::size(&function));
            if size <= MAX_FUNCTIONS {
                self.size = size;
                self.functions.push(function);
                return;
            }
        }
        self.more = self.more.saturating_add(1);
    }

    /// What is put after the code.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = codec::encode(self);
        let footer = footer(&bytes);
        bytes.extend(footer);
        bytes
    }

    /// Reads it from a stored artifact.
    ///
    /// # Errors
    /// [`Flaw::Exports`] where there is none, else as [`verify`](crate::verify).
    pub fn of_stored(file: &File) -> Result<Self, Flaw> {
        let (length, _) = trailer::read(file)?;
        let footer_at = length.checked_sub(FOOTER as u64).ok_or(Flaw::Exports)?;
        let mut present = [0; FOOTER];
        file.read_exact_at(&mut present, footer_at)?;
        let size = present
            .first_chunk()
            .map_or(0, |size| u32::from_le_bytes(*size));
        let at = footer_at.checked_sub(size.into()).ok_or(Flaw::Exports)?;
        let size = usize::try_from(size).map_err(|_| Flaw::Exports)?;
        if size > MAX_SIZE {
            return Err(Flaw::Exports);
        }
        let mut bytes = vec![0; size];
        file.read_exact_at(&mut bytes, at)?;
        if footer(&bytes) != present {
            return Err(Flaw::Exports);
        }
        codec::decode(&bytes).ok_or(Flaw::Exports)
    }
}

fn footer(encoded: &[u8]) -> Vec<u8> {
    let length = u32::try_from(encoded.len()).unwrap_or(u32::MAX);
    let digest: [u8; 32] = Sha256::digest(encoded).into();
    [&length.to_le_bytes(), digest.as_slice(), &MAGIC].concat()
}

impl fmt::Display for Wasi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preview1 => "WASI preview 1",
            Self::V0_2 => "WASI 0.2",
            Self::V0_3 => "WASI 0.3",
        })
    }
}
