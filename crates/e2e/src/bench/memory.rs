//! What shims cost in memory while their container does nothing.

use std::fs;
use std::time::Duration;

use super::bed::Bed;
use super::cell::runtime;
use super::pod::Pod;
use super::report::{Comparison, Figure, Table};
use super::task::progress;
use super::{Plan, Result};
use crate::procfs;

/// Lone containers in the second table.
const MANY: u32 = 100;
/// After this time without a request a shim is idle.
pub(super) const IDLE: Duration = Duration::from_secs(3);

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let (mut one, mut many) = (Vec::new(), Vec::new());
    let strangers = strangers();
    for (number, peer) in plan.rivals().enumerate() {
        progress(
            &format!("memory, {}", peer.name),
            number,
            plan.rivals().count(),
        );
        let bed = Bed::make()?;
        let client = runtime()?;
        let mut pods = vec![];
        settle();
        let before = available();
        let mut single = Usage::default();
        while pods.len() < usize::try_from(MANY)? {
            pods.push(Pod::start(&bed, peer, &client)?);
            if pods.len() == 1 {
                settle();
                single = Usage::of_shims(&pods)?;
            }
        }
        settle();
        let all = Usage::of_shims(&pods)?;
        let fall = before - available();
        let count = f64::from(MANY);
        one.push((peer.name.clone(), single.figures().to_vec()));
        many.push((
            peer.name.clone(),
            vec![(all.pss / count).into(), (fall / count).into()],
        ));
        for pod in pods {
            pod.end(&client)?;
        }
    }
    Ok(vec![
        Table {
            row: "memory",
            id: "memory-one",
            title: "Memory beside one idle container".to_owned(),
            how: format!(
                "KiB by smaps_rollup, after sync(2) and {} s without a request: all processes of \
                 the shim, not the container's. {strangers} shims of others ran; those of one binary \
                 share its pages, which lowers PSS.",
                IDLE.as_secs()
            ),
            columns: vec!["PSS", "RSS", "private dirty", "processes", "threads"],
            lines: one,
            comparison: Some(Comparison::Ratio),
        },
        Table {
            row: "memory",
            id: "memory-many",
            title: format!("Memory beside {MANY} lone idle containers"),
            how: format!(
                "KiB, divided by {MANY}. The fall of MemAvailable includes the containers, their \
                 cgroups and mounts, and what no PSS shows; it is rough."
            ),
            columns: vec!["PSS of a shim", "fall of MemAvailable"],
            lines: many,
            comparison: Some(Comparison::Ratio),
        },
    ])
}

/// Writes back what a fresh binary or file left dirty, and lets shims become idle.
pub(super) fn settle() {
    nix::unistd::sync();
    std::thread::sleep(IDLE);
}

/// Sums over processes, in KiB.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) pss: f64,
    pub(super) rss: f64,
    pub(super) private_dirty: f64,
    processes: f64,
    threads: f64,
}

impl Usage {
    /// All processes of the shims but not the containers'.
    fn of_shims(pods: &[Pod<'_>]) -> Result<Self> {
        let family = pods.iter().flat_map(|pod| {
            let mut family = procfs::children(pod.shim);
            family.retain(|pid| *pid != pod.init);
            family.push(pod.shim);
            family
        });
        Self::of(family)
    }

    pub(super) fn of(pids: impl IntoIterator<Item = u32>) -> Result<Self> {
        let mut usage = Self::default();
        for pid in pids {
            usage.add(pid)?;
        }
        Ok(usage)
    }

    fn add(&mut self, pid: u32) -> Result<()> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let kib = |key: &str| number(procfs::status_field(&rollup, key).unwrap_or_default());
        self.pss += kib("Pss");
        self.rss += kib("Rss");
        self.private_dirty += kib("Private_Dirty");
        self.processes += 1.0;
        self.threads += number(&procfs::field(pid, "Threads").unwrap_or_default());
        Ok(())
    }

    fn figures(&self) -> [Figure; 5] {
        [
            self.pss,
            self.rss,
            self.private_dirty,
            self.processes,
            self.threads,
        ]
        .map(Figure::from)
    }
}

/// How many shims run that are not ours: before the row, none is.
fn strangers() -> usize {
    let shim = |pid: &u32| {
        procfs::field(*pid, "Name").is_some_and(|name| name.starts_with("containerd-shim"))
            && procfs::field(*pid, "State").is_some_and(|state| !state.starts_with('Z'))
    };
    procfs::pids().iter().filter(|pid| shim(pid)).count()
}

/// MemAvailable in KiB.
fn available() -> f64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    number(procfs::status_field(&text, "MemAvailable").unwrap_or_default())
}

/// The number at the beginning of `1234 kB`.
pub(super) fn number(text: &str) -> f64 {
    let word = text.split_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}
