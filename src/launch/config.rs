//! Reading config.json, and working on it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use tokio::sync::{Semaphore, oneshot};

/// Largest file that is read. Real ones have some 10 KiB.
const LIMIT: u64 = 16 << 20;

/// Up to here, the work on a config takes a millisecond or two.
const SHORT: u64 = 64 << 10;

/// There is one such thread at a time.
static THREAD: Semaphore = Semaphore::const_new(1);

/// Does some work on a config of so many bytes: at once or, where the event loop would stand still for long, on
/// a thread that ends with the work.
///
/// # Errors
/// When there can be no such thread.
pub(crate) async fn work<T: Send + 'static>(
    len: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if len <= SHORT {
        return Ok(work());
    }
    let _turn = THREAD.acquire().await.map_err(io::Error::other)?;
    let (reply, result) = oneshot::channel();
    // Nobody may wait any more.
    thread::Builder::new().spawn(move || drop(reply.send(work())))?;
    result.await.map_err(io::Error::other)
}

/// Reads a file that whoever made the bundle may have replaced by anything: a FIFO, on which a plain
/// open would wait for ever, a device, or something without an end.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(LIMIT)).unwrap_or(0));
    File::take(file, LIMIT + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= LIMIT) {
        Ok(bytes)
    } else {
        Err(io::Error::from(io::ErrorKind::FileTooLarge))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[tokio::test]
    async fn work_on_a_large_config_is_done_elsewhere() {
        let here = thread::current().id();
        for (len, is_here) in [(0, true), (SHORT, true), (SHORT + 1, false)] {
            let done = work(len, move || thread::current().id() == here).await;
            assert_eq!(done.unwrap(), is_here);
        }
    }

    #[test]
    fn only_regular_files_of_a_sane_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, "{}").unwrap();
        assert_eq!(read(&path).unwrap(), b"{}");
        File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(LIMIT + 1))
            .unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), dir.path()] {
            assert!(read(path).is_err(), "{path:?}");
        }
    }
}
