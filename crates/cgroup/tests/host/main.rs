//! The crate on the cgroups of this host. Needs root; makes cgroups below parents of its own,
//! `/hull-test-<pid>-<test>`, and removes them.

#![expect(clippy::unwrap_used, reason = "a failed test is what they are for")]

mod devices;
mod lifecycle;
mod limits;
mod oom;
mod scope;
