//! Compiled Wasm artifacts: what identifies one, how its bytes are checked, and the directory on
//! disk that keeps them.
//!
//! An artifact is native code, made by `hull-wasmc` from a Wasm file. Whoever can choose its bytes
//! chooses code that runs in a container's process, so it comes from nowhere but a [`Store`], which
//! belongs to us alone, and its digest is checked before it is loaded. The digest covers the
//! [`Key`], so that the artifact of one module under the name of another is found out.
//!
//! A file of the store is the artifact followed by a trailer of fixed size; wasmtime does not mind
//! bytes after its ELF, so the file can be mapped as it is. One file means that an artifact and its
//! digest always change together.
//!
//! Nothing here knows wasmtime; nothing waits, except for the disk.
#![forbid(unsafe_code)]

mod contents;
mod describe;
mod digest;
mod engine;
mod error;
mod flaw;
mod key;
mod leftovers;
mod lock;
mod snapshot;
mod store;
mod stream;
mod trailer;

pub use contents::{Entry, Removed};
pub use describe::{Description, Kind, describe};
pub use digest::{ModuleDigest, digest};
pub use engine::CompilerIdentity;
pub use error::Error;
pub use flaw::Flaw;
pub use key::{EngineId, InvalidEngineId, Key};
pub use lock::Lock;
pub use snapshot::snapshot;
pub use store::{Found, Store};
pub use trailer::{is_artifact, verify};

#[cfg(test)]
mod tests;
