//! Directories, arguments and environment.

use crate::guest::{Guest, module, stdout, write};

// Of preview 1's errno.
const SUCCESS: i32 = 0;
const PERM: i32 = 63;
const NOTCAPABLE: i32 = 76;

/// Opens `file` in the first preopen with `oflags` and for writing; exits with the errno.
fn create() -> Guest {
    let body = "(call $proc_exit (call $path_open (i32.const 3) (i32.const 0)
        (i32.const 64) (i32.const 4) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0)
        (i32.const 0)))";
    let rest = "(data (i32.const 64) \"file\") (func (export \"_start\") (call $main))";
    Guest::new(&module(body, rest))
}

#[test]
fn a_directory_can_be_written_to_only_if_it_may() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let writable = create().preopen(directory.path(), false);
    assert_eq!(writable.run().status.code(), Some(SUCCESS));
    assert!(file.exists());
    std::fs::remove_file(&file).unwrap();

    let readonly = create().preopen(directory.path(), true);
    let code = readonly.run().status.code().unwrap();
    assert!([PERM, NOTCAPABLE].contains(&code), "{code}");
    assert!(!file.exists());
}

#[test]
fn what_is_no_directory_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let guest = create()
        .preopen(&file, false)
        .preopen(&directory.path().join("missing"), false)
        .preopen(directory.path(), false);
    assert_eq!(guest.run().status.code(), Some(SUCCESS));
}

#[test]
fn the_way_up_leads_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let body = "(call $proc_exit (call $path_open (i32.const 3) (i32.const 1)
        (i32.const 64) (i32.const 7) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0)
        (i32.const 0)))";
    let rest = "(data (i32.const 64) \"../file\") (func (export \"_start\") (call $main))";
    let guest = Guest::new(&module(body, rest)).preopen(&inner, false);
    let code = guest.run().status.code().unwrap();
    assert!([PERM, NOTCAPABLE].contains(&code), "{code}");
    assert!(!directory.path().join("file").exists());
}

#[test]
fn the_environment_is_the_configs_and_the_working_directory() {
    let body = format!(
        "(drop (call $environ_get (i32.const 3000) (i32.const 2000))) (drop {})",
        write(1, 2000, 13)
    );
    let mut guest = crate::guest::command(&body);
    guest.config.env = vec!["A=1".to_owned()];
    guest.config.cwd = "/x/y".to_owned();
    assert_eq!(stdout(&guest.run()), "A=1\0PWD=/x/y\0");
}
