//! The files that the containers of a pod share where no pause container brings them: containerd's CRI
//! plugin binds them into each container if they are in its directory of the pod, and makes them itself
//! only for pause containers
//! (<https://github.com/containerd/containerd/blob/main/internal/cri/server/podsandbox/sandbox_run_linux.go>,
//! `setupSandboxFiles`). Both directories are root's, and no container sees more of them than those files.

use super::rootfs::unmount;
use crate::failure::At;
use hull_abi::{PodFiles, SetupError, Step};
use hull_sys::{Errno, fd};
use nix::mount::{MsFlags, mount};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

const HOSTNAME: &str = "hostname";
const HOSTS: &str = "hosts";
const RESOLV_CONF: &str = "resolv.conf";
/// Longest file of the host's /etc that is copied.
const MAX_FILE: u64 = 1 << 20;
/// What containerd gives a pod: 64 MiB.
const SHM: &str = "mode=1777,size=67108864";

/// Makes them; on failure nothing is left.
pub(super) fn make(pod: &PodFiles) -> Result<(), SetupError> {
    let directory = Path::new(&pod.directory);
    let made = files(directory, pod).and_then(|()| pod.shm.as_deref().map_or(Ok(()), shm));
    made.inspect_err(|_| {
        // The first failure is the one to report.
        drop(remove(pod));
    })
}

fn files(directory: &Path, pod: &PodFiles) -> Result<(), SetupError> {
    let action = |name: &str| format!("make {:?} of the pod", directory.join(name));
    directories(directory, 0o755).at(Step::RootfsMount, || action(""))?;
    let hostname = if pod.hostname.is_empty() {
        let own = nix::unistd::gethostname().at(Step::RootfsMount, || action(HOSTNAME))?;
        own.to_string_lossy().into_owned()
    } else {
        pod.hostname.clone()
    };
    let contents = [
        (HOSTNAME, Ok(Some(format!("{hostname}\n").into_bytes()))),
        (HOSTS, of_host("/etc/hosts")),
        (
            RESOLV_CONF,
            match &pod.resolv_conf {
                Some(text) => Ok(Some(text.clone().into_bytes())),
                None => of_host("/etc/resolv.conf"),
            },
        ),
    ];
    for (name, content) in contents {
        content
            .and_then(|content| match content {
                Some(content) => write(&directory.join(name), &content),
                None => Ok(()),
            })
            .map_err(|e| fd::errno(&e))
            .at(Step::RootfsMount, || action(name))?;
    }
    Ok(())
}

/// A file of the host; a host without it has nothing to share.
fn of_host(path: &str) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(MAX_FILE).read_to_end(&mut content)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    Ok(Some(content))
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)?;
    file.write_all(content)?;
    // Whatever mask we inherited: any user of a container reads it.
    file.set_permissions(Permissions::from_mode(0o644))
}

fn shm(directory: &str) -> Result<(), SetupError> {
    let action = || format!("mount the pod's shared memory on {directory:?}");
    directories(Path::new(directory), 0o711).at(Step::RootfsMount, action)?;
    let flags = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("shm"), directory, Some("tmpfs"), flags, Some(SHM)).at(Step::RootfsMount, action)
}

fn directories(path: &Path, mode: u32) -> Result<(), Errno> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(mode);
    builder.create(path).map_err(|e| fd::errno(&e))
}

/// Removes what [`HostJob::Prepare`](hull_abi::HostJob::Prepare) made, and the directories if nothing
/// else is in them. Missing things are no errors; everything is tried.
///
/// # Errors
/// The first thing that stays.
pub fn remove(pod: &PodFiles) -> Result<(), SetupError> {
    let directory = Path::new(&pod.directory);
    let shm = pod.shm.as_deref().map_or(Ok(()), |shm| {
        let shm = Path::new(shm);
        unmount(shm)?;
        remove_directory(shm)?;
        shm.parent().map_or(Ok(()), remove_directory)
    });
    let files = [HOSTNAME, HOSTS, RESOLV_CONF].into_iter();
    let files = files.map(|name| {
        let path = directory.join(name);
        absent(fs::remove_file(&path)).at(Step::RootfsUnmount, || format!("remove {path:?}"))
    });
    files
        .fold(shm, Result::and)
        .and(remove_directory(directory))
}

fn remove_directory(path: &Path) -> Result<(), SetupError> {
    match absent(fs::remove_dir(path)) {
        // Somebody else has put something there.
        Err(Errno::ENOTEMPTY) => Ok(()),
        other => other.at(Step::RootfsUnmount, || format!("remove {path:?}")),
    }
}

fn absent(removed: io::Result<()>) -> Result<(), Errno> {
    match removed.map_err(|e| fd::errno(&e)) {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(directory: &Path) -> PodFiles {
        PodFiles {
            directory: directory.to_string_lossy().into_owned(),
            shm: None,
            hostname: "pod".to_owned(),
            resolv_conf: Some("nameserver 10.0.0.1\n".to_owned()),
        }
    }

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("sandboxes/s1");
        let pod = pod(&directory);
        make(&pod).unwrap();
        assert_eq!(fs::read(directory.join(HOSTNAME)).unwrap(), b"pod\n");
        let resolv = directory.join(RESOLV_CONF);
        assert_eq!(fs::read(&resolv).unwrap(), b"nameserver 10.0.0.1\n");
        let mode = fs::metadata(&resolv).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        fs::write(directory.join("foreign"), "").unwrap();
        remove(&pod).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_file(directory.join("foreign")).unwrap();
        for _ in 0..2 {
            remove(&pod).unwrap();
        }
        assert!(!directory.exists());
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("s1");
        fs::create_dir_all(directory.join(RESOLV_CONF)).unwrap();
        let text = make(&pod(&directory)).unwrap_err().to_string();
        assert!(text.contains("resolv.conf"), "{text}");
        assert!(!directory.join(HOSTNAME).exists());
    }
}
