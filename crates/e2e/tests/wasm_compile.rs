//! The jail in which modules are compiled: what it costs at most, and that nothing is left of it
//! however it ends.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hull_e2e::{
    Case, Container, Containerd, Image, Lab, POD, Spec, artifacts, cgroup, ctr, eventually,
    is_one_clear_line, leaks, procfs, target,
};

/// A module that keeps the compiler busy for seconds.
const SLOW: &str = "/wasm/slow.wasm";

/// Waits for the compiler that runs for it; gives its pid. One that is still on its way into the
/// jail, or that is only asked for its engine, is none.
fn compiler(group: &str) -> u32 {
    eventually("the compiler runs", || {
        cgroup::jails(group)
            .iter()
            .filter_map(|jail| fs::read_to_string(jail.join("cgroup.procs")).ok())
            .flat_map(|pids| pids.lines().map(str::to_owned).collect::<Vec<_>>())
            .filter_map(|pid| pid.parse().ok())
            .find(|pid| procfs::command_line(*pid).ends_with("compile"))
    })
}

#[track_caller]
fn fails_to_create(c: &Container<'_>, parts: &[&str]) {
    let error = c.try_create().unwrap_err();
    is_one_clear_line(error.message(), parts);
    assert_eq!(cgroup::jails(&c.cgroup()), Vec::<PathBuf>::new());
}

/// After a failure the same daemon takes a good module.
#[track_caller]
fn still_works(lab: &Lab, mut c: Container<'_>) {
    assert!(artifacts::leftovers(&lab.artifacts()).is_empty());
    c.reconfigure(&Spec::new(["/wasm/hello.wasm"]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
}

#[test]
fn module_that_takes_long_is_compiled_when_there_is_time() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new([SLOW]));
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn time_is_limited() {
    let lab = Lab::wasm().with_env("HULL_COMPILE_SECONDS", "1");
    let c = lab.container(&Spec::new([SLOW]));
    let began = Instant::now();
    fails_to_create(&c, &[SLOW, "1 s", "HULL_COMPILE_SECONDS"]);
    assert!(
        began.elapsed() < hull_e2e::slowed(Duration::from_secs(10)),
        "{:?}",
        began.elapsed()
    );
    still_works(&lab, c);
}

#[test]
fn modules_of_two_containers_of_a_pod_are_compiled_at_once() {
    // Long enough to see both.
    let lab = Lab::wasm().with_env("HULL_COMPILE_SECONDS", "4");
    let spec = Spec::new([SLOW]).annotation(POD, "pod");
    let (one, other) = (lab.container(&spec), lab.container(&spec));
    // Another module, by a custom section without a name at its end.
    let mut bytes = fs::read(Image::Wasm.rootfs().join("wasm/slow.wasm")).unwrap();
    bytes.extend(b"\0\x01\0");
    let copy = other.upper().join("wasm/slow.wasm");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(copy, bytes).unwrap();
    thread::scope(|scope| {
        let creating = [&one, &other].map(|c| scope.spawn(|| c.try_create()));
        eventually("both are compiled", || {
            let runs = |c: &Container<'_>| {
                let jails = cgroup::jails(&c.cgroup());
                let mut pids = jails
                    .iter()
                    .filter_map(|jail| fs::read_to_string(jail.join("cgroup.procs")).ok());
                pids.any(|pids| {
                    let mut pids = pids.lines().filter_map(|pid| pid.parse().ok());
                    pids.any(|pid| procfs::command_line(pid).ends_with("compile"))
                })
            };
            (runs(&one) && runs(&other)).then_some(())
        });
        for created in creating {
            // In time or not.
            drop(created.join().unwrap());
        }
    });
    assert_eq!(cgroup::jails(&one.cgroup()), Vec::<PathBuf>::new());
    assert_eq!(cgroup::jails(&other.cgroup()), Vec::<PathBuf>::new());
}

#[test]
fn memory_is_limited() {
    let limit = (24_u64 << 20).to_string();
    let lab = Lab::wasm().with_env("HULL_COMPILE_MEMORY", &limit);
    let c = lab.container(&Spec::new([SLOW]));
    fails_to_create(&c, &[SLOW, "memory", "24 MiB", "HULL_COMPILE_MEMORY"]);
    still_works(&lab, c);
}

#[test]
fn limit_that_is_no_number_is_named() {
    for (key, value) in [
        ("HULL_COMPILE_SECONDS", "soon"),
        ("HULL_COMPILE_MEMORY", "-1"),
    ] {
        let lab = Lab::wasm().with_env(key, value);
        let c = lab.container(&Spec::new(["/wasm/hello.wasm"]));
        fails_to_create(&c, &[key, value]);
    }
}

#[test]
fn compiler_is_locked_in_and_has_nothing() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new([SLOW]));
    thread::scope(|scope| {
        let creating = scope.spawn(|| c.try_create());
        let pid = compiler(&c.cgroup());
        let field = |key| procfs::field(pid, key).unwrap();
        for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(key), "0000000000000000", "{key}");
        }
        assert_eq!(field("NoNewPrivs"), "1");
        assert_eq!(field("Seccomp"), "2");
        assert!(!field("Uid").split_whitespace().any(|uid| uid == "0"));
        for name in ["pid", "ipc", "uts", "mnt", "net", "cgroup"] {
            let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            assert_ne!(of(&pid.to_string()), of("self"), "{name}");
        }
        let root = fs::read_dir(format!("/proc/{pid}/root")).unwrap();
        assert_eq!(root.count(), 0, "files in the jail");
        let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        assert!(!environ.contains(lab.tag()), "{environ}");
        for file in procfs::descriptors(pid) {
            let known = file.starts_with("/memfd:") || file.starts_with("pipe:");
            assert!(known || file.starts_with("anon_inode:"), "{file}");
        }
        creating.join().unwrap().unwrap();
    });
    assert_eq!(cgroup::jails(&c.cgroup()), Vec::<PathBuf>::new());
}

/// State and the like must not wait for a compilation, nor native containers of the same pod.
#[test]
fn daemon_answers_while_a_module_is_compiled() {
    let lab = Lab::wasm();
    let pod = |args: &[&str]| Spec::new(args.iter().copied()).annotation(POD, "pod");
    let slow = lab.container(&pod(&[SLOW]));
    let mut native = lab.container(&pod(&["echo", "native"]));
    assert_eq!(native.shim_pid(), slow.shim_pid());
    thread::scope(|scope| {
        let creating = scope.spawn(|| slow.try_create());
        compiler(&slow.cgroup());
        assert_eq!(native.run_to_end().stdout, "native\n");
        native.delete().unwrap();
        assert!(!creating.is_finished(), "it took as long as compiling");
        creating.join().unwrap().unwrap();
    });
}

/// Nobody wants what is compiled for a process that is dead.
#[test]
fn container_that_is_killed_while_an_exec_compiles_ends_at_once() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/sleep.wasm"]));
    c.run();
    c.read_until("ready\n");
    let _streams = c.add_exec("slow", [SLOW]);
    thread::scope(|scope| {
        let starting = scope.spawn(|| c.try_start("slow"));
        let pid = compiler(&c.cgroup());
        let began = Instant::now();
        assert_eq!(c.kill_and_wait(), 137);
        starting.join().unwrap().unwrap_err();
        assert!(
            began.elapsed() < hull_e2e::slowed(Duration::from_secs(2)),
            "{:?}",
            began.elapsed()
        );
        assert!(procfs::has_ended(pid));
    });
    assert_eq!(cgroup::jails(&c.cgroup()), Vec::<PathBuf>::new());
    // That of sleep.wasm.
    artifacts::single(&lab.artifacts());
}

#[test]
fn small_module_with_a_huge_artifact_is_refused() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new(["/wasm/bloated.wasm"]));
    fails_to_create(&c, &["/wasm/bloated.wasm", "more than 64 times"]);
    still_works(&lab, c);
}

#[test]
fn daemon_killed_while_compiling_leaves_nothing() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new([SLOW]));
    thread::scope(|scope| {
        let creating = scope.spawn(|| c.try_create());
        let pid = compiler(&c.cgroup());
        lab.kill_daemon(c.shim_pid());
        creating.join().unwrap().unwrap_err();
        // As containerd does once the connection is gone.
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
        eventually("the compiler is dead", || {
            procfs::has_ended(pid).then_some(())
        });
    });
    assert_eq!(cgroup::jails(&c.cgroup()), Vec::<PathBuf>::new());
    eventually("no lock and no temporary file is left", || {
        artifacts::leftovers(&lab.artifacts())
            .is_empty()
            .then_some(())
    });
    // A second try is not in the way of the first one.
    let mut second = lab.container(&Spec::new(["/wasm/hello.wasm"]));
    assert_eq!(second.run_to_end().stdout, "hello from Wasm\n");
}

/// The launcher's death orphans nothing: the compiler and the process that waits for it are the
/// daemon's children.
#[test]
fn launcher_killed_while_compiling_harms_nobody() {
    let lab = Lab::wasm();
    let pod = |args: &[&str]| Spec::new(args.iter().copied()).annotation(POD, "pod");
    let keeper = lab.container(&pod(&["sleep", "600"]));
    keeper.run();
    // Later on, processes on their way into a container have its command line.
    let launcher = procfs::children(keeper.shim_pid())
        .into_iter()
        .find(|pid| procfs::command_line(*pid).contains("launcher"))
        .unwrap();
    let mut c = lab.container(&pod(&[SLOW]));
    thread::scope(|scope| {
        let creating = scope.spawn(|| c.try_create());
        compiler(&c.cgroup());
        leaks::kill(launcher);
        creating.join().unwrap().unwrap();
    });
    assert!(procfs::has_ended(launcher));
    assert_eq!(cgroup::jails(&c.cgroup()), Vec::<PathBuf>::new());
    c.start();
    let (_, stderr) = hull_e2e::read_output(&mut c.stdio);
    assert_eq!((c.wait(), stderr.as_str()), (0, ""));
    artifacts::single(&lab.artifacts());
}

#[test]
fn containerd_cleans_up_after_a_daemon_that_was_killed_while_compiling() {
    let containerd = Containerd::start_own();
    let case = Case::with_image(containerd, Image::Wasm);
    case.expect_lost_events();
    let id = case.id("killed");
    let group = format!("/{}/{id}", case.containerd().tag());
    let command = case.run_command(&id, &[], &[SLOW]);
    thread::scope(|scope| {
        let running = scope.spawn(move || ctr::run(command, &[]));
        let compiler = compiler(&group);
        let daemon = procfs::parent(compiler).unwrap();
        assert!(procfs::command_line(daemon).contains("shim"), "{daemon}");
        leaks::kill(daemon);
        let out = running.join().unwrap();
        assert_ne!(out.code, 0);
        eventually("the compiler is dead", || {
            procfs::has_ended(compiler).then_some(())
        });
    });
    eventually("its cgroup is gone", || {
        cgroup::jails(&group).is_empty().then_some(())
    });
    let store = case.containerd().artifacts();
    eventually("no lock and no temporary file is left", || {
        artifacts::leftovers(&store).is_empty().then_some(())
    });
}

#[test]
fn compiler_that_is_missing_is_named_and_native_containers_run() {
    let lab = Lab::wasm().with_env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let dir = lab.dir().join("bin");
    fs::create_dir_all(&dir).unwrap();
    let alone = dir.join("containerd-shim-hull-v1");
    target::copy_program(&target::shim_binary(), &alone);
    let lab = lab.with_binary(&alone);
    let c = lab.container(&Spec::new(["/wasm/hello.wasm"]));
    fails_to_create(&c, &["hull-wasm", dir.to_str().unwrap()]);
    c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
    c.run();
    assert_eq!(c.wait(), 4);
}
