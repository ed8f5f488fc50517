//! What two kinds of namespaces begin with: the maps of a user namespace, the offsets of a time
//! namespace.

use serde::{Deserialize, Serialize};

/// A run of ids that a user namespace maps
/// ([user_namespaces(7)](https://man7.org/linux/man-pages/man7/user_namespaces.7.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many ids.
    pub size: u32,
}

/// Both maps of a user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IdMaps {
    /// Of user ids.
    pub uids: Vec<IdRange>,
    /// Of group ids.
    pub gids: Vec<IdRange>,
}

/// A clock that a time namespace can shift
/// ([time_namespaces(7)](https://man7.org/linux/man-pages/man7/time_namespaces.7.html)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Clock {
    /// `CLOCK_MONOTONIC` and its variants.
    Monotonic,
    /// `CLOCK_BOOTTIME` and its variants, `/proc/uptime`.
    Boottime,
}

/// By how much a clock differs from the host's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffset {
    /// Which clock.
    pub clock: Clock,
    /// Seconds, possibly negative.
    pub seconds: i64,
    /// Nanoseconds to add, less than a second.
    pub nanoseconds: u32,
}

impl IdMaps {
    /// Whether nothing is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }
}

impl IdRange {
    /// What the host calls an id of the container; `None` where it is not in this range.
    #[must_use]
    pub fn host_id(&self, id: u32) -> Option<u32> {
        let offset = id.checked_sub(self.container)?;
        if offset < self.size {
            self.host.checked_add(offset)
        } else {
            None
        }
    }
}

/// What the host calls an id of the container.
#[must_use]
pub fn host_id(map: &[IdRange], id: u32) -> Option<u32> {
    map.iter().find_map(|range| range.host_id(id))
}

/// A map as the kernel's files `uid_map` and `gid_map` take it.
#[must_use]
pub fn map_text(map: &[IdRange]) -> String {
    map.iter()
        .map(|range| format!("{} {} {}\n", range.container, range.host, range.size))
        .collect()
}

/// What the kernel's files `uid_map` and `gid_map` say, in any order; `None` for anything else.
#[must_use]
pub fn parse_map(text: &str) -> Option<Vec<IdRange>> {
    text.lines()
        .map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            let (container, host, size) = (numbers.next(), numbers.next(), numbers.next());
            Some(IdRange {
                container: container?.ok()?,
                host: host?.ok()?,
                size: size?.ok()?,
            })
        })
        .collect()
}

impl Clock {
    /// Its name in `/proc/PID/timens_offsets`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monotonic => "monotonic",
            Self::Boottime => "boottime",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: [IdRange; 2] = [
        IdRange {
            container: 0,
            host: 100_000,
            size: 10,
        },
        IdRange {
            container: 20,
            host: 5,
            size: 1,
        },
    ];

    #[test]
    fn an_id_is_found_in_its_range_or_not_at_all() {
        for (id, host) in [
            (0, Some(100_000)),
            (9, Some(100_009)),
            (10, None),
            (20, Some(5)),
            (21, None),
            (u32::MAX, None),
        ] {
            assert_eq!(host_id(&MAP, id), host, "{id}");
        }
    }

    #[test]
    fn a_map_survives_the_way_through_the_kernels_text() {
        assert_eq!(map_text(&MAP), "0 100000 10\n20 5 1\n");
        let kernels = "         0     100000         10\n        20          5          1\n";
        assert_eq!(parse_map(kernels).as_deref(), Some(MAP.as_slice()));
        assert_eq!(parse_map("0 1\n"), None);
        assert_eq!(parse_map("a 1 2\n"), None);
    }
}
