//! Tests in namespaces of their own: what they do to mounts and network devices reaches nobody else,
//! and goes with the last process in them. The shims that they start live there too.

use std::panic::resume_unwind;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::janitor;

/// Runs a test whose mounts are a copy of the host's, all of them shared, as systemd makes them: a
/// runtime that lets an event out is seen, by this test and by nobody else.
pub fn in_own_mounts<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    apart(CloneFlags::CLONE_NEWNS, || {
        let none = None::<&str>;
        for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
            mount(none, "/", none, kind | MsFlags::MS_REC, none).unwrap();
        }
        test()
    })
}

/// Runs a test whose network has nothing but a loopback device.
pub fn in_own_network<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    apart(CloneFlags::CLONE_NEWNET, test)
}

/// A thread may leave the namespaces of the other threads. The test's own will not do: it may be the
/// main thread, which goes on to the next test.
fn apart<T: Send>(namespaces: CloneFlags, test: impl FnOnce() -> T + Send) -> T {
    // It cleans up the host and must not live in there.
    janitor::employ();
    let inside = || {
        unshare(namespaces).unwrap();
        test()
    };
    thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| resume_unwind(panic))
}

/// What the calling thread sees mounted; in `/proc/self` it would be the main thread's.
pub fn mountinfo() -> String {
    std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

/// The points at and below a directory at which the calling thread sees mounts, the newest first: the
/// order in which they can go.
pub fn mount_points_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let text = mountinfo();
    let points = text.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<_> = points
        .map(std::path::PathBuf::from)
        .filter(|point| point.starts_with(dir))
        .collect();
    points.reverse();
    points
}
