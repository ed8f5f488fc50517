//! Pods without a pause image: the sandbox API, the process that holds the namespaces of a pod, and
//! containerd 2.x with `sandboxer = "shim"`.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod cri;
mod faults;
mod holder;
mod members;
mod service;
