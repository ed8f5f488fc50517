//! What a running guest's process has left.

use crate::guest::{Guest, RUNNER, Running, command, status, stdout, wait_until_confined, write};
use std::path::Path;
use std::process::Command;

/// A guest that runs, which means that it is confined.
fn start(guest: Guest) -> Running {
    let running = guest.spawn();
    wait_until_confined(running.id());
    running
}

/// Copies the runner, in another process: a child that a different test forks meanwhile would hold
/// our descriptor open for writing, and a file with such a descriptor cannot be executed.
fn copy_runner(to: &Path) {
    let status = Command::new("cp").arg(RUNNER).arg(to).status();
    assert!(status.unwrap().success());
}

const READ: &str =
    "(i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))";

#[test]
fn no_privilege_is_left() {
    let running = start(command(READ));
    let pid = running.id();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(pid, set), 16), Ok(0), "{set}");
    }
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "Seccomp"), "2");
    assert_eq!(status(pid, "Threads"), "1");
}

#[test]
fn no_memory_is_both_writable_and_executable() {
    let running = start(command(READ));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", running.id())).unwrap();
    assert!(!maps.contains("wx"), "{maps}");
    assert!(
        maps.contains("artifact"),
        "the artifact is mapped, not copied: {maps}"
    );
}

#[test]
fn another_process_of_the_same_user_cannot_look_into_it() {
    let mut guest = command(READ);
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(guest.directory.path(), permissions).unwrap();
    // The build directory may not be reachable for that user.
    guest.runner = guest.directory.path().join("hull-wasm");
    copy_runner(&guest.runner);
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    guest.prefix = user.map(str::to_owned).to_vec();
    let running = start(guest);
    let pid = running.id();
    let read = |path: &str| {
        let path = format!("/proc/{pid}/{path}");
        let output = Command::new(user[0])
            .args(&user[1..])
            .args(["ls", "-l", &path])
            .output();
        output.unwrap().status.success()
    };
    assert!(read("status"), "the process is there");
    assert!(!read("fd/") && !read("exe") && !read("map_files/"));
}

#[test]
fn nothing_of_the_file_system_is_needed() {
    let mut guest = command(&format!(
        "(i32.store (i32.const 64) (i32.const 0x0a216968)) (drop {})
         (call $proc_exit (i32.const 5))",
        write(1, 64, 4)
    ))
    .preopen(Path::new("/"), true);
    // An empty root but for the runner: no /proc, no /dev.
    let root = tempfile::tempdir().unwrap();
    let bare = root.path().display();
    copy_runner(&root.path().join("hull-wasm"));
    let directory = guest.directory.path().display();
    let line = format!(
        "exec env -i HULL_WASM_FDS=3:4 /usr/sbin/chroot {bare} /hull-wasm \
         3<{directory}/config 4<{directory}/artifact"
    );
    guest.prefix = ["sh", "-c", &line].map(str::to_owned).to_vec();
    let output = guest.run();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_eq!(stdout(&output), "hi!\n");
}

#[test]
fn no_process_thread_socket_or_program_is_made() {
    let mut guest = command("(drop (memory.grow (i32.const 100)))");
    let log = guest.directory.path().join("strace");
    let log = log.to_str().unwrap().to_owned();
    guest.prefix = ["strace", "-f", "-o", &log, "-e", "trace=process,network"]
        .map(str::to_owned)
        .to_vec();
    assert!(guest.run().status.success());
    let log = std::fs::read_to_string(log).unwrap();
    // After the runner is executed.
    let (_, log) = log.rsplit_once("execve(").unwrap();
    assert!(log.contains("exit_group(0)"), "{log}");
    for call in ["clone(", "clone3(", "fork(", "socket(", "connect(", "kill("] {
        assert!(!log.contains(call), "{log}");
    }
}
