//! Tests in namespaces of their own: what they do to mounts and network devices reaches nobody else,
//! and goes with the last process in them. The shims that they start live there too.

use std::fs::File;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::janitor;

/// Runs a test whose mounts are a copy of the host's, all of them shared, as systemd makes them: a
/// runtime that lets an event out is seen, by this test and by nobody else.
pub fn in_own_mounts<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    apart(CloneFlags::CLONE_NEWNS, || {
        share_mounts_among_themselves();
        test()
    })
}

fn share_mounts_among_themselves() {
    let none = None::<&str>;
    for kind in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        mount(none, "/", none, kind | MsFlags::MS_REC, none).unwrap();
    }
}

/// A network and a mount namespace that live as long as this or a process in them. The mounts are a copy of
/// the host's, all of them shared, and the loopback device is up.
#[derive(Debug)]
pub struct Namespaces {
    network: File,
    mounts: File,
}

impl Namespaces {
    /// Makes them; `prepare` is the first that runs in there.
    pub fn make(prepare: impl FnOnce() + Send) -> Self {
        apart(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET, || {
            share_mounts_among_themselves();
            let ip = Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(ip.unwrap().success());
            prepare();
            let open = |kind| File::open(format!("/proc/thread-self/ns/{kind}")).unwrap();
            Self {
                network: open("net"),
                mounts: open("mnt"),
            }
        })
    }

    /// Runs something in there: what it spawns stays in there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        // Threads that share a working directory cannot have mounts of their own.
        apart(CloneFlags::CLONE_FS, || {
            setns(&self.network, CloneFlags::CLONE_NEWNET).unwrap();
            setns(&self.mounts, CloneFlags::CLONE_NEWNS).unwrap();
            work()
        })
    }
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
