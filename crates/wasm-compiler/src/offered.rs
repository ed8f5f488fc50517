//! The interfaces of WASI 0.2 and 0.3 that the runner offers to components, and those by which it runs
//! them.

/// Interfaces of 0.2 without the version. They are those of the world `wasi:cli/imports` as far as
/// they are stable.
const V0_2: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];

/// Interfaces of 0.3 without the version, chosen alike.
const V0_3: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];

/// Interfaces of HTTP: types and outgoing requests.
const HTTP_0_2: &[&str] = &["wasi:http/outgoing-handler", "wasi:http/types"];
/// The same in 0.3.
const HTTP_0_3: &[&str] = &["wasi:http/client", "wasi:http/types"];

/// What commands export, in every version.
pub(crate) const RUN: &str = "wasi:cli/run";
/// What servers of HTTP export in 0.2.
pub(crate) const HANDLER_0_2: &str = "wasi:http/incoming-handler";
/// What servers of HTTP export in 0.3.
pub(crate) const HANDLER_0_3: &str = "wasi:http/handler";

/// A version of WASI that consists of components.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V0_2,
    V0_3,
}

impl Version {
    /// Splits the version off the name of an interface. All patches of a version are compatible with
    /// each other; drafts are not.
    pub(crate) fn of(name: &str) -> Option<(&str, Self)> {
        let (interface, version) = name.split_once('@')?;
        let (version, patch) = [("0.2.", Self::V0_2), ("0.3.", Self::V0_3)]
            .into_iter()
            .find_map(|(prefix, is)| Some((is, version.strip_prefix(prefix)?)))?;
        let is_number = !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some((interface, version))
    }

    /// The interfaces of this version that are offered to everybody.
    pub(crate) const fn interfaces(self) -> &'static [&'static str] {
        match self {
            Self::V0_2 => V0_2,
            Self::V0_3 => V0_3,
        }
    }

    /// The interfaces of HTTP of this version.
    pub(crate) const fn http(self) -> &'static [&'static str] {
        match self {
            Self::V0_2 => HTTP_0_2,
            Self::V0_3 => HTTP_0_3,
        }
    }
}

/// Whether the runner offers an interface of this name.
pub(crate) fn is_offered(name: &str) -> bool {
    Version::of(name).is_some_and(|(interface, version)| {
        version.interfaces().contains(&interface) || version.http().contains(&interface)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_released_versions_count() {
        let poll = "wasi:io/poll";
        for (name, version) in [
            ("wasi:io/poll@0.2.0", Version::V0_2),
            ("wasi:io/poll@0.2.12", Version::V0_2),
            ("wasi:io/poll@0.3.0", Version::V0_3),
        ] {
            assert_eq!(Version::of(name), Some((poll, version)), "{name}");
        }
        for other in [
            "wasi:io/poll",
            "wasi:io/poll@0.2",
            "wasi:io/poll@0.2.",
            "wasi:io/poll@0.2.0-rc-2023-11-10",
            "wasi:io/poll@0.3.0-rc-2026-01-06",
            "wasi:io/poll@0.4.0",
            "wasi:io/poll@10.2.0",
        ] {
            assert_eq!(Version::of(other), None, "{other}");
        }
    }

    #[test]
    fn versions_are_not_mixed_up() {
        assert!(is_offered("wasi:io/poll@0.2.3") && !is_offered("wasi:io/poll@0.3.0"));
        assert!(is_offered("wasi:http/client@0.3.0") && !is_offered("wasi:http/client@0.2.0"));
        assert!(!is_offered("wasi:http/incoming-handler@0.2.0"));
    }
}
