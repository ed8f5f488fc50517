//! What /proc tells of the processes and mounts of this machine.

use std::fs;
use std::path::{Path, PathBuf};

/// A process, and what connects it with the one who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: u32,
    /// What was found where: `cmdline containerd-shim …`.
    pub trace: String,
}

/// A process that is told from a later one with the same pid: pids are used again, and soon on a busy
/// machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its pid.
    pub pid: u32,
    /// When it was started, in clock ticks since boot; 0 if it was gone already.
    start: u64,
}

impl Identity {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> Self {
        Self {
            pid,
            start: start(pid).unwrap_or(0),
        }
    }

    /// Whether it still runs; a zombie of pid 1 does not.
    pub fn is_running(self) -> bool {
        start(self.pid) == Some(self.start) && !has_ended(self.pid)
    }
}

/// Field 22 of /proc/PID/stat, behind the name, which may hold anything.
fn start(pid: u32) -> Option<u64> {
    let stat = text(Path::new(&format!("/proc/{pid}/stat")));
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(19)?.parse().ok()
}

/// Processes whose command line, environment, cgroup, working directory or root names `token`.
pub fn processes_naming(token: &str) -> Vec<Process> {
    pids()
        .into_iter()
        .filter_map(|pid| naming(pid, token))
        .collect()
}

fn naming(pid: u32, token: &str) -> Option<Process> {
    if pid == std::process::id() {
        return None;
    }
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let place = ["cmdline", "environ", "cgroup"]
        .into_iter()
        .find(|file| text(&dir.join(file)).contains(token))
        .or_else(|| {
            ["cwd", "root"].into_iter().find(|link| {
                fs::read_link(dir.join(link))
                    .is_ok_and(|target| target.to_string_lossy().contains(token))
            })
        })?;
    Some(Process {
        pid,
        trace: format!("pid {pid} ({place}): {}", command_line(pid)),
    })
}

/// What a process has open, sockets left out; sorted, the same thing as often as it is open.
pub fn open_files(pid: u32) -> Vec<String> {
    let mut files: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .filter(|target| !target.starts_with("socket:"))
        .collect();
    files.sort();
    files
}

/// All pids.
pub fn pids() -> Vec<u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether a process is there; a zombie is.
pub fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a process has ended as far as we are concerned: it is gone, or it waits for pid 1 to
/// take its status, which pid 1 does when it pleases.
pub fn has_ended(pid: u32) -> bool {
    !exists(pid)
        || (parent(pid) == Some(1)
            && field(pid, "State").is_none_or(|state| state.starts_with('Z')))
}

/// Its command line with blanks, or the name of one that has none: a zombie.
pub fn command_line(pid: u32) -> String {
    let line = text(Path::new(&format!("/proc/{pid}/cmdline"))).replace('\0', " ");
    if line.trim().is_empty() {
        let name = text(Path::new(&format!("/proc/{pid}/comm")));
        return format!(
            "[{}] {}",
            name.trim(),
            field(pid, "State").unwrap_or_default()
        );
    }
    line.trim().to_owned()
}

/// A line of /proc/PID/status, without its key.
pub fn field(pid: u32, key: &str) -> Option<String> {
    let status = text(Path::new(&format!("/proc/{pid}/status")));
    status_field(&status, key).map(str::to_owned)
}

/// A line of a status file that was read elsewhere, for one inside a container.
pub fn status_field<'text>(status: &'text str, key: &str) -> Option<&'text str> {
    status
        .lines()
        .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix(':')?.trim()))
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    field(pid, "PPid")?.parse().ok()
}

/// The direct children of a process.
pub fn children(pid: u32) -> Vec<u32> {
    pids()
        .into_iter()
        .filter(|child| parent(*child) == Some(pid))
        .collect()
}

/// What each open file descriptor of a process points to.
pub fn descriptors(pid: u32) -> Vec<String> {
    let mut targets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            Some(
                fs::read_link(entry.ok()?.path())
                    .ok()?
                    .to_string_lossy()
                    .into_owned(),
            )
        })
        .collect();
    targets.sort();
    targets
}

/// The lines of this process's mountinfo that name `token`.
pub fn mounts_naming(token: &str) -> Vec<String> {
    text(Path::new("/proc/self/mountinfo"))
        .lines()
        .filter(|line| line.contains(token))
        .map(str::to_owned)
        .collect()
}

/// The mount points that name `token`, the newest first: the order in which they can go.
pub fn mount_points_naming(token: &str) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = mounts_naming(token)
        .iter()
        .filter_map(|line| line.split(' ').nth(4).map(PathBuf::from))
        .collect();
    points.reverse();
    points
}

/// A file that may be gone by now.
fn text(path: &Path) -> String {
    fs::read(path).map_or_else(
        |_gone| String::new(),
        |bytes| String::from_utf8_lossy(&bytes).into(),
    )
}
