//! Streams that we did not open and that others may have made non-blocking: reading and writing them
//! as if they were blocking. [read(2)](https://man7.org/linux/man-pages/man2/read.2.html),
//! [write(2)](https://man7.org/linux/man-pages/man2/write.2.html),
//! [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html).

use crate::{Errno, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;

/// Reads what there is, at least one byte; 0 means the end. Waits if there is nothing yet.
///
/// # Errors
/// As read(2), but for `EINTR` and `EAGAIN`.
pub fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match nix::unistd::read(fd.as_fd(), buffer) {
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(&fd, PollFlags::POLLIN)?,
            result => return result,
        }
    }
}

/// Writes everything, in one system call if the other side takes it in one piece.
///
/// # Errors
/// As write(2), but for `EINTR` and `EAGAIN`.
pub fn write_all(fd: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match nix::unistd::write(fd.as_fd(), bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => wait(&fd, PollFlags::POLLOUT)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether a read would return at once: with data, the end of the stream or an error.
#[must_use]
pub fn read_returns(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Waits until the descriptor is ready for `events`, at its end, or broken.
fn wait(fd: impl AsFd, events: PollFlags) -> Result<()> {
    let mut fds = [PollFd::new(fd.as_fd(), events)];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;
    use std::time::Duration;

    #[test]
    fn nonblocking_ends_of_a_full_pipe_are_waited_for() {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).unwrap();
        assert!(!read_returns(&reader));
        let sent: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            write_all(&writer, &sent).unwrap();
        });
        let mut received = Vec::new();
        let mut buffer = [0; 1000];
        loop {
            match read(&reader, &mut buffer).unwrap() {
                0 => break,
                n => received.extend_from_slice(&buffer[..n]),
            }
        }
        thread.join().unwrap();
        assert_eq!(received, expected);
        assert!(read_returns(&reader), "the end is readable too");
    }

    #[test]
    fn nobody_at_the_other_side_is_an_error() {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        drop(reader);
        assert_eq!(write_all(&writer, b"x"), Err(Errno::EPIPE));
    }
}
