//! What guests see and what the world sees of guests: the built runner, started as the init process
//! starts it, with artifacts from the compiler that `HULL_WASMC` names. Needs root (chroot, PID
//! namespaces) and Debian's strace, util-linux and coreutils.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod calls;
mod components;
mod confinement;
mod exits;
mod files;
mod functions;
mod guest;
mod http;
mod mapping;
mod memory;
mod preview3;
mod procfs;
mod signals;
mod streams;
mod traps;
