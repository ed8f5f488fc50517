//! Wasm files that cannot run: one clear line at Create that names the file and the cause, and
//! nothing left.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::time::{Duration, Instant};

use hull_e2e::{Case, Container, Lab, Spec, artifacts, cgroup, is_one_clear_line, procfs};

/// The annotation that decides what a program is.
const ANNOTATION: &str = "io.containerd.hull.wasm";

/// Creates it twice: both must fail with one line that has all of `parts`. Then a good module must
/// run under the same id.
#[track_caller]
fn refuses(spec: &Spec, parts: &[&str]) {
    let lab = Lab::wasm();
    let c = lab.container(spec);
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        nothing_is_left(&lab, &c);
    }
    runs_hello(c);
}

/// Puts hello in place of what the bundle wants.
#[track_caller]
fn runs_hello(mut c: Container<'_>) {
    c.reconfigure(&Spec::new(["/wasm/hello.wasm"]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
}

/// Right after the failure, with the shim still there.
#[track_caller]
fn nothing_is_left(lab: &Lab, c: &Container<'_>) {
    assert_eq!(lab.events().of(&c.id), []);
    let mounts = procfs::mounts_naming(&c.bundle.rootfs().display().to_string());
    assert!(mounts.is_empty(), "{mounts:#?}");
    let groups = cgroup::directories_naming(&format!("/{}/{}", lab.tag(), c.id));
    assert!(groups.is_empty(), "{groups:?}");
    let store = lab.artifacts();
    assert!(artifacts::leftovers(&store).is_empty(), "{store:?}");
    assert!(artifacts::list(&store).is_empty(), "{store:?}");
}

#[track_caller]
fn refuses_file(file: &str, parts: &[&str]) {
    let path = format!("/wasm/{file}");
    let parts = [&[path.as_str()], parts].concat();
    refuses(&Spec::new([path.as_str()]), &parts);
}

#[test]
fn garbage_after_the_header() {
    refuses_file("corrupt.wasm", &["cannot be compiled"]);
}

#[test]
fn half_a_module() {
    refuses_file("truncated.wasm", &["cannot be compiled"]);
}

#[test]
fn half_a_header() {
    refuses_file("header.wasm", &["ends within the first 8 bytes"]);
}

#[test]
fn version_of_the_future() {
    refuses_file("wrong-version.wasm", &["version"]);
}

#[test]
fn unknown_import_is_named() {
    refuses_file("unknown-import.wasm", &["env", "missing"]);
}

#[test]
fn shared_memory_is_not_supported() {
    refuses_file("threads.wasm", &["shared"]);
}

#[test]
fn text_is_no_wasm() {
    refuses_file("text.wasm", &["no Wasm file"]);
}

#[test]
fn wasm_text_is_no_wasm() {
    refuses_file("wat-text.wasm", &["no Wasm file"]);
}

#[test]
fn empty_file() {
    refuses_file("empty.wasm", &["no Wasm file"]);
}

#[test]
fn directory() {
    refuses_file("dir.wasm", &["directory"]);
}

#[test]
fn missing_file() {
    refuses_file("missing.wasm", &["no such file or directory"]);
}

/// Whoever makes the image would choose what the host's processor runs.
#[test]
fn native_code_of_an_image_is_never_taken() {
    refuses_file("precompiled.cwasm", &["compiled Wasm"]);
}

#[test]
fn fifo_does_not_hold_up_create() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new(["/wasm/fifo.wasm"]));
    let dir = c.upper().join("wasm");
    fs::create_dir_all(&dir).unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o755);
    nix::unistd::mkfifo(&dir.join("fifo.wasm"), mode).unwrap();
    is_one_clear_line(c.try_create().unwrap_err().message(), &["/wasm/fifo.wasm"]);
    runs_hello(c);
}

/// A file with a hole, so that it takes no space on the disk.
#[test]
fn module_beyond_all_measure_is_refused_at_once() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new(["/huge.wasm"]));
    let file = fs::File::create(c.upper().join("huge.wasm")).unwrap();
    std::io::Write::write_all(&mut &file, b"\0asm\x01\0\0\0").unwrap();
    file.set_len(4 << 30).unwrap();
    let began = Instant::now();
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), &["/huge.wasm", "larger than 256 MiB"]);
    assert!(
        began.elapsed() < hull_e2e::slowed(Duration::from_secs(3)),
        "{began:?}"
    );
    nothing_is_left(&lab, &c);
    fs::remove_file(c.upper().join("huge.wasm")).unwrap();
}

#[test]
fn file_that_the_process_may_not_read() {
    let lab = Lab::wasm();
    // With ctr's capabilities init may still read everything at that moment, as under runc.
    let spec = Spec::new(["/etc/app.wasm"])
        .user(1000, 1000)
        .unset("/process/capabilities");
    let c = lab.container(&spec);
    let dir = c.upper().join("etc");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("app.wasm");
    fs::copy(lab.image().rootfs().join("wasm/hello.wasm"), &file).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&file, mode).unwrap();
    is_one_clear_line(
        c.try_create().unwrap_err().message(),
        &["/etc/app.wasm", "permission denied"],
    );
    runs_hello(c);
}

#[test]
fn ctr_prints_the_line() {
    let case = Case::wasm();
    for (file, cause) in [
        ("/wasm/corrupt.wasm", "cannot be compiled"),
        ("/wasm/unknown-import.wasm", "missing"),
    ] {
        let out = case.run(&[], &[file]);
        assert_ne!(out.code, 0);
        assert!(out.stderr.contains(file), "{}", out.stderr);
        assert!(out.stderr.contains(cause), "{}", out.stderr);
        assert_eq!(out.stderr.trim().lines().count(), 1, "{}", out.stderr);
    }
}

#[test]
fn annotation_yes_wants_wasm() {
    let hello = Spec::new(["/wasm/hello.wasm"]).annotation(ANNOTATION, "yes");
    let lab = Lab::wasm();
    assert_eq!(
        lab.container(&hello).run_to_end().stdout,
        "hello from Wasm\n"
    );
    let native = Spec::new(["/bin/busybox", "true"]).annotation(ANNOTATION, "yes");
    refuses(&native, &["/bin/busybox", "not a Wasm file"]);
}

/// The kernel knows no Wasm, unless somebody has registered an interpreter for it.
#[test]
fn annotation_no_leaves_it_to_the_kernel() {
    let lab = Lab::wasm();
    let native = Spec::new(["echo", "native"]).annotation(ANNOTATION, "no");
    assert_eq!(lab.container(&native).run_to_end().stdout, "native\n");
    // A module with an execute bit.
    let c = lab.container(&Spec::new(["/wasm/slow.wasm"]).annotation(ANNOTATION, "no"));
    let error = match c.try_create() {
        Err(error) => error,
        Ok(_) => c.try_start("").unwrap_err(),
    };
    is_one_clear_line(error.message(), &["/wasm/slow.wasm", "exec format error"]);
    assert!(artifacts::list(&lab.artifacts()).is_empty());
}

#[test]
fn annotation_of_another_word_names_those_that_are_known() {
    for word in ["maybe", "", "YES", "true"] {
        let spec = Spec::new(["/wasm/hello.wasm"]).annotation(ANNOTATION, word);
        refuses(&spec, &[ANNOTATION, "yes", "no"]);
    }
}
