//! CRI for real: containerd's CRI plugin of 1.6 and of 2.x, Debian's network plugins, crictl.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "also in what the tests share a panic is how they fail"
)]

mod deploy;
mod life;
mod many;
mod namespaces;
mod network;
mod resources;
mod restart;
mod security;
mod streaming;
mod users;
mod wasm;

/// A program that ends at SIGTERM, as the first process of a PID namespace too.
const SERVER: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done";
