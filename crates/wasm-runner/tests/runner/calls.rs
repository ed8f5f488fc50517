//! Every call of preview 1 that reaches the kernel, under the filter.

use crate::guest::Guest;
use std::fmt::Write as _;

/// Names of files, in memory from 64 on: `d` a directory, `f` a file in it, then the others.
const NAMES: &str = "d d/f d/link d/sym d/moved";
const D: &str = "(i32.const 64) (i32.const 1)";
const F: &str = "(i32.const 66) (i32.const 3)";
const LINK: &str = "(i32.const 70) (i32.const 6)";
const SYM: &str = "(i32.const 77) (i32.const 5)";
const MOVED: &str = "(i32.const 83) (i32.const 7)";

/// The preopened directory, and the descriptor that opening a file in it gives.
const DIR: &str = "(i32.const 3)";
const FILE: &str = "(i32.const 4)";
const ZERO: &str = "(i32.const 0)";
const RESULT: &str = "(i32.const 200)";
/// Flags that set both times.
const BOTH_TIMES: &str = "(i32.const 5)";

/// The calls in their order; each has to succeed.
fn calls() -> Vec<(&'static str, String)> {
    let create = "(i32.const 1)";
    let read_write = "(i64.const 66) (i64.const 66)";
    let time = "(i64.const 1000000000)";
    let iovec = "(i32.const 0) (i32.const 1)";
    let buffer = "(i32.const 1000) (i32.const 1000)";
    vec![
        ("path_create_directory", format!("{DIR} {D}")),
        (
            "path_open",
            format!("{DIR} {ZERO} {F} {create} {read_write} {ZERO} {RESULT}"),
        ),
        ("fd_write", format!("{FILE} {iovec} {RESULT}")),
        (
            "fd_pwrite",
            format!("{FILE} {iovec} (i64.const 3) {RESULT}"),
        ),
        ("fd_tell", format!("{FILE} {RESULT}")),
        ("fd_seek", format!("{FILE} (i64.const 1) {ZERO} {RESULT}")),
        ("fd_read", format!("{FILE} {iovec} {RESULT}")),
        ("fd_pread", format!("{FILE} {iovec} (i64.const 2) {RESULT}")),
        (
            "fd_advise",
            format!("{FILE} (i64.const 0) (i64.const 10) (i32.const 3)"),
        ),
        ("fd_filestat_set_size", format!("{FILE} (i64.const 5000)")),
        (
            "fd_filestat_set_times",
            format!("{FILE} {time} {time} {BOTH_TIMES}"),
        ),
        ("fd_filestat_get", format!("{FILE} (i32.const 1000)")),
        ("fd_fdstat_get", format!("{FILE} (i32.const 1000)")),
        ("fd_fdstat_set_flags", format!("{FILE} (i32.const 1)")),
        ("fd_datasync", FILE.to_owned()),
        ("fd_sync", FILE.to_owned()),
        ("fd_close", FILE.to_owned()),
        (
            "path_filestat_get",
            format!("{DIR} {ZERO} {F} (i32.const 1000)"),
        ),
        (
            "path_filestat_set_times",
            format!("{DIR} {ZERO} {F} {time} {time} {BOTH_TIMES}"),
        ),
        ("path_link", format!("{DIR} {ZERO} {F} {DIR} {LINK}")),
        (
            "path_symlink",
            format!("(i32.const 68) (i32.const 1) {DIR} {SYM}"),
        ),
        ("path_readlink", format!("{DIR} {SYM} {buffer} {RESULT}")),
        (
            "path_filestat_set_times",
            format!("{DIR} {ZERO} {SYM} {time} {time} {BOTH_TIMES}"),
        ),
        ("path_rename", format!("{DIR} {LINK} {DIR} {MOVED}")),
        (
            "fd_readdir",
            format!("{DIR} {buffer} (i64.const 0) {RESULT}"),
        ),
        ("path_unlink_file", format!("{DIR} {MOVED}")),
        ("path_unlink_file", format!("{DIR} {SYM}")),
        ("path_unlink_file", format!("{DIR} {F}")),
        ("path_remove_directory", format!("{DIR} {D}")),
        ("random_get", buffer.to_owned()),
        ("clock_time_get", format!("{ZERO} (i64.const 1) {RESULT}")),
        (
            "clock_time_get",
            format!("(i32.const 1) (i64.const 1) {RESULT}"),
        ),
        ("clock_res_get", format!("{ZERO} {RESULT}")),
        ("args_sizes_get", format!("{RESULT} (i32.const 204)")),
        ("environ_sizes_get", format!("{RESULT} (i32.const 204)")),
        ("fd_prestat_get", format!("{DIR} {RESULT}")),
        ("sched_yield", String::new()),
    ]
}

/// A module that makes the calls and exits with the number of the first that failed, from 1 on;
/// its errno goes to memory and is not seen.
fn module() -> String {
    let mut imports = String::new();
    let mut body = String::new();
    let mut known = Vec::new();
    for (index, (name, arguments)) in calls().into_iter().enumerate() {
        if !known.contains(&name) {
            known.push(name);
            let types: String = arguments
                .split('(')
                .filter_map(|argument| argument.split_once(".const"))
                .map(|(kind, _)| format!("{kind} "))
                .collect();
            writeln!(
                imports,
                "(import \"wasi_snapshot_preview1\" \"{name}\" \
                 (func ${name} (param {types}) (result i32)))"
            )
            .unwrap();
        }
        let number = index + 1;
        writeln!(
            body,
            "(if (call ${name} {arguments}) (then (call $exit (i32.const {number}))))"
        )
        .unwrap();
    }
    format!(
        "(module {imports}
           (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
           (memory (export \"memory\") 1)
           (data (i32.const 0) \"\\e8\\03\\00\\00\\0a\\00\\00\\00\")
           (data (i32.const 64) \"{NAMES}\")
           (func (export \"_start\") {body}))"
    )
}

#[test]
fn every_call_gets_through_the_filter() {
    let directory = tempfile::tempdir().unwrap();
    let output = Guest::new(&module()).preopen(directory.path(), false).run();
    let code = output.status.code().unwrap();
    let failed = usize::try_from(code - 1)
        .ok()
        .map(|index| calls().swap_remove(index).0);
    assert_eq!(failed, None, "{output:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
