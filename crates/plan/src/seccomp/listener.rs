//! `SCMP_ACT_NOTIFY`: an agent on the host decides about calls.
//!
//! The agent has the listener only after the filter is loaded: the new process says so with write(2)
//! and waits. That call alone must be decided without the agent; from then on it may be asked about
//! any other, execve(2) included.

use super::Invalid;
use hull_abi::SeccompListener;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction as Action};
use serde_json::json;
use std::path::Path;

/// The call that tells of the listener.
pub(super) const NEEDED_CALL: &str = "write";

/// Longest path of a socket: `sun_path` of unix(7), without the final NUL.
const MAX_PATH: usize = 107;

const TSYNC: u32 = 1 << 0;
const NEW_LISTENER: u32 = 1 << 3;

/// Whether a rule asks an agent.
pub(super) fn is_wanted(profile: &LinuxSeccomp) -> bool {
    let mut rules = profile.syscalls().iter().flatten();
    rules.any(|rule| rule.action() == Action::ScmpActNotify)
}

/// The flags for a filter with a listener. The kernel takes `TSYNC` only without one; a process that
/// loads its filter has no other thread with which it could be synchronised.
pub(super) fn flags(flags: u32) -> u32 {
    flags & !TSYNC | NEW_LISTENER
}

/// Where the listener goes, and what is told with it; `None` if no rule asks anybody, whatever the
/// profile says of an agent.
///
/// # Errors
/// A rule asks somebody, and there is no socket that could be meant.
pub fn listener(
    profile: &LinuxSeccomp,
    oci_version: &str,
) -> Result<Option<SeccompListener>, Invalid> {
    if !is_wanted(profile) {
        return Ok(None);
    }
    let wrong = |why: String| Err(Invalid::new("linux.seccomp.listenerPath", why));
    let path = profile.listener_path().as_deref().and_then(Path::to_str);
    let path = path.unwrap_or_default();
    if path.is_empty() {
        return wrong("a rule has SCMP_ACT_NOTIFY, but no agent is named".to_owned());
    }
    if !path.starts_with('/') {
        return wrong(format!("{path:?} is not absolute"));
    }
    if path.len() > MAX_PATH {
        return wrong(format!("it is longer than {MAX_PATH} bytes"));
    }
    let mut state = json!({ "ociVersion": oci_version, "fds": ["seccompFd"] });
    let metadata = profile.listener_metadata().as_deref().unwrap_or_default();
    if let (false, Some(members)) = (metadata.is_empty(), state.as_object_mut()) {
        members.insert("metadata".to_owned(), json!(metadata));
    }
    let mut head = state.to_string();
    // The closing brace comes with what changes.
    head.pop();
    Ok(Some(SeccompListener {
        path: path.to_owned(),
        head,
    }))
}
