//! What a server allows itself and its clients. Pure.

use hull_abi::RunnerConfig;
use std::time::Duration;

/// Requests that are worked on at once, where nothing else is asked for.
const CONCURRENCY: u32 = 256;
/// Requests that may wait for their turn, for each one that is worked on.
const QUEUE_FACTOR: usize = 2;
/// From the end of a request's headers to the first byte of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGTERM to the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that one instance of a WASI 0.3 guest serves, one after the other.
const REUSE: u32 = 128;

/// Requests of a WASI 0.3 guest that one instance works on at once.
pub(crate) const SHARED_BY: usize = 16;
/// How long an instance waits for its next request.
pub(crate) const INSTANCE_IDLE: Duration = Duration::from_secs(1);
/// How long a connection may be idle. Longer than the 60 seconds after which many load balancers give one
/// up, which is the side that should.
pub(crate) const IDLE: Duration = Duration::from_secs(75);
/// From the first byte of a request to the end of its headers.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing of an answer, or send nothing of a body that the guest reads.
pub(crate) const STALL: Duration = Duration::from_secs(60);
/// How long a client may be waited for in all while it sends a body, and for how many bytes each a second more:
/// one that sends a byte a minute would keep its place for ever.
pub(crate) const SLOW: Duration = Duration::from_secs(600);
pub(crate) const SLOWEST: u64 = 1 << 10;
/// Bytes of a request's headers, and of what a connection buffers.
pub(crate) const HEAD_BYTES: usize = 64 << 10;
/// Headers of a request.
pub(crate) const HEADERS: usize = 100;
/// Bytes of bodies that a client of HTTP/2 may send before the guest reads them, for one stream and for all of a
/// connection.
pub(crate) const WINDOW: u32 = 64 << 10;
/// Streams of one HTTP/2 connection.
pub(crate) const STREAMS: u32 = 100;
/// Bytes that a guest can hand over at once of a body that it writes.
pub(crate) const CHUNK: usize = 64 << 10;
/// How much longer than a request may take a guest can compute without a pause, before it is taken for an
/// endless loop.
pub(crate) const OVERTIME: Duration = Duration::from_secs(5);

/// Connections at once, where memory allows it; further ones wait in the kernel.
const CONNECTIONS: u64 = 1024;
/// As many there may be however little memory there is.
const FEWEST_CONNECTIONS: u64 = 8;
/// What a connection is expected to hold at most: a head, what has come of bodies, and twice that for what goes
/// out, once with the guest's piece and once in hyper.
const CONNECTION_BYTES: u64 = 256 << 10;
/// The part of the memory limit that connections have.
const CONNECTIONS_PART: u64 = 4;

/// Connections at once below a memory limit.
pub(crate) fn connections(memory_limit: Option<u64>) -> u64 {
    let fit = memory_limit.unwrap_or(u64::MAX) / CONNECTIONS_PART / CONNECTION_BYTES;
    fit.clamp(FEWEST_CONNECTIONS, CONNECTIONS)
}

/// The bytes that connections take of the memory limit, so that guests do not get them.
pub(crate) fn connections_share(memory_limit: u64) -> u64 {
    let bytes = connections(Some(memory_limit)) * CONNECTION_BYTES;
    bytes.min(memory_limit / CONNECTIONS_PART)
}

/// What can be asked for, with what holds where it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Requests that are worked on at once.
    pub(crate) concurrency: usize,
    /// Requests that may wait for that.
    pub(crate) queue: usize,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Bytes of the heads of all requests: one for each connection, where one of HTTP/2 could have many.
    pub(crate) heads: usize,
    /// From the end of a request's headers to the first byte of its answer.
    pub(crate) request_timeout: Duration,
    /// From SIGTERM to the end.
    pub(crate) drain_timeout: Duration,
    /// Largest body of a request, in bytes.
    pub(crate) max_body: Option<u64>,
    /// Requests that one instance of a WASI 0.3 guest serves.
    pub(crate) reuse: usize,
}

impl Settings {
    /// What the config asks for.
    pub(crate) fn of(config: &RunnerConfig) -> Self {
        let asked = &config.settings.http;
        let time = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        let count = |number: u32| usize::try_from(number.max(1)).unwrap_or(usize::MAX);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let concurrency = count(asked.max_concurrency.unwrap_or(CONCURRENCY));
        let connections = size(connections(config.memory_limit));
        Self {
            concurrency,
            queue: concurrency * QUEUE_FACTOR,
            connections,
            heads: connections * HEAD_BYTES,
            request_timeout: time(asked.request_timeout_ms, REQUEST_TIMEOUT),
            drain_timeout: time(asked.drain_timeout_ms, DRAIN_TIMEOUT),
            max_body: asked.max_body,
            reuse: count(asked.max_reuse.unwrap_or(REUSE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_a_part_of_the_memory() {
        let limited = |mib: u64| {
            Settings::of(&RunnerConfig {
                memory_limit: Some(mib << 20),
                ..RunnerConfig::default()
            })
        };
        for (mib, connections) in [
            (8, 8),
            (64, 64),
            (256, 256),
            (1 << 10, 1024),
            (1 << 20, 1024),
        ] {
            let settings = limited(mib);
            assert_eq!(settings.connections, connections, "{mib}");
            assert_eq!(settings.heads, connections * HEAD_BYTES, "{mib}");
        }
        assert_eq!(Settings::of(&RunnerConfig::default()).connections, 1024);
        for (mib, share) in [(4, 1), (8, 2), (64, 16), (1 << 10, 256), (1 << 20, 256)] {
            assert_eq!(connections_share(mib << 20), share << 20, "{mib}");
        }
        assert_eq!(connections_share(0), 0);
    }

    #[test]
    fn what_is_asked_for_wins() {
        let mut config = RunnerConfig::default();
        let settings = Settings::of(&config);
        assert_eq!((settings.concurrency, settings.queue), (256, 512));
        assert_eq!(settings.drain_timeout, Duration::from_secs(10));
        assert_eq!(settings.max_body, None);

        config.settings.http.max_concurrency = Some(hull_abi::MAX_CONCURRENCY);
        config.settings.http.request_timeout_ms = Some(1500);
        config.settings.http.max_reuse = Some(0);
        let settings = Settings::of(&config);
        assert_eq!(settings.concurrency, 4096);
        assert_eq!(settings.request_timeout, Duration::from_millis(1500));
        assert_eq!(settings.reuse, 1);
    }
}
