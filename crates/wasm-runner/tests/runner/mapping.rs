//! Components are mapped from their artifact, by a name that nobody else can give to another file.

use crate::guest::{Guest, RUNNER, Running, wait_until_confined};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A user who owns nothing here.
const NOBODY: &str = "setpriv --reuid=65534 --regid=65534 --clear-groups";

/// Ends with 0.
const GOOD: &str = "(i32.const 0)";
/// Would end with 1, if anybody ran it.
const EVIL: &str = "(i32.const 1)";
/// Runs until it is killed.
const IDLE: &str = "(loop (br 0)) unreachable";

fn component(body: &str) -> Guest {
    Guest::new(&format!(
        "(component
           (core module $m (func (export \"run\") (result i32) {body}))
           (core instance $i (instantiate $m))
           (func $run (result (result)) (canon lift (core func $i \"run\")))
           (instance $command (export \"run\" (func $run)))
           (export \"wasi:cli/run@0.2.0\" (instance $command)))"
    ))
}

/// A directory that everybody may enter, with the runner in it. It is copied by another process: a child that a
/// different test forks meanwhile would hold our descriptor open for writing, and such a file cannot be executed.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
    let copied = Command::new("cp").arg(RUNNER).arg(place.path()).status();
    assert!(copied.unwrap().success());
    place
}

/// The guest is started by `line`, which ends with the runner's path. As by init, its files are opened by root.
fn started_by(guest: &mut Guest, line: &str) {
    let directory = guest.directory.path().display();
    let line = format!(
        "exec 3<{directory}/config 4<{directory}/artifact; export HULL_WASM_FDS=3:4; exec {line}"
    );
    guest.prefix = ["sh", "-c", &line].map(str::to_owned).to_vec();
}

fn artifact(guest: &Guest) -> PathBuf {
    guest.directory.path().join("artifact")
}

/// How often the artifact's code is mapped by the process, as it is in the file.
fn code_mappings(running: &Running, artifact: u64) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", running.id())).unwrap();
    let inode = artifact.to_string();
    let of_artifact = maps.lines().filter(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[1] == "r-xp" && fields[4] == inode
    });
    of_artifact.count()
}

/// Runs an idle guest; how often its artifact's code is mapped.
fn mappings_when_started_by(line: &str, artifact_mode: u32) -> usize {
    let mut guest = component(IDLE);
    started_by(&mut guest, line);
    fs::set_permissions(artifact(&guest), Permissions::from_mode(artifact_mode)).unwrap();
    let inode = fs::metadata(artifact(&guest)).unwrap().ino();
    let running = guest.spawn();
    wait_until_confined(running.id());
    let pid = running.id();
    let here = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert!(!here.starts_with("/proc"), "{here:?}");
    for open in fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let file = fs::read_link(open.unwrap().path()).unwrap();
        assert!(!file.starts_with("/proc") && file != here, "{file:?}");
    }
    code_mappings(&running, inode)
}

#[test]
fn a_component_is_mapped_whoever_runs_it() {
    let place = place();
    let runner = place.path().join("hull-wasm");
    let runner = runner.display();
    assert_eq!(mappings_when_started_by(&format!("{runner}"), 0o400), 1);
    let nobody = format!("{NOBODY} {runner}");
    assert_eq!(mappings_when_started_by(&nobody, 0o444), 1);
    // Every user of a namespace that root is not in.
    let unmapped = format!("unshare --user {runner}");
    assert_eq!(mappings_when_started_by(&unmapped, 0o444), 1);
}

#[test]
fn a_component_that_cannot_be_mapped_is_copied() {
    let place = place();
    let runner = place.path().join("hull-wasm");
    let nobody = format!("{NOBODY} {}", runner.display());
    assert_eq!(mappings_when_started_by(&nobody, 0o400), 0);
    let without_proc = format!("chroot {} /hull-wasm", place.path().display());
    assert_eq!(mappings_when_started_by(&without_proc, 0o444), 0);
}

/// It is loaded into two engines, one after the other, and the first is given up.
#[test]
fn a_server_is_mapped_once() {
    let mut guest = Guest::new(include_str!("../../../../test-images/guests/http.wat"));
    guest.config.env = vec!["PORT=0".to_owned()];
    guest.config.cpus = 1;
    guest.config.entry = hull_abi::Entry::Http;
    let inode = fs::metadata(artifact(&guest)).unwrap().ino();
    let running = guest.spawn();
    wait_until_confined(running.id());
    assert_eq!(code_mappings(&running, inode), 1);
}

/// The exit code of the good guest, where /proc or something in it may lead to the evil one. `arrange` is told
/// the directory that will be "/", in which `evil` is the other artifact.
fn good_guest_in(place: &TempDir, line: &str, arrange: impl FnOnce(&Path)) -> Option<i32> {
    let evil = component(EVIL);
    fs::copy(artifact(&evil), place.path().join("evil")).unwrap();
    arrange(place.path());
    let mut guest = component(GOOD);
    let root = place.path().display().to_string();
    started_by(&mut guest, &line.replace("ROOT", &root));
    let output = guest.run();
    assert!(output.stderr.is_empty(), "{output:?}");
    output.status.code()
}

/// As an image could bring it along.
fn plant(root: &Path, procfs: &str) {
    let fds = root.join(procfs).join("self/fd");
    fs::create_dir_all(&fds).unwrap();
    for number in 0..20 {
        fs::copy(root.join("evil"), fds.join(number.to_string())).unwrap();
    }
}

#[test]
fn a_directory_of_the_image_is_no_procfs() {
    let line = "chroot ROOT /hull-wasm";
    let planted = good_guest_in(&place(), line, |root| plant(root, "proc"));
    assert_eq!(planted, Some(0));
    let linked = good_guest_in(&place(), line, |root| {
        plant(root, "elsewhere");
        symlink("elsewhere", root.join("proc")).unwrap();
    });
    assert_eq!(linked, Some(0));
}

/// In a mount namespace of its own, where "/" is the host's.
#[test]
fn what_is_mounted_over_procfs_is_no_procfs() {
    for mount in [
        // Over all of it, over the process and over its descriptors.
        "mount --bind ROOT/fake /proc",
        "mount --bind ROOT/fake/self /proc/$$",
        "mount --bind ROOT/fake/self/fd /proc/$$/fd",
        // A part of procfs, which has a "self" and "fd" of somebody else's making.
        "mkdir -p ROOT/up ROOT/work && mount -t overlay -o lowerdir=ROOT/fake,upperdir=ROOT/up,workdir=ROOT/work \
         none /proc",
        "mount --bind /proc/$$ /proc",
    ] {
        let line = format!("unshare -m sh -c '{mount} && exec ROOT/hull-wasm'");
        let code = good_guest_in(&place(), &line, |root| plant(root, "fake"));
        assert_eq!(code, Some(0), "{mount}");
    }
}
