//! OOM kills are heard.

use crate::scope::{DEADLINE, Scope, signal_of};
use hull_abi::{CgroupPaths, Memory, Resources};
use hull_cgroup::{OomFiles, OomWatch, remove};
use hull_sys::fd::wait_readable;
use std::time::Instant;

fn small_memory() -> Resources {
    let limit = Some(16 << 20);
    let memory = Memory {
        limit_bytes: limit,
        swap_bytes: limit,
        ..Memory::default()
    };
    Resources {
        memory,
        ..Resources::default()
    }
}

/// By descriptors that another process may have made.
fn watch(paths: &CgroupPaths) -> Option<OomWatch> {
    let fds = OomFiles::open(paths)
        .unwrap()
        .map_or_else(Vec::new, OomFiles::into_fds);
    OomFiles::from_fds(fds).map(|files| OomWatch::new(files, paths).unwrap())
}

#[test]
fn kill_of_a_process_that_is_not_init_is_counted_without_a_further_event() {
    let scope = Scope::new("oom");
    scope.create(small_memory()).unwrap();
    let watch = watch(&scope.paths).expect("a memory controller");
    assert_eq!(watch.drain(), Ok(0));
    for kills in 1..=2 {
        // Keeps what it has read, which is a single line without an end.
        let child = scope.spawn("tail /dev/zero");
        let deadline = Instant::now() + DEADLINE;
        let mut count = 0;
        while count < kills {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                wait_readable(&watch, left).unwrap(),
                "no event for kill {kills}"
            );
            count = watch.drain().unwrap();
        }
        assert_eq!(count, kills);
        assert_eq!(signal_of(child), Some(9));
    }
}

#[test]
fn count_outlives_the_cgroup() {
    let scope = Scope::new("oom-gone");
    scope.create(small_memory()).unwrap();
    let watch = watch(&scope.paths).expect("a memory controller");
    assert_eq!(signal_of(scope.spawn("tail /dev/zero")), Some(9));
    assert_eq!(watch.drain(), Ok(1));
    remove(&scope.paths).unwrap();
    assert_eq!(watch.drain(), Ok(1));
}

#[test]
fn without_a_memory_controller_there_is_nothing_to_watch() {
    let scope = Scope::unified_only("oom-none");
    scope.create(Resources::default()).unwrap();
    let watch = watch(&scope.paths);
    assert_eq!(
        watch.is_some(),
        scope
            .file("unified", "cgroup.controllers")
            .contains("memory")
    );
}
