//! What the figures were measured on.

use std::fs;
use std::thread;

use super::peer::Peer;

/// Cores, memory, kernel, distribution and the peers, one line each.
pub(super) fn describe(peers: &[Peer]) -> Vec<String> {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    // Only the version: what follows names a build.
    let kernel: Vec<&str> = kernel.trim().split(['.', '-']).take(2).collect();
    let memory = read("/proc/meminfo");
    let memory: u64 = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let release = read("/etc/os-release");
    let release = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("unknown distribution");
    let hierarchies = crate::cgroup::hierarchies();
    let cgroups = match (
        hierarchies.iter().any(|one| one.unified),
        hierarchies.iter().any(|one| !one.unified),
    ) {
        (true, true) => "hybrid cgroups (controllers in v1)",
        (true, false) => "cgroup v2",
        (false, _) => "cgroup v1",
    };
    let mut lines = vec![format!(
        "{cores} cores, {} GiB, kernel {}, {}, {cgroups}",
        memory / 1024 / 1024,
        kernel.join("."),
        release.trim_matches('"'),
    )];
    lines.extend(peers.iter().map(|peer| format!("peer: {}", peer.name)));
    lines.push(format!("load average before the run: {}", load()));
    lines
}

/// The load averages over one, five and fifteen minutes.
pub(super) fn load() -> String {
    let words = read("/proc/loadavg");
    words.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
