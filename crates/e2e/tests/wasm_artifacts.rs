//! The store of compiled Wasm: each module is compiled once, and nothing but what hull compiled
//! itself is ever run.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::thread;

use hull_e2e::artifacts::{self, Stored};
use hull_e2e::{Case, Containerd, Image, Lab, Spec, block, ctr, is_one_clear_line};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

const HELLO: &str = "/wasm/hello.wasm";

/// Runs a guest in a daemon of its own; gives how often that daemon has compiled.
#[track_caller]
fn run(lab: &Lab, guest: &str, output: &str) -> usize {
    let mut c = lab.container(&Spec::new([guest]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, output), "{ran:?}");
    compiled(&c.bundle.log())
}

/// How often a log says so.
fn compiled(log: &str) -> usize {
    log.lines()
        .filter(|line| line.contains(": compiled "))
        .count()
}

#[track_caller]
fn hello(lab: &Lab) -> usize {
    run(lab, HELLO, "hello from Wasm\n")
}

#[track_caller]
fn is_good(stored: &Stored) {
    let metadata = fs::symlink_metadata(&stored.path).unwrap();
    assert!(metadata.is_file());
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o444);
    assert_eq!((metadata.uid(), metadata.nlink()), (0, 1));
}

#[test]
fn second_start_takes_what_the_first_has_compiled() {
    let lab = Lab::wasm();
    assert_eq!(hello(&lab), 1);
    let stored = artifacts::single(&lab.artifacts());
    is_good(&stored);
    let store = fs::metadata(lab.artifacts()).unwrap();
    assert_eq!(store.permissions().mode() & 0o7777, 0o700);
    assert_eq!(hello(&lab), 0);
    assert_eq!(artifacts::single(&lab.artifacts()), stored);
}

#[test]
fn copies_of_a_module_share_one_artifact_and_other_modules_do_not() {
    let lab = Lab::wasm();
    assert_eq!(hello(&lab), 1);
    let mut c = lab.container(&Spec::new(["/copy"]));
    fs::copy(
        Image::Wasm.rootfs().join("wasm/hello.wasm"),
        c.upper().join("copy"),
    )
    .unwrap();
    assert_eq!(c.run_to_end().stdout, "hello from Wasm\n");
    assert_eq!(compiled(&c.bundle.log()), 0);
    assert_eq!(run(&lab, "/wasm/output.wasm", "out\n"), 1);
    assert_eq!(artifacts::list(&lab.artifacts()).len(), 2);
}

#[test]
fn two_containers_of_one_daemon_share_it() {
    let lab = Lab::wasm();
    let spec = Spec::new([HELLO]).annotation("io.kubernetes.cri.sandbox-id", "pod");
    let mut first = lab.container(&spec);
    let mut second = lab.container(&spec);
    assert_eq!(first.shim_pid(), second.shim_pid());
    assert_eq!(first.run_to_end().stdout, "hello from Wasm\n");
    assert_eq!(second.run_to_end().stdout, "hello from Wasm\n");
    let log = first.bundle.log() + &second.bundle.log();
    assert_eq!(compiled(&log), 1, "{log}");
}

/// Damages the artifact of hello. The next run must make it anew, and the one after must take it.
#[track_caller]
fn is_made_anew_after(damage: impl FnOnce(&Path)) {
    let lab = Lab::wasm();
    hello(&lab);
    let before = artifacts::single(&lab.artifacts());
    let good = fs::read(&before.path).unwrap();
    damage(&before.path);
    assert_eq!(hello(&lab), 1);
    let after = artifacts::single(&lab.artifacts());
    assert_eq!(after.path, before.path);
    is_good(&after);
    assert!(fs::read(&after.path).unwrap() == good, "another artifact");
    assert_eq!(hello(&lab), 0);
    assert_eq!(artifacts::single(&lab.artifacts()), after);
}

fn change_byte(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

#[test]
fn changed_byte_anywhere_is_found() {
    is_made_anew_after(|path| change_byte(path, 0));
    is_made_anew_after(|path| change_byte(path, length(path) / 2));
    // In the trailer.
    is_made_anew_after(|path| change_byte(path, length(path) - 1));
    is_made_anew_after(|path| change_byte(path, length(path) - 45));
    // In what it says of the module's exports.
    is_made_anew_after(|path| change_byte(path, length(path) - 48 - 40));
}

#[test]
fn shortened_or_extended_artifact_is_found() {
    let resize = |path: &Path, length| {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(length).unwrap();
    };
    is_made_anew_after(|path| resize(path, 0));
    is_made_anew_after(|path| resize(path, length(path) / 2));
    is_made_anew_after(|path| resize(path, length(path) - 1));
    is_made_anew_after(|path| resize(path, length(path) + 4096));
}

#[test]
fn artifact_that_others_could_have_written_is_not_trusted() {
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    is_made_anew_after(|path| mode(path, 0o644));
    // As hull made them before it mapped components.
    is_made_anew_after(|path| mode(path, 0o400));
    is_made_anew_after(|path| mode(path, 0o606));
    is_made_anew_after(|path| chown(path, Some(1000), Some(1000)).unwrap());
}

#[test]
fn link_in_place_of_an_artifact_is_not_followed() {
    is_made_anew_after(|path| {
        let away = path.parent().unwrap().with_file_name("elsewhere");
        fs::rename(path, &away).unwrap();
        symlink(&away, path).unwrap();
    });
    is_made_anew_after(|path| {
        fs::hard_link(path, path.parent().unwrap().with_file_name("second-name")).unwrap();
    });
}

/// A perfect artifact, but of another module.
#[test]
fn artifact_under_another_name_is_found_out() {
    let lab = Lab::wasm();
    hello(&lab);
    let hellos = artifacts::single(&lab.artifacts());
    run(&lab, "/wasm/output.wasm", "out\n");
    let all = artifacts::list(&lab.artifacts());
    let others = all.iter().find(|stored| **stored != hellos).unwrap();
    fs::remove_file(&hellos.path).unwrap();
    fs::copy(&others.path, &hellos.path).unwrap();
    fs::set_permissions(&hellos.path, Permissions::from_mode(0o444)).unwrap();
    assert_eq!(hello(&lab), 1);
    assert!(fs::read(&hellos.path).unwrap() != fs::read(&others.path).unwrap());
    assert_eq!(run(&lab, "/wasm/output.wasm", "out\n"), 0);
}

#[test]
fn artifacts_of_another_engine_are_not_taken() {
    let lab = Lab::wasm();
    hello(&lab);
    let stored = artifacts::single(&lab.artifacts());
    let engine = lab.artifacts().join("engine");
    let good = fs::read_to_string(&engine).unwrap();
    // An engine of before, remembered for a compiler that is no more.
    fs::remove_file(&engine).unwrap();
    fs::write(&engine, "compiler of before\nengine of before\n").unwrap();
    fs::set_permissions(&engine, Permissions::from_mode(0o444)).unwrap();
    let old = stored.path.with_file_name("0".repeat(64));
    fs::copy(&stored.path, &old).unwrap();
    assert_eq!(hello(&lab), 0);
    assert_eq!(fs::read_to_string(&engine).unwrap(), good);
    assert!(artifacts::list(&lab.artifacts()).contains(&stored));
}

#[test]
fn image_has_no_say_in_the_store() {
    let lab = Lab::wasm();
    hello(&lab);
    let stored = artifacts::single(&lab.artifacts());
    let name = stored.path.file_name().unwrap();
    let spec = Spec::new([HELLO])
        .env(artifacts::VARIABLE, "/store")
        .env("HULL_LIBEXEC", "/store");
    let mut c = lab.container(&spec);
    for dir in ["store", "var/lib/hull/artifacts"] {
        let dir = c.upper().join(dir);
        fs::create_dir_all(&dir).unwrap();
        for name in [name.to_str().unwrap(), "engine", "hull-wasm", "hull-wasmc"] {
            fs::write(dir.join(name), "planted").unwrap();
        }
    }
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
    assert_eq!(artifacts::single(&lab.artifacts()), stored);
}

/// What is done to an empty store, and what the error then says.
type Damage = (fn(&Path), &'static str);

#[test]
fn store_that_others_can_use_is_refused_and_native_containers_run() {
    let damages: [Damage; 3] = [
        (
            |store| fs::set_permissions(store, Permissions::from_mode(0o755)).unwrap(),
            "mode",
        ),
        (|store| chown(store, Some(1000), None).unwrap(), "uid 1000"),
        (
            |store| {
                fs::remove_dir(store).unwrap();
                fs::write(store, "").unwrap();
            },
            "not a directory",
        ),
    ];
    for (damage, cause) in damages {
        let lab = Lab::wasm();
        fs::create_dir_all(lab.artifacts()).unwrap();
        fs::set_permissions(lab.artifacts(), Permissions::from_mode(0o700)).unwrap();
        damage(&lab.artifacts());
        let c = lab.container(&Spec::new([HELLO]));
        let error = c.try_create().unwrap_err();
        let text = error.message();
        assert!(text.contains(lab.artifacts().to_str().unwrap()), "{text}");
        assert!(text.contains(cause), "{text}");
        assert!(!text.trim().contains('\n'), "{text}");
        c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
        c.run();
        assert_eq!(c.wait(), 4);
    }
}

#[test]
fn native_container_makes_no_store() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["true"]));
    assert_eq!(c.run_to_end().status, 0);
    assert!(!lab.artifacts().exists());
}

#[test]
fn fifty_first_starts_at_once_compile_once() {
    let containerd = Containerd::start_own();
    let case = Case::with_image(containerd, Image::Wasm);
    thread::scope(|scope| {
        let runs: Vec<_> = (0..50)
            .map(|_| {
                let id = case.id("at-once");
                let command = case.run_command(&id, &["--rm"], &[HELLO]);
                scope.spawn(move || ctr::run(command, &[]))
            })
            .collect();
        for run in runs {
            assert_eq!(run.join().unwrap().ok(), "hello from Wasm\n");
        }
    });
    let log = case.containerd().log();
    assert_eq!(compiled(&log), 1, "{log}");
    artifacts::single(&case.containerd().artifacts());
}

#[test]
fn module_that_is_replaced_while_it_runs_runs_on() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/ticks.wasm"]));
    c.run();
    c.read_until("tick\n");
    // In place first, then by another file.
    for command in [
        "cat /wasm/output.wasm >/wasm/ticks.wasm",
        "cp /wasm/output.wasm /new && mv /new /wasm/ticks.wasm",
    ] {
        assert_eq!(c.exec("n", ["sh", "-c", command]).status, 0);
        c.stdio.out.as_mut().unwrap().read_available();
        c.read_until("tick\n");
    }
    // Whoever starts it now gets the new one.
    assert_eq!(c.exec("w", ["/wasm/ticks.wasm"]).stdout, "out\n");
    assert_eq!(c.kill_and_wait(), 137);
}

/// What is compiled is what was digested, whatever the file has become meanwhile.
#[test]
fn module_that_changes_while_it_starts_spoils_no_artifact() {
    let lab = Lab::wasm();
    let text = "echo ready; while :; do \
        cat /wasm/output.wasm >/m.wasm; busybox usleep 2000; \
        cat /wasm/hello.wasm >/m.wasm; done";
    let mut c = lab.container(&Spec::new(["sh", "-c", text]));
    c.run();
    c.read_until("ready\n");
    let process = c.spec.process(["/m.wasm"]);
    let mut started = 0;
    for number in 0..100 {
        let exec = format!("e{number}");
        let mut stdio = c.add_exec_with(&exec, &process, hull_e2e::Streams::OUTPUT);
        match c.try_start(&exec) {
            Ok(_) => {
                started += 1;
                let out = hull_e2e::read_output(&mut stdio).0;
                let known = ["hello from Wasm\n", "out\n"].contains(&out.as_str());
                assert!(known, "{out:?}");
                c.wait_exec(&exec);
            }
            // Half a file, or one that changed between two looks.
            Err(error) => assert!(!error.message().trim().contains('\n'), "{error:?}"),
        }
        block(c.task.delete(&c.id, &exec)).unwrap();
    }
    c.kill_and_wait();
    assert!(started > 0, "nothing ever started");
    // Whatever was stored belongs to the module under whose name it is.
    let before = artifacts::list(&lab.artifacts());
    hello(&lab);
    run(&lab, "/wasm/output.wasm", "out\n");
    let after = artifacts::list(&lab.artifacts());
    assert!(before.iter().all(|stored| after.contains(stored)));
}

#[test]
fn artifact_that_is_removed_under_a_running_guest_does_not_disturb_it() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/ticks.wasm"]));
    c.run();
    c.read_until("tick\n");
    fs::remove_file(artifacts::single(&lab.artifacts()).path).unwrap();
    c.stdio.out.as_mut().unwrap().read_available();
    c.read_until("tick\n");
    assert_eq!(
        c.exec("w", ["/wasm/hello.wasm"]).stdout,
        "hello from Wasm\n"
    );
}

/// A daemon lives as long as its pod; somebody may move the store meanwhile.
#[test]
fn store_that_is_replaced_under_a_daemon() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    c.run();
    c.read_until("ready\n");
    let moved = lab.dir().join("moved");
    fs::rename(lab.artifacts(), &moved).unwrap();
    for exec in ["first", "second"] {
        let ran = c.exec(exec, [HELLO]);
        assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
    }
    is_good(&artifacts::single(&lab.artifacts()));
    assert_eq!(compiled(&c.bundle.log()), 2, "sleep and hello, once each");
    assert_eq!(artifacts::list(&moved).len(), 1);
}

#[test]
fn store_that_cannot_hold_code_is_refused_in_one_line() {
    let lab = Lab::wasm();
    fs::create_dir_all(lab.artifacts()).unwrap();
    let noexec = MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
    mount(
        Some("tmpfs"),
        &lab.artifacts(),
        Some("tmpfs"),
        noexec,
        Some("mode=0700"),
    )
    .unwrap();
    let c = lab.container(&Spec::new([HELLO]));
    let created = c.try_create();
    umount2(&lab.artifacts(), MntFlags::MNT_DETACH).unwrap();
    let error = created.unwrap_err();
    let store = lab.artifacts();
    let parts = [store.to_str().unwrap(), "noexec", "HULL_ARTIFACTS"];
    is_one_clear_line(error.message(), &parts);
}
