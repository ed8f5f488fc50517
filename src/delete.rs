//! `delete`: clean up after one container, whatever became of its daemon.
//!
//! containerd runs this after every container: usually the daemon has cleaned up and removed the
//! state file, and there is nothing to do. It may also run while the daemon lives on with other
//! containers of its group, so only what the state file of this container names is touched, and a
//! socket only if nobody answers there. containerd allows 5 s; every wait here has a limit well
//! below that.

use crate::args::Args;
use crate::error::Error;
use crate::events::timestamp;
use crate::observe;
use crate::start::{ADDRESS_FILE, print, socket};
use crate::state_file::{self, StateFile};
use containerd_shim_protos::api::DeleteResponse;
use hull_abi::CgroupPaths;
use hull_sys::{Errno, pidfd};
use nix::sys::signal::Signal;
use protobuf::{Message, MessageField};
use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// 128 + SIGKILL: what became of the process as far as anybody can tell.
const EXIT_STATUS: u32 = 137;

/// How long everything that is killed may take to be gone. Only a process in uninterruptible sleep
/// needs more than a moment, and a PID 1 that looks after orphans every two seconds only: until then an exec of
/// a dead daemon keeps the container's init. Unmounting comes after that, however it went, and takes a second
/// at most, as does removing cgroups.
const KILL_DEADLINE: Duration = Duration::from_millis(2500);

/// The same for a compiler, which waits for nothing but memory.
const COMPILATION_DEADLINE: Duration = Duration::from_millis(500);

/// How long a process that the daemon had started to mount things may take to be gone: it was killed with the
/// daemon, and only needs to come back from the kernel.
const LEASE_DEADLINE: Duration = Duration::from_millis(500);

/// How long systemd may take to end the container's unit, if it has one.
const UNIT_DEADLINE: Duration = Duration::from_millis(1500);

/// When the last poststop hook must have ended, counted from our start: containerd waits 5 s.
const HOOKS_DEADLINE: Duration = Duration::from_millis(4500);

/// Longest address that is read.
const ADDRESS_LIMIT: u64 = 4096;

/// Runs the action and prints a `DeleteResponse`.
///
/// # Errors
/// The first thing that could not be cleaned up; the others were tried all the same.
pub(crate) fn delete(args: &Args) -> Result<(), Error> {
    let began = Instant::now();
    let bundle = match &args.bundle {
        Some(bundle) => bundle.clone(),
        None => std::env::current_dir().map_err(|e| Error::host("find the bundle", e))?,
    };
    let pid = match state_file::read(&bundle)? {
        Some(state) if state.id != args.id.as_str() => {
            return Err(Error::Invalid(format!(
                "the bundle {bundle:?} belongs to {:?} and not to {:?}",
                state.id,
                args.id.as_str()
            )));
        }
        Some(state) => {
            let _lock = lock(&bundle, began + LEASE_DEADLINE)?;
            let compilation = clean_up_compilation(args);
            clean_up(&state)?;
            compilation?;
            if let Some(copy) = &state.copy {
                state_file::remove_copy(copy)?;
            }
            state_file::remove(&bundle)?;
            run_poststop(&state, &bundle, began + HOOKS_DEADLINE);
            state.pid
        }
        None => 0,
    };
    remove_dead_socket(&bundle)?;
    let response = DeleteResponse {
        pid: u32::try_from(pid).unwrap_or_default(),
        exit_status: EXIT_STATUS,
        exited_at: MessageField::some(timestamp(SystemTime::now())),
        ..DeleteResponse::default()
    };
    let bytes = response
        .write_to_bytes()
        .map_err(|e| Error::host("encode the reply to delete", io::Error::other(e)))?;
    print(&bytes)
}

/// Waits until nobody mounts anything for the container any more, and keeps it so. A process that hangs in
/// the kernel is not waited for: what it does after that would have to be found by hand.
fn lock(bundle: &Path, deadline: Instant) -> Result<Option<File>, Error> {
    let failed = |e| Error::host(format!("lock {bundle:?}"), e);
    let dir = File::open(bundle).map_err(failed)?;
    loop {
        match dir.try_lock() {
            Ok(()) => return Ok(Some(dir)),
            Err(TryLockError::Error(e)) => return Err(failed(e)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                warn("a process that mounts something for the container does not end");
                return Ok(None);
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Kills what is left, removes the cgroup, unmounts the root file system, removes the files of a pod.
fn clean_up(state: &StateFile) -> Result<(), Error> {
    let deadline = Instant::now() + KILL_DEADLINE;
    if state.pid <= 0 && !falls_empty(&state.cgroup, deadline) {
        log::warn!("{:?} is in use by others and stays", state.cgroup);
        return unmount(state).and(remove_pod_files(state));
    }
    let init = kill_init(state);
    let killed = hull_cgroup::kill_within(&state.cgroup, KILL_DEADLINE).map_err(Error::from);
    let gone =
        init.and_then(|init| init.map_or(Ok(()), |init| wait_gone(state.pid, &init, deadline)));
    let removed = hull_cgroup::remove_within(&state.cgroup, UNIT_DEADLINE).map_err(Error::from);
    let unmounted = unmount(state);
    let observed = state.observed.as_deref().map_or(Ok(()), observe::remove);
    let forgotten = remove_pod_files(state).and(observed);
    gone.and(killed).and(removed).and(unmounted).and(forgotten)
}

fn remove_pod_files(state: &StateFile) -> Result<(), Error> {
    let removed = state.pod_files.as_ref();
    let removed = removed.map_or(Ok(()), hull_launcher::host::remove_pod_files);
    removed.map_err(Error::from)
}

/// Whether nothing is in the cgroup, or no more by the deadline. Before the daemon has written down an init
/// process, the cgroup may turn out to be somebody else's; a process of ours that is there already ends by
/// itself, since nobody talks to it any more.
fn falls_empty(cgroup: &CgroupPaths, deadline: Instant) -> bool {
    while hull_cgroup::is_populated(cgroup).unwrap_or(false) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Kills a compilation that the daemon had begun for the container, and removes its cgroup. The state
/// file need not name it: the path follows from the id.
fn clean_up_compilation(args: &Args) -> Result<(), Error> {
    let path = crate::wasm::cgroups_path(&args.namespace, &args.id);
    let Ok(cgroup) = hull_cgroup::Layout::detect()?.resolve(&path) else {
        // An id so long that its compiler could have had no cgroup either, and was never run.
        return Ok(());
    };
    hull_cgroup::kill_within(&cgroup, COMPILATION_DEADLINE)?;
    Ok(hull_cgroup::remove(&cgroup)?)
}

/// Unmounts what we mounted and nothing that could be a root of the host.
fn unmount(state: &StateFile) -> Result<(), Error> {
    if !state.rootfs_mounted {
        return Ok(());
    }
    let rootfs = &state.rootfs;
    if !rootfs.is_absolute() || rootfs.parent().is_none() {
        return Err(Error::Invalid(format!(
            "{rootfs:?} is no root file system of a container"
        )));
    }
    hull_launcher::host::unmount_rootfs(rootfs).map_err(Error::from)
}

/// Kills the init process, if it is still the one that we started. It need not be in a cgroup of
/// its own.
fn kill_init(state: &StateFile) -> Result<Option<OwnedFd>, Error> {
    if state.pid <= 0 {
        return Ok(None);
    }
    let failed = |e: Errno| Error::host(format!("kill process {}", state.pid), e);
    let init = match pidfd::open(state.pid) {
        Err(Errno::ESRCH) => return Ok(None),
        other => other.map_err(failed)?,
    };
    // Compared after opening: the descriptor stays with the process even if the number is used
    // again from here on.
    match state_file::start_time(state.pid) {
        Ok(start) if start == state.start_time => {}
        _ => return Ok(None),
    }
    match pidfd::send_signal(&init, Signal::SIGKILL as i32) {
        Ok(()) | Err(Errno::ESRCH) => Ok(Some(init)),
        Err(e) => Err(failed(e)),
    }
}

/// Runs the poststop hooks that the daemon could not run any more. Their failures are told and no
/// more: the container is gone whatever they say.
fn run_poststop(state: &StateFile, bundle: &Path, deadline: Instant) {
    let Some(poststop) = &state.poststop else {
        return;
    };
    let cwd = bundle.to_string_lossy();
    for hook in &poststop.hooks {
        // Whole seconds are what a hook's timeout has.
        let left = deadline.saturating_duration_since(Instant::now()).as_secs();
        let Some(left) = u32::try_from(left).ok().filter(|left| *left > 0) else {
            return warn("no time is left for the other poststop hooks");
        };
        let mut hook = hook.clone();
        hook.timeout_seconds = Some(hook.timeout_seconds.map_or(left, |own| own.min(left)));
        if let Err(e) = hull_launcher::host::run_poststop(&[hook], &poststop.state, &cwd) {
            warn(&Error::from(e).line());
        }
    }
}

/// containerd logs what `delete` writes here.
#[expect(
    clippy::print_stderr,
    reason = "an action that succeeds has no other way to tell"
)]
fn warn(text: &str) {
    eprintln!("{text}");
}

fn wait_gone(pid: i32, init: &OwnedFd, deadline: Instant) -> Result<(), Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    match pidfd::wait_ended(init, left) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Deadline(format!(
            "process {pid} is not gone {KILL_DEADLINE:?} after SIGKILL"
        ))),
        Err(e) => Err(Error::host(format!("wait for process {pid}"), e)),
    }
}

/// Removes the socket of a daemon that is dead. A living one removes its own.
fn remove_dead_socket(bundle: &Path) -> Result<(), Error> {
    let mut address = String::new();
    let read = File::open(bundle.join(ADDRESS_FILE))
        .and_then(|file| file.take(ADDRESS_LIMIT).read_to_string(&mut address));
    // Without an address there is no socket to be known of.
    if read.is_err() {
        return Ok(());
    }
    match address.trim().strip_prefix("unix://") {
        Some(path) if path.starts_with('/') => socket::remove_if_dead(&PathBuf::from(path)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::{Child, Command};

    fn sleeper() -> (Child, StateFile) {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let state = StateFile::new("c1", child.id().cast_signed()).unwrap();
        (child, state)
    }

    #[test]
    fn the_init_process_is_killed_without_a_cgroup() {
        let (mut child, state) = sleeper();
        clean_up(&state).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
        // And again, with nobody there.
        clean_up(&state).unwrap();
    }

    #[test]
    fn without_an_init_process_there_is_nobody_to_kill() {
        clean_up(&StateFile::new("c1", 0).unwrap()).unwrap();
    }

    #[test]
    fn another_process_with_the_same_number_lives() {
        let (mut child, mut state) = sleeper();
        state.start_time += 1;
        clean_up(&state).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "it was killed");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn the_root_of_the_host_is_never_unmounted() {
        let (mut child, mut state) = sleeper();
        state.rootfs_mounted = true;
        for rootfs in ["/", "", "rootfs"] {
            state.rootfs = PathBuf::from(rootfs);
            assert!(
                matches!(unmount(&state), Err(Error::Invalid(_))),
                "{rootfs}"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn only_a_dead_socket_is_removed() {
        let bundle = tempfile::tempdir().unwrap();
        remove_dead_socket(bundle.path()).unwrap();
        let path = bundle.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let address = format!("unix://{}", path.display());
        std::fs::write(bundle.path().join(ADDRESS_FILE), address).unwrap();
        remove_dead_socket(bundle.path()).unwrap();
        assert!(path.exists());
        drop(listener);
        remove_dead_socket(bundle.path()).unwrap();
        assert!(!path.exists());
    }
}
