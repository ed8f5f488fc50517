//! The harness of the end-to-end tests.
//!
//! Private worlds for tests, named by a tag that nothing else on the machine has:
//! - [`Lab`]: the shim alone. The harness plays containerd: it makes bundles, runs `start`, calls
//!   the task service and receives the events.
//! - [`Containerd`] and [`Case`]: a private containerd, driven by `ctr`.
//! - [`Node`](cri::Node) and [`cri::Case`]: a private containerd with its CRI plugin, driven by `crictl`.
//! - [`Cli`]: `hull`, without containerd and without the order of events.
//!
//! They end in the same checks, for which a test need do nothing: the order of all events
//! ([`order`]) and that nothing is left on the machine ([`leaks`]).
//!
//! The shim under test is the one of [`target`]: hull, or any other by `HULL_E2E_RUNTIME`, so that
//! a test can be checked against containerd's own shim.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_panics_doc,
    reason = "test code: a panic is how a test fails, and stderr is where it explains itself"
)]

pub mod apart;
pub mod artifacts;
pub mod bench;
pub mod cc;
pub mod cgroup;
pub mod cli;
pub mod containerd;
pub mod cri;
pub mod ctr;
pub mod events;
pub mod executables;
pub mod footprint;
pub mod janitor;
pub mod lab;
pub mod leaks;
mod message;
pub mod order;
pub mod procfs;
pub mod pulse;
pub mod rootfs;
pub mod sandbox;
pub mod strace;
pub mod target;
pub mod time;
pub mod vm;

mod case;
mod container;

pub use apart::{in_own_mounts, in_own_network};
pub use case::Case;
pub use cli::Cli;
pub use container::{Container, Ran, read_output};
pub use containerd::Containerd;
pub use ctr::Output;
pub use events::{Event, Topic};
pub use hull_client::{
    Code, FifoReader, FifoWriter, HookKind, RpcError, Spec, Stdio, Streams, Task, Version,
};
pub use lab::Lab;
pub use message::is_one_clear_line;
pub use rootfs::Image;
pub use sandbox::Sandbox;
pub use time::{block, eventually, limit, slowed};

/// The annotation by which containers of a pod find one daemon.
pub const POD: &str = "io.kubernetes.cri.sandbox-id";
