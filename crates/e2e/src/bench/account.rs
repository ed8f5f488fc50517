//! CPU time by cgroup: exact where /proc/PID/stat counts ticks, and it keeps what processes that
//! are gone have used.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use super::Result;
use crate::cgroup;

/// Between two operations.
const GAP: Duration = Duration::from_millis(50);
/// After the gap: two readings this far apart tell whether something still runs.
const LOOK: Duration = Duration::from_millis(10);
/// What may run between two such readings. An idle Go program wakes up now and then.
const QUIET: Duration = Duration::from_micros(200);
/// Where processes are put: in a unified hierarchy a group that has controllers for the groups below
/// it must have no process of its own.
pub(super) const LEAF: &str = "shims";
/// How often it is looked before the next operation begins anyway.
const LOOKS: u32 = 40;

/// A group in the hierarchy that counts CPU time: `cpuacct` of v1, the unified one otherwise.
#[derive(Debug, Clone)]
pub(super) struct Account {
    root: PathBuf,
    dir: PathBuf,
    unified: bool,
}

impl Account {
    /// The group at this path from the root of the hierarchy; made if it is not there.
    pub(super) fn open(path: &str) -> Result<Self> {
        let controller = controller();
        let root = cgroup::of_controller(controller).mount_point;
        let dir = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self {
            root,
            dir,
            unified: controller == "cpu",
        })
    }

    /// What all processes ever used while they were in the group or below it.
    pub(super) fn used(&self) -> Duration {
        let read = |file: &str| fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        if self.unified {
            let stat = read("cpu.stat");
            let usage = stat
                .lines()
                .find_map(|line| line.strip_prefix("usage_usec "));
            Duration::from_micros(usage.and_then(|text| text.parse().ok()).unwrap_or(0))
        } else {
            Duration::from_nanos(read("cpuacct.usage").trim().parse().unwrap_or(0))
        }
    }

    /// Calls `spawn` with this thread in a leaf of the group: what it spawns is born there.
    pub(super) fn inside<T>(&self, spawn: impl FnOnce() -> T) -> Result<T> {
        // v1 moves one thread, v2 only whole processes.
        let file = if self.unified {
            "cgroup.procs"
        } else {
            "tasks"
        };
        let home = cgroup::of_process(std::process::id(), controller());
        let home = self.root.join(home.trim_start_matches('/'));
        let leaf = self.dir.join(LEAF);
        fs::create_dir_all(&leaf)?;
        fs::write(leaf.join(file), "0")?;
        let spawned = spawn();
        fs::write(home.join(file), "0")?;
        Ok(spawned)
    }

    /// Moves a process out, to the root.
    pub(super) fn expel(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.root.join("cgroup.procs"), pid.to_string())?)
    }
}

fn controller() -> &'static str {
    let counts =
        |hierarchy: &cgroup::Hierarchy| hierarchy.controllers.iter().any(|name| name == "cpuacct");
    if cgroup::hierarchies().iter().any(counts) {
        "cpuacct"
    } else {
        "cpu"
    }
}

/// What several groups have used together.
pub(super) fn total(accounts: &[Account]) -> Duration {
    accounts.iter().map(Account::used).sum()
}

/// The quiet gap: 50 ms, and then until nothing in the groups runs any more.
pub(super) fn rest(accounts: &[Account]) {
    thread::sleep(GAP);
    let mut before = total(accounts);
    for _ in 0..LOOKS {
        thread::sleep(LOOK);
        let now = total(accounts);
        if now.saturating_sub(before) < QUIET {
            return;
        }
        before = now;
    }
}
