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

/// Largest module that is run. The largest that are known, whole language runtimes, have some 50 MiB.
pub const MAX_MODULE: u64 = 256 << 20;

mod contents;
mod describe;
mod digest;
mod engine;
mod error;
mod exports;
mod flaw;
mod images;
mod key;
mod leftovers;
mod lock;
mod notes;
mod snapshot;
mod store;
mod stream;
mod trailer;

pub use contents::{Entry, Removed, is_touch_due};
pub use describe::{Description, Kind, describe};
pub use digest::{ModuleDigest, digest};
pub use engine::CompilerIdentity;
pub use error::Error;
pub use exports::{Exports, Function, Type, Wasi};
pub use flaw::Flaw;
pub use images::ImageId;
pub use key::{EngineId, InvalidEngineId, Key};
pub use lock::Lock;
pub use notes::{Boot, NOTED_SIZE, Sight};
pub use snapshot::snapshot;
pub use store::{Found, Store};
pub use trailer::{is_artifact, verify};

#[cfg(test)]
mod tests;
