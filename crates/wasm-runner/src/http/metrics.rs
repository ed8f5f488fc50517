//! What a server counts, and how it is told: the text format of
//! [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/).

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000, 30_000_000,
];

/// The classes of status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of a server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Requests that are worked on.
    pub(crate) in_flight: AtomicUsize,
    /// Open connections.
    pub(crate) connections: AtomicUsize,
    /// Instances of the guest that there are.
    pub(crate) instances: AtomicUsize,
    /// Instances that were made.
    pub(crate) instantiations: AtomicU64,
    /// Instances that trapped.
    pub(crate) traps: AtomicU64,
    /// Requests that were sent away because there was no place for them.
    pub(crate) refused: AtomicU64,
    /// Requests whose time ran out.
    pub(crate) timeouts: AtomicU64,
    classes: [AtomicU64; CLASSES.len()],
    latencies: [AtomicU64; BUCKETS.len() + 1],
    latency_sum: AtomicU64,
}

impl Metrics {
    /// A request was answered, so long after its headers had come.
    pub(crate) fn answered(&self, status: u16, after: Duration) {
        let class = usize::from(status / 100).saturating_sub(1);
        if let Some(count) = self.classes.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|&bound| bound < micros);
        if let Some(count) = self.latencies.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.latency_sum.fetch_add(micros, Ordering::Relaxed);
    }

    /// Everything as OpenMetrics text; `memory` is what all instances have of linear memory, in bytes.
    pub(crate) fn text(&self, memory: usize) -> String {
        let mut text = String::with_capacity(4096);
        // Writing to a string does not fail.
        _ = self.write(&mut text, memory);
        text
    }

    fn write(&self, out: &mut String, memory: usize) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let gauge = |gauge: &AtomicUsize| gauge.load(Ordering::Relaxed);
        writeln!(out, "# TYPE hull_http_requests counter")?;
        for (class, counter) in CLASSES.iter().zip(&self.classes) {
            writeln!(
                out,
                "hull_http_requests_total{{class=\"{class}\"}} {}",
                count(counter)
            )?;
        }
        self.write_latencies(out)?;
        for (name, help, value) in [
            (
                "hull_http_refused",
                "Requests answered 503 for want of room.",
                count(&self.refused),
            ),
            (
                "hull_http_timeouts",
                "Requests answered 504.",
                count(&self.timeouts),
            ),
            (
                "hull_wasm_traps",
                "Instances that trapped.",
                count(&self.traps),
            ),
            (
                "hull_wasm_instantiations",
                "Instances made.",
                count(&self.instantiations),
            ),
        ] {
            writeln!(
                out,
                "# TYPE {name} counter\n# HELP {name} {help}\n{name}_total {value}"
            )?;
        }
        for (name, help, value) in [
            (
                "hull_http_in_flight",
                "Requests being worked on.",
                gauge(&self.in_flight),
            ),
            (
                "hull_http_connections",
                "Open connections.",
                gauge(&self.connections),
            ),
            (
                "hull_wasm_instances",
                "Live instances.",
                gauge(&self.instances),
            ),
            (
                "hull_wasm_memory_bytes",
                "Linear memory and tables of live instances.",
                memory,
            ),
        ] {
            writeln!(
                out,
                "# TYPE {name} gauge\n# HELP {name} {help}\n{name} {value}"
            )?;
        }
        writeln!(out, "# EOF")
    }

    fn write_latencies(&self, out: &mut String) -> fmt::Result {
        let name = "hull_http_request_duration_seconds";
        writeln!(out, "# TYPE {name} histogram\n# UNIT {name} seconds")?;
        let mut so_far = 0;
        for (index, counter) in self.latencies.iter().enumerate() {
            so_far += counter.load(Ordering::Relaxed);
            let bound = match BUCKETS.get(index) {
                Some(&bound) => Seconds(bound).to_string(),
                None => "+Inf".to_owned(),
            };
            writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {so_far}")?;
        }
        let sum = Seconds(self.latency_sum.load(Ordering::Relaxed));
        writeln!(out, "{name}_count {so_far}\n{name}_sum {sum}")
    }
}

/// Microseconds, shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000);
        let short = text.trim_end_matches('0');
        // OpenMetrics wants canonical numbers: 1.0, not 1.
        f.write_str(short)?;
        if short.ends_with('.') {
            f.write_char('0')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_the_end_is_marked() {
        let metrics = Metrics::default();
        metrics.answered(200, Duration::from_micros(90));
        metrics.answered(204, Duration::from_micros(100));
        metrics.answered(503, Duration::from_secs(100));
        let text = metrics.text(65536);
        for line in [
            "hull_http_requests_total{class=\"2xx\"} 2",
            "hull_http_requests_total{class=\"5xx\"} 1",
            "hull_http_request_duration_seconds_bucket{le=\"0.0001\"} 2",
            "hull_http_request_duration_seconds_bucket{le=\"1.0\"} 2",
            "hull_http_request_duration_seconds_bucket{le=\"30.0\"} 2",
            "hull_http_request_duration_seconds_bucket{le=\"+Inf\"} 3",
            "hull_http_request_duration_seconds_count 3",
            "hull_http_request_duration_seconds_sum 100.00019",
            "hull_wasm_memory_bytes 65536",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
