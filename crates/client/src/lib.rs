//! containerd's side of the shim contract, without containerd.
//!
//! What is here: a persistent ttrpc client for the task service ([`Task`]), a maker of bundles
//! ([`Bundle`], [`Spec`]), the client's ends of the stdio FIFOs ([`Stdio`]), the call of a shim binary
//! ([`ShimBinary`]) exactly as containerd 1.6 makes it, and a place where its events go ([`Events`]). The command line tool and the
//! end-to-end tests use it; the shim itself does not.

#![forbid(unsafe_code)]

mod bundle;
mod error;
mod events;
mod fifo;
mod shim;
mod spec;
mod stdio;
mod task;

pub use bundle::Bundle;
pub use error::{Error, Result, RpcError};
pub use events::Events;
pub use fifo::{FifoReader, FifoWriter, make_fifo};
pub use shim::{ShimBinary, socket_path};
pub use spec::{CAPABILITIES, HookKind, Spec};
pub use stdio::{Stdio, Streams};
pub use task::{Task, Version};

pub use containerd_shim_protos::api;
pub use protobuf::well_known_types::any::Any;
pub use ttrpc::Code;
