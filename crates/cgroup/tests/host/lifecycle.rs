//! Made, joined, frozen, killed, removed.

use crate::scope::{Scope, first_line, signal_of};
use hull_abi::{Blame, Memory, Resources};
use hull_cgroup::{Error, Stats, freeze, is_populated, kill, pids, remove, stats, thaw};
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Says that it is there, then waits for ever.
const WAITER: &str = "sh -c 'echo ready; exec sleep 1000'";

/// Uses some milliseconds of CPU time, says so, then waits for ever.
const BURNER: &str = "sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; \
                      exec sleep 1000'";

fn spawn_waiter(scope: &Scope) -> Child {
    let mut child = scope.spawn(WAITER);
    assert_eq!(first_line(&mut child), "ready");
    child
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn whole_life(scope: &Scope, frozen_file: (&str, &str, &str)) {
    scope.create(Resources::default()).unwrap();
    for dir in scope.dirs() {
        assert!(Path::new(&dir).is_dir(), "{dir}");
    }
    assert_eq!(is_populated(&scope.paths), Ok(false));
    assert_eq!(pids(&scope.paths), Ok(vec![]));

    let child = spawn_waiter(scope);
    assert_eq!(is_populated(&scope.paths), Ok(true));
    assert_eq!(pids(&scope.paths), Ok(vec![pid(&child)]));
    let occupied = scope.create(Resources::default()).unwrap_err();
    assert!(
        occupied
            .to_string()
            .starts_with("container's cgroup is not empty"),
        "{occupied}"
    );
    assert_eq!(occupied.blame(), Blame::Caller);

    let (controller, file, frozen) = frozen_file;
    let is_frozen = || {
        scope
            .file(controller, file)
            .lines()
            .any(|line| line == frozen)
    };
    assert!(!is_frozen());
    freeze(&scope.paths).unwrap();
    assert!(is_frozen());
    thaw(&scope.paths).unwrap();
    assert!(!is_frozen());
    freeze(&scope.paths).unwrap();
    kill(&scope.paths).unwrap();
    assert_eq!(signal_of(child), Some(9));

    remove(&scope.paths).unwrap();
    for dir in scope.dirs() {
        assert!(!Path::new(&dir).exists(), "{dir}");
    }
    for again in [remove, kill, thaw] {
        assert_eq!(again(&scope.paths), Ok(()));
    }
    assert_eq!(is_populated(&scope.paths), Ok(false));
    assert_eq!(pids(&scope.paths), Ok(vec![]));
}

#[test]
fn whole_life_on_every_hierarchy() {
    let scope = Scope::new("life");
    whole_life(&scope, ("unified", "cgroup.events", "frozen 1"));
}

#[test]
fn whole_life_without_a_unified_tree() {
    let scope = Scope::v1_only("life-v1");
    whole_life(&scope, ("freezer", "freezer.state", "FROZEN"));
}

#[test]
fn whole_life_on_the_unified_tree_alone() {
    let scope = Scope::unified_only("life-v2");
    whole_life(&scope, ("unified", "cgroup.events", "frozen 1"));
}

#[test]
fn process_frozen_by_someone_else_in_v1_is_killed() {
    let scope = Scope::new("frozen-v1");
    scope.create(Resources::default()).unwrap();
    let child = spawn_waiter(&scope);
    std::fs::write(
        format!("{}/freezer.state", scope.dir_of("freezer")),
        "FROZEN",
    )
    .unwrap();
    kill(&scope.paths).unwrap();
    assert_eq!(signal_of(child), Some(9));
}

#[test]
fn frozen_target_is_refused() {
    let scope = Scope::new("frozen");
    scope.create(Resources::default()).unwrap();
    freeze(&scope.paths).unwrap();
    let refused = scope.create(Resources::default()).unwrap_err();
    assert!(matches!(refused, Error::Frozen { .. }));
    assert!(
        refused
            .to_string()
            .starts_with("container's cgroup unexpectedly frozen")
    );
    thaw(&scope.paths).unwrap();
    scope.create(Resources::default()).unwrap();
}

#[test]
fn nested_cgroups_are_listed_killed_and_removed() {
    let scope = Scope::new("nested");
    scope.create(Resources::default()).unwrap();
    let child = spawn_waiter(&scope);
    let unified = scope.paths.unified.clone().unwrap();
    let deep = format!("{unified}/a/b/{}", "d/".repeat(20));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::create_dir_all(format!("{unified}/a/c")).unwrap();
    std::fs::create_dir_all(format!("{}/x/y", scope.dir_of("memory"))).unwrap();
    std::fs::write(format!("{deep}/cgroup.procs"), child.id().to_string()).unwrap();
    assert_eq!(pids(&scope.paths), Ok(vec![pid(&child)]));
    kill(&scope.paths).unwrap();
    assert_eq!(signal_of(child), Some(9));
    remove(&scope.paths).unwrap();
    assert!(!Path::new(&unified).exists());
}

#[test]
fn failed_creation_leaves_nothing() {
    let scope = Scope::new("undo");
    let memory = Memory {
        limit_bytes: Some(4096),
        swappiness: Some(101),
        ..Memory::default()
    };
    let resources = Resources {
        memory,
        ..Resources::default()
    };
    let error = scope.create(resources).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory.swappiness: 101 is not in 0 to 100"
    );
    for dir in scope.dirs().into_iter().chain(scope.parent_dirs()) {
        assert!(!Path::new(&dir).exists(), "{dir}");
    }
}

#[test]
fn failed_creation_keeps_what_was_there() {
    let scope = Scope::new("keep");
    scope.create(Resources::default()).unwrap();
    let unified = vec![("nonsense".to_owned(), "1".to_owned())];
    scope
        .create(Resources {
            unified,
            ..Resources::default()
        })
        .unwrap_err();
    for dir in scope.dirs() {
        assert!(Path::new(&dir).is_dir(), "{dir}");
    }
}

#[test]
fn usage_of_a_process_is_counted() {
    let scope = Scope::new("stats");
    let limit = Memory {
        limit_bytes: Some(64 << 20),
        ..Memory::default()
    };
    scope
        .create(Resources {
            pids: Some(7),
            memory: limit,
            ..Resources::default()
        })
        .unwrap();
    let mut child = scope.spawn(BURNER);
    assert_eq!(first_line(&mut child), "done");
    let look = || match stats(&scope.paths).unwrap() {
        Stats::V1(stats) => stats,
        Stats::V2(_) => panic!("this host has v1 controllers"),
    };
    // The kernel sums up what memory.stat shows every two seconds, earlier only if it is much.
    let deadline = Instant::now() + Duration::from_secs(20);
    while look().memory.unwrap().stat.pg_fault == 0 {
        assert!(Instant::now() < deadline, "no page fault was counted");
        sleep(Duration::from_millis(50));
    }
    let stats = look();
    let memory = stats.memory.unwrap();
    assert_eq!(
        stats.pids.map(|pids| (pids.current, pids.limit)),
        Some((1, 7))
    );
    assert_eq!(memory.usage.limit, 64 << 20);
    assert!(memory.usage.usage > 0 && memory.usage.max >= memory.usage.usage);
    let cpu = stats.cpu.unwrap();
    assert!(cpu.total_ns > 1_000_000, "{cpu:?}");
    assert_eq!(cpu.per_cpu_ns.iter().sum::<u64>(), cpu.total_ns);
    assert_eq!(stats.oom_control.map(|oom| oom.oom_kill), Some(0));
    kill(&scope.paths).unwrap();
    assert_eq!(signal_of(child), Some(9));
}

#[test]
fn usage_on_the_unified_tree_is_that_of_v2() {
    let scope = Scope::unified_only("stats-v2");
    scope.create(Resources::default()).unwrap();
    let mut child = scope.spawn(BURNER);
    assert_eq!(first_line(&mut child), "done");
    let Stats::V2(stats) = stats(&scope.paths).unwrap() else {
        panic!("only a v2 path was given")
    };
    assert!(stats.cpu.usage_usec > 1000);
    assert!(stats.hugepages.iter().any(|pages| pages.page_size == "2MB"));
    kill(&scope.paths).unwrap();
    assert_eq!(signal_of(child), Some(9));
}
