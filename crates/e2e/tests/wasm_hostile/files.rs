//! Descriptors without end, and paths that a file system does not like.

use crate::{ends, guest, hostile, is_stopped, numbered};

/// The limit of descriptors in these containers, which is that of `ctr`.
const DESCRIPTORS: u64 = 1024;
/// Inodes of /scratch.
const INODES: u64 = 20_000;

#[test]
fn descriptors_and_directory_handles_without_end() {
    for kind in ["files", "directories"] {
        let ended = ends(&hostile(&[kind]));
        assert_eq!((ended.ran.status, ended.ran.stderr.as_str()), (0, ""));
        let (count, _) = numbered(&ended.ran.stdout);
        // What the runner itself and the guest's standard streams and preopens take is not much.
        assert!(
            (DESCRIPTORS - 32..DESCRIPTORS).contains(&count),
            "{ended:?}"
        );
        assert!(ended.peak < 16, "{ended:?}");
    }
}

/// The guest itself counts what it gets until there is an error.
#[test]
fn sockets_without_end() {
    let ended = ends(&guest(&["/wasm/tcp-sockets.wasm"]));
    let got = (ended.ran.status, ended.ran.stderr.as_str(), ended.oom);
    assert_eq!(got, (0, "", false), "{ended:?}");
    assert!(ended.peak < 16, "{ended:?}");
}

#[test]
fn directories_in_directories_until_there_are_no_inodes() {
    let ended = ends(&hostile(&["dig", "1000000"]));
    let text = format!("{} No space left on device\n", INODES - 1);
    assert_eq!(ended.ran.stdout, text, "{ended:?}");
    assert!(ended.peak < 48, "{ended:?}");
}

#[test]
fn paths_that_lead_nowhere() {
    let ended = ends(&hostile(&["wander"]));
    let expected = [
        (2, "Symbolic link loop"),
        (1000, "Symbolic link loop"),
        ((1 << 20) - 1, "Filename too long"),
    ];
    let lines: Vec<_> = ended.ran.stdout.lines().map(numbered).collect();
    assert_eq!(lines, expected, "{ended:?}");
}

/// Every call that reads a directory reads all of it, and asks what each entry is.
#[test]
fn directory_of_thousands_of_files_is_read() {
    let ended = ends(&hostile(&["crowd", "2000"]));
    assert_eq!(ended.ran.stdout, "ready\n2002 entries\n", "{ended:?}");
    assert!(ended.peak < 16, "{ended:?}");
}

#[test]
fn reader_of_a_huge_directory_is_stopped() {
    let peak = is_stopped(&hostile(&["crowd", "19000"]));
    assert!(peak < 48, "{peak} MiB");
}

#[test]
fn names_for_one_file_until_there_are_no_inodes() {
    let ended = ends(&hostile(&["links"]));
    let text = format!("{} No space left on device\n", INODES - 1);
    assert_eq!(ended.ran.stdout, text, "{ended:?}");
}

#[test]
fn renames_in_a_tight_loop() {
    let peak = is_stopped(&hostile(&["renames"]));
    assert!(peak < 16, "{peak} MiB");
}
