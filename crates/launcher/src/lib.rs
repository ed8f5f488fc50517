//! The launcher: a small single-threaded process from which every other process of hull is cloned,
//! and everything that happens inside such a process before it becomes the container's program.
//!
//! * [`server`] is the launcher's loop, `spawn` clones, `init` is the straight list of
//!   steps of a container's first process, [`host`] does the jobs that may block.
//! * [`client`] (feature `client`) is the daemon's asynchronous handle of a launcher.
//!
//! The launcher is non-dumpable, runs from a sealed image of the binary and holds no descriptor of a
//! host directory. Every child it clones is its *sibling*: the daemon is their parent.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
mod failure;
mod fault;
mod hook;
pub mod host;
mod id_maps;
mod init;
pub mod server;
mod spawn;
mod step;
mod sync;
