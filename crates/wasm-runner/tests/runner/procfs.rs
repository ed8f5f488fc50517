//! A guest with "/" as a preopen cannot reach the runner by /proc.

use crate::guest::{Guest, module};
use std::path::Path;

// Of preview 1: errno and rights.
const SUCCESS: i32 = 0;
const ACCES: i32 = 2;
const READ: u32 = 2;
const WRITE: u32 = 64;

/// Opens a path below "/" with these rights and exits with the errno.
fn open(path: &str, rights: u32) -> i32 {
    let body = format!(
        "(call $proc_exit (call $path_open (i32.const 3) (i32.const 1)
        (i32.const 64) (i32.const {}) (i32.const 0) (i64.const {rights}) (i64.const 0)
        (i32.const 0) (i32.const 0)))",
        path.len()
    );
    let rest = format!("(data (i32.const 64) \"{path}\") (func (export \"_start\") (call $main))");
    let guest = Guest::new(&module(&body, &rest)).preopen(Path::new("/"), false);
    guest.run().status.code().unwrap()
}

#[test]
fn its_memory_is_neither_written_nor_read() {
    for path in [
        "proc/self/mem",
        "proc/thread-self/mem",
        "proc/self/../self/mem",
    ] {
        for rights in [READ | WRITE, WRITE, READ] {
            assert_eq!(open(path, rights), ACCES, "{path} {rights}");
        }
    }
}

#[test]
fn nothing_that_only_its_owner_may_see_is_opened() {
    for path in ["proc/self/environ", "proc/self/auxv", "proc/self/pagemap"] {
        assert_eq!(open(path, READ), ACCES, "{path}");
    }
}

#[test]
fn nothing_in_procfs_is_opened_for_writing() {
    for path in [
        "proc/self/oom_score_adj",
        "proc/self/comm",
        "proc/sys/kernel/hostname",
    ] {
        assert_eq!(open(path, WRITE), ACCES, "{path}");
    }
}

#[test]
fn what_everybody_may_read_is_read() {
    for path in [
        "proc/cpuinfo",
        "proc/self/status",
        "proc/meminfo",
        "etc/passwd",
    ] {
        assert_eq!(open(path, READ), SUCCESS, "{path}");
    }
}
