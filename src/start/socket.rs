//! The listening socket of a daemon: who may bind it, and who may remove it.
//!
//! Two `start`s of one group race for one path, and a path may be left from a daemon that was
//! killed. "Nobody answers, so unlink it and bind anew" is two steps, between which another
//! `start` may have bound; its fresh socket would be unlinked. Therefore bind, probe and unlink
//! happen only under an exclusive flock(2) of the socket directory itself, which leaves no lock
//! file behind and ends with the process. The lock is held for some system calls and never while
//! anything else is awaited. A path that answers is never unlinked, so a daemon that unlinks its
//! own path *before* it closes its listener needs no lock.

use crate::error::Error;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for the directory; whoever has it needs microseconds, so only a stopped
/// process can use this up.
const LOCK_DEADLINE: Duration = Duration::from_secs(5);

/// Pause between two tries for the directory.
const LOCK_RETRY: Duration = Duration::from_millis(1);

/// What was found at the path of a socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Nobody listened; now we do.
    Fresh(UnixListener),
    /// A daemon serves the group already.
    Served,
}

/// Binds and listens at `path` with mode 0600, or finds that somebody listens there. Whatever
/// connects after this returns is queued until the daemon accepts.
///
/// # Errors
/// [`Error::Host`] when the directory or socket cannot be made, [`Error::Deadline`] when the
/// directory stays locked.
pub(crate) fn bind_or_find(path: &Path) -> Result<Socket, Error> {
    let _lock = lock_dir(path)?;
    match bind(path) {
        Err(Errno::EADDRINUSE) => {}
        other => {
            return other
                .map(Socket::Fresh)
                .map_err(|e| failed("bind", path, e.into()));
        }
    }
    if is_served(path)? {
        return Ok(Socket::Served);
    }
    unlink_socket(path)?;
    bind(path)
        .map(Socket::Fresh)
        .map_err(|e| failed("bind", path, e.into()))
}

/// Removes the socket at `path` if it is there and nobody listens.
///
/// # Errors
/// As [`bind_or_find`].
pub(crate) fn remove_if_dead(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    let _lock = lock_dir(path)?;
    if is_served(path)? {
        Ok(())
    } else {
        unlink_socket(path)
    }
}

/// Linux gives the new file the mode of the socket itself, less the umask, so that nobody can
/// connect before the mode is right.
fn bind(path: &Path) -> nix::Result<UnixListener> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(UnixListener::from(socket))
}

/// Locks the directory of `path`, making it first with mode 0700 if need be.
fn lock_dir(path: &Path) -> Result<Flock<File>, Error> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    if !dir.is_dir() {
        make_dir(dir).map_err(|e| failed("make directory", dir, e))?;
    }
    let mut file = File::open(dir).map_err(|e| failed("open", dir, e))?;
    let deadline = Instant::now() + LOCK_DEADLINE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err((_, e)) => return Err(failed("lock", dir, e.into())),
        }
        if Instant::now() >= deadline {
            return Err(Error::Deadline(format!(
                "lock {dir:?}: held by another for too long"
            )));
        }
        std::thread::sleep(LOCK_RETRY);
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // Another `start` was faster.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
        // The umask may have taken bits away.
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o700)),
    }
}

/// Whether somebody listens. On a UNIX socket a non-blocking connect answers at once, so no time
/// limit is needed: `EAGAIN` is a listener whose queue is full.
fn is_served(path: &Path) -> Result<bool, Error> {
    let probe = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|e| failed("make a socket for", path, e.into()))?;
    let address = UnixAddr::new(path).map_err(|e| failed("connect to", path, e.into()))?;
    match connect(probe.as_raw_fd(), &address) {
        Ok(()) | Err(Errno::EAGAIN) => Ok(true),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(false),
        Err(e) => Err(failed("connect to", path, e.into())),
    }
}

/// Unlinks a socket and nothing but a socket.
fn unlink_socket(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("stat", path, e)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::FailedPrecondition(format!("{path:?} is no socket")));
        }
        Ok(_) => {}
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("unlink", path, e)),
        _ => Ok(()),
    }
}

fn failed(verb: &str, path: &Path, source: io::Error) -> Error {
    Error::host(format!("{verb} {path:?}"), source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn modes_are_private() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s/hash");
        let Socket::Fresh(_listener) = bind_or_find(&path).unwrap() else {
            panic!()
        };
        assert_eq!(
            fs::metadata(root.path().join("s")).unwrap().mode() & 0o777,
            0o700
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(root.path().join("s")).unwrap().count(),
            1,
            "a lock file"
        );
    }

    #[test]
    fn a_listener_is_found_and_a_stale_socket_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hash");
        let Socket::Fresh(listener) = bind_or_find(&path).unwrap() else {
            panic!()
        };
        assert!(matches!(bind_or_find(&path).unwrap(), Socket::Served));
        remove_if_dead(&path).unwrap();
        assert!(path.exists());
        drop(listener);
        let Socket::Fresh(listener) = bind_or_find(&path).unwrap() else {
            panic!()
        };
        drop(listener);
        remove_if_dead(&path).unwrap();
        assert!(!path.exists());
        remove_if_dead(&path).unwrap();
    }

    #[test]
    fn a_full_queue_is_a_listener() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hash");
        let fd = socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::empty(),
            None,
        )
        .unwrap();
        nix::sys::socket::bind(fd.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        nix::sys::socket::listen(&fd, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let _queued = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert!(matches!(bind_or_find(&path).unwrap(), Socket::Served));
    }

    #[test]
    fn other_files_stay() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("hash");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(
            bind_or_find(&path),
            Err(Error::FailedPrecondition(_))
        ));
        assert!(remove_if_dead(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    /// Many threads race over a stale socket: exactly one binds, all others find it, and the path
    /// leads to the one that was bound.
    #[test]
    fn of_many_racing_exactly_one_binds() {
        for _ in 0..50 {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("hash");
            drop(UnixListener::bind(&path).unwrap());
            let results: Vec<Socket> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| bind_or_find(&path).unwrap()))
                    .collect();
                racers
                    .into_iter()
                    .map(|racer| racer.join().unwrap())
                    .collect()
            });
            let mut bound = results.iter().filter_map(|found| match found {
                Socket::Fresh(listener) => Some(listener),
                Socket::Served => None,
            });
            let listener = bound.next().expect("nobody bound");
            assert!(bound.next().is_none(), "two bound");
            listener.set_nonblocking(true).unwrap();
            while listener.accept().is_ok() {}
            let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
            listener.accept().expect("the path leads elsewhere");
        }
    }
}
