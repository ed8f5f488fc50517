//! What is tested: the runtime name, the binaries, the images.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use hull_client::ShimBinary;

/// Name of containerd's own shim, against which tests can be checked.
pub const RUNC: &str = "io.containerd.runc.v2";
/// Name of ours.
pub const HULL: &str = "io.containerd.hull.v1";

/// The runtime under test: `HULL_E2E_RUNTIME`, or hull.
pub fn runtime() -> String {
    env::var("HULL_E2E_RUNTIME").unwrap_or_else(|_| HULL.to_owned())
}

/// Whether the runtime under test is hull. The few tests of what only hull promises use it, and
/// say on stderr that they prove nothing with another shim.
pub fn is_hull() -> bool {
    runtime() == HULL
}

/// Where our binaries are: `HULL_BIN_DIR`, or the release directory of the workspace.
pub fn bin_dir() -> PathBuf {
    from_env("HULL_BIN_DIR", "target/x86_64-unknown-linux-gnu/release")
}

/// Where `make images` put the images: `HULL_IMAGES`, or `target/images`.
pub fn images() -> PathBuf {
    from_env("HULL_IMAGES", "target/images")
}

/// Where `make clients` put containerd 2.x and its runc: `HULL_CLIENTS`, or `target/clients`.
pub fn clients() -> PathBuf {
    from_env("HULL_CLIENTS", "target/clients")
}

/// Where the virtual machine's kernel and disks are: `HULL_VM`, or `target/vm`.
pub fn vm() -> PathBuf {
    from_env("HULL_VM", "target/vm")
}

/// PATH for a containerd: our binaries first.
pub fn search_path() -> OsString {
    let mut path = bin_dir().into_os_string();
    path.push(":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    path
}

/// The shim binary under test, found as containerd finds it.
pub fn shim_binary() -> PathBuf {
    let name = ShimBinary::file_name(&runtime()).unwrap();
    env::split_paths(&search_path())
        .map(|dir| dir.join(&name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is neither in {} nor in PATH", bin_dir().display()))
}

/// The shim that was built with fault points: `HULL_FAULT_BIN`, or where `make test` builds it.
pub fn fault_binary() -> PathBuf {
    let path = from_env(
        "HULL_FAULT_BIN",
        "target/x86_64-unknown-linux-gnu/debug/containerd-shim-hull-v1",
    );
    assert!(
        path.exists(),
        "{} is missing: cargo build --features fault-points",
        path.display()
    );
    path
}

/// A name that nothing else on this machine has. It becomes a containerd namespace, a directory
/// and a cgroup, so that everything that belongs to a test can be told by it.
pub fn unique_tag() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}{:03}",
        process_tag(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// What all tags of this test process begin with.
pub fn process_tag() -> String {
    format!("hull-e2e-{}-", std::process::id())
}

/// The private directory of a tag. Short: socket paths have 107 bytes.
pub fn private_dir(tag: &str) -> PathBuf {
    Path::new("/run").join(tag)
}

/// Copies a program that is to be run. Another process does it: a child that is just being forked would hold
/// the copy open for writing, and then nobody can run it (`ETXTBSY`).
#[track_caller]
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success(), "cp {} {}", from.display(), to.display());
}

fn from_env(variable: &str, below_workspace: &str) -> PathBuf {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map_or_else(
            || {
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("../..")
                    .join(below_workspace)
            },
            PathBuf::from,
        )
}
