//! What a kubelet waits for: `RunPodSandbox`, `CreateContainer` and `StartContainer` of containerd's CRI plugin.

use std::time::Duration;

use super::peer::{self, Peer};
use super::report::{Comparison, Figure, Table};
use super::sample::Series;
use super::task::progress;
use super::{Plan, Result};
use crate::containerd::Release;
use crate::cri::{Case, ContainerConfig, PodConfig};
use crate::target;

const WARM_UP: usize = 2;

/// With containerd 2.x, hull beside its runc shim.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    if !target::clients().join("crictl").exists() {
        let clients = target::clients();
        plan.miss(format!(
            "cri: no crictl in {}; make clients",
            clients.display()
        ));
        return Ok(Vec::new());
    }
    let rounds = plan.rounds(30);
    let peers: Vec<&Peer> = plan
        .peers
        .iter()
        .filter(|peer| [peer::HULL, "newest"].contains(&peer.key))
        .collect();
    let case = Case::new(Release::Newest);
    case.expect_lost_events();
    let mut series: Vec<[Series; 3]> = Vec::new();
    series.resize_with(peers.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("pods", round, WARM_UP + rounds);
        for (peer, series) in peers.iter().zip(&mut series) {
            let handler = if peer.key == peer::HULL {
                "hull"
            } else {
                "runc"
            };
            let times = pod(&case, handler).ok_or("containerd's log does not tell the times")?;
            if round >= WARM_UP {
                let [sandbox, container] = times;
                for (series, time) in
                    series
                        .iter_mut()
                        .zip([sandbox, container, sandbox + container])
                {
                    series.push_time(time);
                }
            }
        }
    }
    let lines = peers.iter().zip(&series);
    Ok(vec![Table {
        row: "cri",
        id: "cri",
        title: "A pod with one container until it runs, containerd 2.x with CRI".to_owned(),
        how: format!(
            "ms, median of {rounds}, from containerd's log: RunPodSandbox (with its network), \
             CreateContainer + StartContainer, and all three; without crictl."
        ),
        columns: vec!["sandbox", "container", "all"],
        lines: lines
            .map(|(peer, series)| (peer.name.clone(), series.iter().map(Figure::from).collect()))
            .collect(),
        comparison: Some(Comparison::Ratio),
    }])
}

/// Makes a pod and removes it; gives how long sandbox and container took.
fn pod(case: &Case, handler: &str) -> Option<[Duration; 2]> {
    let before = case.node().containerd().log().len();
    let pod = case.pod_of(handler, &PodConfig::new());
    let c = pod.start(&ContainerConfig::shell(
        "trap 'exit 0' TERM; while :; do sleep 0.1; done",
    ));
    let log = case.node().containerd().log();
    let log = log.get(before..)?;
    let sandbox = between(log, "RunPodSandbox for", "returns sandbox id")?;
    let create = between(log, "CreateContainer within", "returns container id")?;
    let start = between(log, "StartContainer for", "returns successfully")?;
    drop(c);
    pod.remove();
    Some([sandbox, create + start])
}

/// The time from the first line about a request to the one about its end.
fn between(log: &str, request: &str, end: &str) -> Option<Duration> {
    let mut lines = log.lines().filter(|line| line.contains(request));
    let began = time_of_day(lines.next()?)?;
    let ended = time_of_day(lines.find(|line| line.contains(end))?)?;
    let day = Duration::from_secs(24 * 3600);
    Some(ended.checked_sub(began).unwrap_or(ended + day - began))
}

/// `time="2026-01-01T12:34:56.789012345Z" …`.
fn time_of_day(line: &str) -> Option<Duration> {
    let time = line.split_once('T')?.1.split_once('Z')?.0;
    let mut parts = time.split(':');
    let (hours, minutes): (u64, u64) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let seconds: f64 = parts.next()?.parse().ok()?;
    Some(Duration::from_secs(hours * 3600 + minutes * 60) + Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_log() {
        let log = "time=\"2026-01-01T23:59:59.5Z\" level=info msg=\"StartContainer for x\"\n\
                   time=\"2026-01-02T00:00:00.25Z\" msg=\"StartContainer for x returns successfully\"\n";
        let took = between(log, "StartContainer for", "returns successfully");
        assert_eq!(took, Some(Duration::from_millis(750)));
        assert_eq!(between(log, "StopContainer", "returns"), None);
    }
}
