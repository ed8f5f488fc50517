//! Large modules and artifacts are read once and then known, and who changes one is found out.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use hull_e2e::strace::Strace;
use hull_e2e::{Image, Lab, Spec, artifacts, eventually, procfs};

/// Runs the large guest in a daemon of its own; gives how often that daemon has compiled.
#[track_caller]
fn large(lab: &Lab) -> usize {
    let mut c = lab.container(&Spec::new(["/wasm/large.wasm"]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "large\n"), "{ran:?}");
    let log = c.bundle.log();
    log.lines()
        .filter(|line| line.contains(": compiled "))
        .count()
}

/// Changes a byte in the middle of a file.
fn change_byte(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let before = file.metadata().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, before.len() / 2).unwrap();
    file.write_all_at(&[!byte[0]], before.len() / 2).unwrap();
}

/// Runs the large guest; gives how many large pieces of files its process has read on its way.
fn pieces_read(lab: &Lab) -> usize {
    let mut c = lab.container(&Spec::new(["/wasm/large.wasm"]));
    let mut family = procfs::children(c.shim_pid());
    family.push(c.shim_pid());
    let strace = Strace::attach(
        &family,
        "pread64",
        &lab.dir().join(format!("{}.strace", c.id)),
    );
    let pid = c.run();
    let (stdout, stderr) = hull_e2e::read_output(&mut c.stdio);
    assert_eq!((c.wait(), stdout.as_str()), (0, "large\n"), "{stderr}");
    let calls = strace.calls_of(pid);
    calls
        .iter()
        .filter(|call| call.ends_with("= 131072"))
        .count()
}

#[test]
fn large_files_are_read_once() {
    let lab = Lab::wasm();
    let store = lab.artifacts();
    assert_eq!(large(&lab), 1);
    // Ten pieces of the artifact, which has only just been made; of the module too unless that is older.
    let pieces = pieces_read(&lab);
    assert!(pieces >= 10, "{pieces}");
    eventually("both are known", || {
        assert_eq!(large(&lab), 0);
        (artifacts::notes(&store) == 2).then_some(())
    });
    assert_eq!(pieces_read(&lab), 0);
    // A change is found.
    let stored = artifacts::single(&store);
    change_byte(&stored.path);
    assert_eq!(large(&lab), 1);
    assert_eq!(artifacts::single(&store).path, stored.path);
}

#[test]
fn module_on_an_overlay_of_its_own_runs_and_is_never_known() {
    let lab = Lab::wasm();
    let option = |name: &str| {
        let directory = lab.dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        format!("{name}dir={}", directory.display())
    };
    let lower = Image::Wasm.rootfs().join("wasm");
    let lower = format!("lowerdir={}", lower.display());
    let (upper, work) = (option("upper"), option("work"));
    let options = [lower.as_str(), upper.as_str(), work.as_str()];
    for compiled in [1, 0] {
        let spec = Spec::new(["/own/large.wasm"]);
        let spec = spec.mount("overlay", Path::new("overlay"), "/own", &options);
        let mut c = lab.container(&spec);
        let ran = c.run_to_end();
        assert_eq!((ran.status, ran.stdout.as_str()), (0, "large\n"), "{ran:?}");
        assert_eq!(c.bundle.log().matches(": compiled ").count(), compiled);
    }
    assert!(artifacts::notes(&lab.artifacts()) <= 1);
}

#[test]
fn container_deceives_nobody_about_its_module() {
    let lab = Lab::wasm();
    let store = lab.artifacts();
    eventually("the module is known", || {
        large(&lab);
        (artifacts::notes(&store) == 2).then_some(())
    });
    // Its own file by the same name, of the same size and time: another inode and another ctime.
    let original = Image::Wasm.rootfs().join("wasm/large.wasm");
    let mut bytes = fs::read(&original).unwrap();
    let at = bytes
        .windows(6)
        .position(|part| part == b"large\n")
        .unwrap();
    bytes[at..at + 5].copy_from_slice(b"other");
    let mut c = lab.container(&Spec::new(["/wasm/large.wasm"]));
    let copy = c.upper().join("wasm/large.wasm");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, bytes).unwrap();
    let modified = fs::metadata(&original).unwrap().modified().unwrap();
    File::open(&copy).unwrap().set_modified(modified).unwrap();
    assert_eq!(c.run_to_end().stdout, "other\n");
    assert_eq!(large(&lab), 0);
}
