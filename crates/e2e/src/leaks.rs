//! What tests may leave behind: nothing.
//!
//! Everything that belongs to a test bears a name that nothing else on the machine has, a tag or a
//! container id. So the check needs no picture from before and does not mind its neighbours: it
//! looks for the name in processes, mounts, cgroups, sockets and files.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{artifacts, cgroup, procfs, time};

/// How long what ends on its own may take: a daemon ends after its last reply.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// What to look for.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The name that everything bears.
    pub token: String,
    /// Processes that bear it and may stay.
    pub spared: Vec<u32>,
    /// Processes that must be gone though they may not bear it: daemons and their launchers.
    pub gone: Vec<procfs::Identity>,
    /// Directories below which no file may bear it.
    pub dirs: Vec<PathBuf>,
    /// Store of compiled Wasm, in which only finished artifacts may be.
    pub store: Option<PathBuf>,
    /// Sockets that must not exist.
    pub sockets: Vec<PathBuf>,
    /// Parent cgroups that bear it and are ours to remove.
    pub own_cgroup: Option<String>,
}

/// Looks until nothing is found or the time that things may take to settle is over. Gives what is
/// left, one line each.
pub fn find(search: &Search) -> Vec<String> {
    let mut left = Vec::new();
    let clean = time::look_until(SETTLE_LIMIT, || {
        left = look(search);
        left.is_empty().then_some(())
    });
    if clean.is_some() { Vec::new() } else { left }
}

fn look(search: &Search) -> Vec<String> {
    let token = search.token.as_str();
    let mut left = Vec::new();
    for process in procfs::processes_naming(token) {
        if !search.spared.contains(&process.pid) {
            left.push(format!("process: {}", process.trace));
        }
    }
    for process in search.gone.iter().filter(|process| process.is_running()) {
        let pid = process.pid;
        left.push(format!("process: pid {pid}: {}", procfs::command_line(pid)));
    }
    left.extend(
        procfs::mounts_naming(token)
            .iter()
            .map(|line| format!("mount: {line}")),
    );
    let own = search.own_cgroup.as_ref().map(|name| format!("/{name}"));
    for dir in cgroup::directories_naming(token) {
        if !own
            .as_ref()
            .is_some_and(|own| dir.to_string_lossy().ends_with(own))
        {
            left.push(format!("cgroup: {}", dir.display()));
        }
    }
    for socket in &search.sockets {
        if socket.exists() {
            left.push(format!("socket: {}", socket.display()));
        }
    }
    if let Some(store) = &search.store {
        let left_over = artifacts::leftovers(store);
        left.extend(left_over.iter().map(|name| format!("in the store: {name}")));
    }
    for dir in &search.dirs {
        files_naming(dir, token, &mut left);
    }
    left
}

fn files_naming(dir: &Path, token: &str, left: &mut Vec<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(token) {
            left.push(format!("file: {}", entry.path().display()));
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_naming(&entry.path(), token, left);
        }
    }
}

/// Takes away whatever bears the name, after a test that failed: kills, unmounts, removes. Best
/// effort.
pub fn sweep(search: &Search) {
    for process in procfs::processes_naming(&search.token) {
        if !search.spared.contains(&process.pid) {
            kill(process.pid);
        }
    }
    for process in search.gone.iter().filter(|process| process.is_running()) {
        kill(process.pid);
    }
    // Killed processes leave their cgroups and mounts only when they are gone.
    time::look_until(SETTLE_LIMIT, || {
        for point in procfs::mount_points_naming(&search.token) {
            let _gone = nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH);
        }
        cgroup::remove_naming(&search.token);
        cgroup::directories_naming(&search.token)
            .is_empty()
            .then_some(())
    });
    for socket in &search.sockets {
        drop(fs::remove_file(socket));
    }
}

/// SIGKILL; that the process is gone already is as good.
pub fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let pid = nix::unistd::Pid::from_raw(pid);
        let _gone = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    }
}
