//! What a Wasm guest's process is to the kernel, and what it is to its neighbours in the container.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

use hull_e2e::strace::{self, Strace};
use hull_e2e::{Case, Container, Lab, Spec, artifacts, cgroup, procfs, target};

fn sleeper() -> Spec {
    Spec::new(["/wasm/sleep.wasm"])
}

/// Root's sets with the capability to look into other processes as well.
fn with_ptrace(spec: Spec) -> Spec {
    ["bounding", "effective", "permitted"]
        .iter()
        .fold(spec, |spec, set| {
            let pointer = format!("/process/capabilities/{set}/-");
            spec.set(&pointer, "CAP_SYS_PTRACE")
        })
}

/// Starts it and waits until the guest runs; gives its pid.
fn run(c: &mut Container<'_>) -> u32 {
    let pid = c.run();
    c.read_until("ready\n");
    pid
}

fn runner() -> PathBuf {
    target::bin_dir().join("hull-wasm")
}

#[track_caller]
fn is_locked_in(pid: u32) {
    let field = |key| procfs::field(pid, key).unwrap();
    for key in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(field(key), "0000000000000000", "{key}");
    }
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("Threads"), "1");
}

#[test]
fn runner_has_no_capability_and_a_filter_whatever_the_spec_grants() {
    let lab = Lab::wasm();
    let generous = with_ptrace(sleeper())
        .set("/process/noNewPrivileges", false)
        .set(
            "/process/capabilities/ambient",
            serde_json::json!(["CAP_CHOWN"]),
        )
        .set(
            "/process/capabilities/inheritable",
            serde_json::json!(["CAP_CHOWN"]),
        );
    for spec in [sleeper(), generous, sleeper().user(1000, 1000)] {
        let mut c = lab.container(&spec);
        let pid = run(&mut c);
        is_locked_in(pid);
        let uid = spec.json()["process"]["user"]["uid"].as_u64().unwrap();
        let ids = [uid.to_string().as_str(); 4].join("\t");
        assert_eq!(procfs::field(pid, "Uid").unwrap(), ids);
    }
}

#[test]
fn exec_is_locked_in_as_well() {
    let lab = Lab::wasm();
    let c = lab.container(&with_ptrace(Spec::new(["sleep", "600"])));
    c.run();
    let mut stdio = c.add_exec("e", ["/wasm/sleep.wasm"]);
    let pid = c.try_start("e").unwrap();
    let out = stdio.out.as_mut().unwrap();
    out.read_until(b"ready\n", hull_e2e::limit()).unwrap();
    is_locked_in(pid);
}

#[test]
fn namespaces_and_cgroup_are_the_containers() {
    let lab = Lab::wasm();
    let mut c = lab.container(&sleeper());
    let pid = run(&mut c);
    for name in ["pid", "ipc", "uts", "mnt", "net"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_ne!(of(&pid.to_string()), of("self"), "{name}");
    }
    for controller in ["memory", "cpu", "pids"] {
        assert_eq!(cgroup::of_process(pid, controller), c.cgroup());
    }
    assert_eq!(
        procfs::field(pid, "NSpid")
            .unwrap()
            .split_whitespace()
            .last(),
        Some("1")
    );
}

/// Only the two memory files of the runner, its streams, and the directories of the guest.
#[test]
fn runner_has_nothing_of_the_host_open() {
    let lab = Lab::wasm();
    let mut c = lab.container(&sleeper());
    let pid = run(&mut c);
    for file in procfs::descriptors(pid) {
        let known = ["pipe:", "anon_inode:", "/memfd:", "/dev/null", "socket:"]
            .iter()
            .any(|prefix| file.starts_with(prefix));
        let inside = Path::new("/proc").join(pid.to_string()).join("root");
        let inside = inside.join(file.trim_start_matches('/'));
        let artifact = artifacts::single(&lab.artifacts()).path;
        let artifact = file.ends_with(artifact.file_name().unwrap().to_str().unwrap());
        assert!(known || artifact || inside.is_dir(), "{file}");
    }
    let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let variables: Vec<&str> = environ.split_terminator('\0').collect();
    assert!(variables.len() <= 1, "{variables:?}");
}

/// CVE-2019-5736.
#[test]
fn runners_binary_cannot_be_written_from_inside() {
    let before = fs::read(runner()).unwrap();
    let lab = Lab::wasm();
    let mut c = lab.container(&with_ptrace(sleeper()));
    run(&mut c);
    for text in [
        "echo x >>/proc/1/exe",
        "exec 3</proc/1/exe && echo x >>/proc/self/fd/3",
        "cp /bin/busybox /proc/1/exe",
    ] {
        let ran = c.exec("e", ["sh", "-c", text]);
        assert_ne!(ran.status, 0, "{text}: {ran:?}");
    }
    assert!(
        fs::read(runner()).unwrap() == before,
        "hull-wasm has changed"
    );
}

#[test]
fn neighbours_cannot_look_into_the_runner() {
    let lab = Lab::wasm();
    let mut c = lab.container(&sleeper());
    run(&mut c);
    for text in [
        "cat /proc/1/environ",
        "cat /proc/1/maps",
        "dd if=/proc/1/mem bs=1 count=1 skip=4194304",
        "readlink /proc/1/exe",
        "readlink /proc/1/fd/1",
        "cat /proc/1/fd/1",
        "ls /proc/1/root/",
    ] {
        let ran = c.exec("e", ["sh", "-c", text]);
        assert_ne!(ran.status, 0, "{text}: {ran:?}");
        assert_eq!(ran.stdout, "", "{text}: {ran:?}");
    }
}

/// A container that may look into processes gets at the artifact, and still cannot change it.
#[test]
fn artifact_cannot_be_changed_through_the_runner() {
    let lab = Lab::wasm();
    let spec = with_ptrace(sleeper()).set("/process/noNewPrivileges", false);
    let mut c = lab.container(&spec);
    run(&mut c);
    let stored = artifacts::single(&lab.artifacts());
    let before = fs::read(&stored.path).unwrap();
    let text = "for fd in /proc/1/fd/*; do echo x >>$fd; : >$fd; chmod 666 $fd; done; \
        for map in /proc/1/map_files/*; do echo x >>$map; done; true";
    c.exec("e", ["sh", "-c", text]);
    assert!(fs::read(&stored.path).unwrap() == before);
    assert_eq!(artifacts::single(&lab.artifacts()), stored);
}

#[test]
fn store_is_not_in_the_container() {
    let lab = Lab::wasm();
    let mut c = lab.container(&sleeper());
    run(&mut c);
    let stored = artifacts::single(&lab.artifacts()).path;
    let stored = stored.to_str().unwrap();
    let ran = c.exec("n", ["ls", stored]);
    assert!(ran.stderr.contains("No such file"), "{ran:?}");
    let ran = c.exec("w", ["/wasm/files.wasm", "stat", stored]);
    assert!(ran.stderr.contains("No such file"), "{ran:?}");
    let mounts = c.exec("m", ["cat", "/proc/self/mountinfo"]).stdout;
    assert!(!mounts.contains("artifacts"), "{mounts}");
}

#[test]
fn seccomp_profile_of_containerd_lets_it_run() {
    let case = Case::wasm();
    for flags in [&["--seccomp"][..], &["--seccomp", "--allow-new-privs"]] {
        let out = case.run(flags, &["/wasm/output.wasm"]).expect(0);
        assert_eq!(
            (out.text().as_str(), out.stderr.as_str()),
            ("out\n", "err\n")
        );
        let read = ["/wasm/files.wasm", "read", "/etc/group"];
        assert!(case.run(flags, &read).ok().contains("hull:x:1000:"));
        let out = case.run(flags, &["/wasm/trap-stack.wasm"]).expect(134);
        assert!(
            out.stderr.contains("call stack exhausted"),
            "{}",
            out.stderr
        );
        let out = case.run(flags, &["/wasm/component.wasm"]).ok();
        assert_eq!(out, "hello from a component\n");
        let out = case.run(flags, &["/wasm/clock.wasm"]).ok();
        assert!(out.contains("random differs"), "{out}");
    }
}

/// Files that a C library opens by itself, if it is asked for users, hosts or character sets.
const PLANTED: [&str; 9] = [
    "etc/ld.so.preload",
    "etc/ld.so.cache",
    "etc/nsswitch.conf",
    "lib/x86_64-linux-gnu/libnss_files.so.2",
    "lib/x86_64-linux-gnu/libnss_dns.so.2",
    "lib64/libnss_files.so.2",
    "usr/lib/x86_64-linux-gnu/libnss_files.so.2",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules",
    "usr/lib/x86_64-linux-gnu/gconv/UTF-16.so",
];

/// Runs a container under strace; gives the calls of its init after it has entered its root.
fn calls_inside(lab: &Lab, spec: &Spec) -> Vec<String> {
    let mut c = lab.container(spec);
    for file in PLANTED {
        let path = c.upper().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Enough for nsswitch.conf to ask for a module by name.
        fs::write(&path, "passwd: planted files\nhosts: planted dns\n").unwrap();
    }
    let mut family = procfs::children(c.shim_pid());
    family.push(c.shim_pid());
    let calls = "%file,pivot_root,execveat";
    let strace = Strace::attach(&family, calls, &lab.dir().join(format!("{}.strace", c.id)));
    let pid = c.run();
    let (stdout, stderr) = hull_e2e::read_output(&mut c.stdio);
    assert_eq!((c.wait(), stderr.as_str()), (0, ""), "{stdout}");
    let calls = strace.calls_of(pid);
    let entered = calls
        .iter()
        .position(|call| call.starts_with("pivot_root("));
    let (_, inside) = calls.split_at(entered.unwrap());
    inside.to_vec()
}

/// A statically linked C library would still load modules of the image to look up names.
#[test]
fn no_code_of_the_image_is_loaded_and_nothing_opened_unasked() {
    let lab = Lab::wasm();
    let guest = ["/wasm/files.wasm", "read", "/etc/group"];
    for spec in [Spec::new(guest), Spec::new(guest).user(1000, 1000)] {
        let calls = calls_inside(&lab, &spec);
        let exec = calls.iter().rposition(|call| call.starts_with("execveat("));
        let (before, after) = calls.split_at(exec.unwrap());
        for call in &calls {
            for word in [".so", "nss", "gconv", "ld.so", "locale"] {
                let named = strace::path(call).is_some_and(|path| path.contains(word));
                assert!(!named, "{call}");
            }
        }
        // One program, and that by its descriptor.
        assert!(
            before.iter().all(|call| !call.starts_with("exec")),
            "{before:#?}"
        );
        let execs = after.iter().filter(|call| call.starts_with("exec"));
        assert_eq!(execs.count(), 1);
        // What the guest asked for, and the directories that are its world.
        let opened: Vec<&str> = after
            .iter()
            .filter(|call| call.starts_with("open"))
            .filter_map(|call| strace::path(call))
            .collect();
        let destinations: Vec<&str> = spec.json()["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|mount| mount["destination"].as_str())
            .collect();
        for path in &opened {
            // Our C library looks where its own stack is.
            let asked = ["/", "etc/group", "/proc/self/maps"].contains(path);
            assert!(asked || destinations.contains(path), "{opened:?}");
        }
        assert!(opened.contains(&"/"), "{opened:?}");
    }
}
