//! `ctr run --rm IMAGE ID true` through a private containerd.

use std::process::Stdio;
use std::time::{Duration, Instant};

use super::account::{self, Account};
use super::peer::{self, Peer};
use super::report::{Comparison, Figure, Table};
use super::sample::Series;
use super::task::progress;
use super::{Plan, Result};
use crate::containerd::{Containerd, Release};
use crate::rootfs::Image;
use crate::{janitor, procfs, target};

const WARM_UP: usize = 2;

/// With the distribution's containerd, hull beside its runc shim.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    with(
        plan,
        Release::Distribution,
        "runc",
        "the distribution's containerd",
    )
}

/// With containerd 2.x, hull beside its runc shim.
pub(super) fn measure_newest(plan: &Plan) -> Result<Vec<Table>> {
    if !target::clients().join("containerd").exists() {
        let clients = target::clients();
        plan.miss(format!(
            "ctr-newest: no containerd in {}; make clients",
            clients.display()
        ));
        return Ok(Vec::new());
    }
    with(plan, Release::Newest, "newest", "the newest containerd 2.x")
}

fn with(plan: &Plan, release: Release, rival: &str, title: &str) -> Result<Vec<Table>> {
    let rounds = plan.rounds(40);
    let peers: Vec<&Peer> = plan
        .peers
        .iter()
        .filter(|peer| [peer::HULL, rival, peer::NULL].contains(&peer.key))
        .collect();
    // Not born in the group: it could not remove it.
    janitor::employ();
    let service = Account::open(&format!("/{}containerd", target::process_tag()))?;
    let containerd = service.inside(|| Containerd::start(release))?;
    // The harness follows the events; that is no part of a `ctr run`.
    for pid in procfs::children(std::process::id()) {
        if procfs::command_line(pid).ends_with(" events") {
            service.expel(pid)?;
        }
    }
    // ctr puts containers below the namespace.
    let accounts = [service, Account::open(containerd.tag())?];
    let mut series: Vec<(Series, Series)> = Vec::new();
    series.resize_with(peers.len(), Default::default);
    for round in 0..WARM_UP + rounds {
        progress("ctr run", round, WARM_UP + rounds);
        for (peer, (walls, cpus)) in peers.iter().zip(&mut series) {
            let before = account::total(&accounts);
            let id = format!("{}-{round}", peer.key);
            let wall = ctr_run(&containerd, &accounts, peer, &id)?;
            account::rest(&accounts);
            if round >= WARM_UP {
                walls.push_time(wall);
                cpus.push_time(account::total(&accounts).saturating_sub(before));
            }
        }
    }
    let lines = peers.iter().zip(&series);
    let row = if rival == "newest" {
        "ctr-newest"
    } else {
        "ctr"
    };
    Ok(vec![Table {
        row,
        id: row,
        title: format!("`ctr run --rm busybox true`, {title}"),
        how: format!(
            "ms, median of {rounds}. Wall time of ctr; CPU of ctr, containerd, shim and container."
        ),
        columns: vec!["wall", "CPU"],
        lines: lines
            .map(|(peer, (walls, cpus))| {
                let figures = vec![Figure::from(walls), Figure::from(cpus)];
                (peer.name.clone(), figures)
            })
            .collect(),
        comparison: Some(Comparison::Ratio),
    }])
}

fn ctr_run(
    containerd: &Containerd,
    accounts: &[Account; 2],
    peer: &Peer,
    id: &str,
) -> Result<Duration> {
    let mut command = containerd.ctr_command();
    command
        .args(["run", "--rm", "--runtime", peer.runtime, "--fifo-dir"])
        .arg(containerd.fifo_dir())
        .args([Image::Busybox.name(), id, "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let [service, _] = accounts;
    let (spawned, began) = service.inside(|| {
        let began = Instant::now();
        (command.spawn(), began)
    })?;
    let output = spawned?.wait_with_output()?;
    let wall = began.elapsed();
    if output.status.success() {
        return Ok(wall);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: ctr run: {text}; log: {}", peer.name, containerd.log()).into())
}
