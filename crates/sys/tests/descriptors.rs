//! A process that may have no more descriptors. Alone in its program: the limit is the process's.

#![expect(clippy::unwrap_used, reason = "test code")]

use hull_sys::{Errno, socket};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, AsRawFd as _};

fn open() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn datagram_with_more_descriptors_than_there_is_room_for_leaves_none() {
    let (ours, theirs) = socket::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let fds = [file.as_fd(), file.as_fd()];
    let next = || file.try_clone().unwrap().as_raw_fd();
    // Room for one of the two.
    let free = u64::try_from(next()).unwrap();
    let (before, limit) = (open(), getrlimit(Resource::RLIMIT_NOFILE).unwrap());
    for room in [0, 1] {
        socket::send(&theirs, b"both", &fds).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, free + room, limit.1).unwrap();
        let received = socket::receive(&ours);
        setrlimit(Resource::RLIMIT_NOFILE, limit.0, limit.1).unwrap();
        assert_eq!(received.unwrap_err(), Errno::EMFILE);
        assert_eq!(open(), before);
    }
    socket::send(&theirs, b"both", &fds).unwrap();
    let (bytes, received) = socket::receive(&ours).unwrap();
    assert_eq!((bytes.as_slice(), received.len()), (&b"both"[..], 2));
    assert_eq!(open(), before + 2);
}
