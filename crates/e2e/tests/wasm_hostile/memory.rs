//! Memory in every form: tables, structures of the garbage collector, handles, files of a tmpfs. Linear
//! memory is in `wasm_memory`, the stack in `wasm_traps`.

use crate::{KILLED, MEMORY, MIB, TRAPPED, ends, guest, hostile};

#[test]
fn table_stops_growing_at_the_limit() {
    let ended = ends(&guest(&["/wasm/tables.wasm"]));
    assert_eq!((ended.ran.status, ended.ran.stderr.as_str()), (0, ""));
    assert!(!ended.oom && ended.peak <= MEMORY, "{ended:?}");
}

#[test]
fn collected_structures_without_end_are_a_trap() {
    let ended = ends(&guest(&["/wasm/gc.wasm"]));
    assert_eq!(ended.ran.status, TRAPPED, "{ended:?}");
    for part in ["GC heap out of memory", "grow_list"] {
        assert!(ended.ran.stderr.contains(part), "{ended:?}");
    }
    assert!(!ended.oom && ended.peak <= MEMORY, "{ended:?}");
}

/// A handle costs the guest nothing and us some memory.
#[test]
fn handles_without_end_are_a_trap() {
    for (component, why) in [
        ("pollables", "no free keys"),
        ("stdout-handles", "handle limit exceeded"),
    ] {
        let path = format!("/wasm/{component}.wasm");
        let ended = ends(&guest(&[&path]));
        assert_eq!(ended.ran.status, TRAPPED, "{ended:?}");
        assert!(ended.ran.stderr.contains(why), "{ended:?}");
        assert!(!ended.oom && ended.peak < MEMORY / 2, "{ended:?}");
    }
}

/// What cannot grow gives nothing back of what could.
#[test]
fn failures_to_grow_make_no_room() {
    let ended = ends(&guest(&["/wasm/table64.wasm"]));
    // In MiB: the limit, less what the runner needs.
    assert!((48..=64).contains(&ended.ran.status), "{ended:?}");
    assert!(!ended.oom && ended.peak <= MEMORY, "{ended:?}");
}

/// What is charged beside the guest's own memory: its trap and its end by the kernel are told apart.
#[test]
fn files_in_memory_beyond_the_limit_are_the_end_by_the_kernel() {
    let spec = hostile(&["fill"]).resource("memory/limit", 16 * MIB);
    let ended = ends(&spec);
    assert_eq!((ended.ran.status, ended.oom), (KILLED, true), "{ended:?}");
    let said = (ended.ran.stdout.as_str(), ended.ran.stderr.as_str());
    assert_eq!(said, ("ready\n", ""));
    // With enough memory it is the file system's own limit that it meets.
    let ended = ends(&hostile(&["fill"]));
    let text = "ready\n512 No space left on device\n";
    assert_eq!(ended.ran.stdout, text, "{ended:?}");
    assert!(!ended.oom, "{ended:?}");
}
