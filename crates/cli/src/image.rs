//! Images that are a Wasm module: what containerd is asked, and how the answer is checked.
//!
//! containerd's gRPC client is in this binary alone. The shim runs it (`hull image-module`) for a container
//! whose program is not in its root, `hull compile` for an image by its name, and `hull cache prune --unused`
//! to learn which images there are.

mod command;
mod connection;
mod download;
mod manifest;
mod module;
mod unused;

pub(crate) use command::{ImageModuleArgs, run};
use connection::{Connection, block_on};
pub(crate) use download::{Containerd, Download};
use module::{Found, fetch, find};
pub(crate) use unused::{Unused, engine, unused_of_all};
