//! What a container gets: closed defaults, and what was asked for.

use std::fs;
use std::path::Path;

use hull_e2e::{Cli, cgroup, is_one_clear_line, procfs};

use crate::{SLEEPER, kill_by_interrupts, wait_ready};

#[test]
fn defaults_are_closed() {
    let cli = Cli::new();
    let name = cli.name();
    let script = "cat /proc/self/status /proc/self/uid_map; readlink /proc/self/ns/*; hostname; \
                  ls /sys/class/net; unshare -n true; echo $?";
    let text = cli.native(&["--name", &name], &["sh", "-c", script]).ok();
    let field = |key| procfs::status_field(&text, key).unwrap().to_owned();
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2");
    // Docker's default set.
    assert_eq!(field("CapEff"), "00000000a80425fb");
    assert_eq!(field("CapBnd"), "00000000a80425fb");
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup"] {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        assert!(
            !text.contains(ours.to_str().unwrap()),
            "shares {kind}: {text}"
        );
    }
    assert!(text.ends_with(&format!("{name}\nlo\n1\n")), "{text}");
}

#[test]
fn environment_user_directory_and_host_name_are_as_asked() {
    let cli = Cli::new();
    let mut command = cli.native_command(
        &[
            "-e",
            "A=b=c",
            "-e",
            "FROM_HERE",
            "-e",
            "ABSENT",
            "--user",
            "1234:5678",
            "--workdir",
            "/tmp",
            "--hostname",
            "box",
        ],
        &["sh", "-c", "env; id -u; id -g; pwd; hostname"],
    );
    command.env("FROM_HERE", "yes").env("NOT_ASKED_FOR", "yes");
    let text = hull_e2e::ctr::run(command, &[]).ok();
    assert!(
        text.contains("A=b=c\n") && text.contains("FROM_HERE=yes\n"),
        "{text}"
    );
    assert!(
        !text.contains("ABSENT") && !text.contains("NOT_ASKED_FOR"),
        "{text}"
    );
    assert!(text.ends_with("1234\n5678\n/tmp\nbox\n"), "{text}");
}

#[test]
fn directory_of_the_user_stays_as_it_is() {
    let cli = Cli::new();
    let root = cli.work().join("root");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(cli.rootfs())
        .arg(&root)
        .status();
    assert!(copied.unwrap().success());
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = names(&root);
    let root_arg = root.to_str().unwrap();
    let script = "touch /new && rm /etc/passwd && test -e /new && test ! -e /etc/passwd";
    cli.hull(["run", "--rootfs", root_arg, "--", "sh", "-c", script])
        .ok();
    assert_eq!(names(&root), before);
    assert!(root.join("etc/passwd").exists());
    // Unless it is asked for.
    cli.hull([
        "run",
        "--writable-rootfs",
        "--rootfs",
        root_arg,
        "--",
        "touch",
        "/new",
    ])
    .ok();
    assert!(root.join("new").exists());
}

/// overlayfs reads colons and commas in its options, and shells blanks.
#[test]
fn directory_may_have_any_name() {
    let cli = Cli::new();
    let root = cli.work().join("a:b,c d");
    std::os::unix::fs::symlink(cli.rootfs(), &root).unwrap();
    let real = cli.work().join("x:y,z \\");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(cli.rootfs())
        .arg(&real)
        .status();
    assert!(copied.unwrap().success());
    for dir in [&root, &real] {
        let dir = dir.to_str().unwrap();
        cli.hull(["run", "--rootfs", dir, "--", "true"]).ok();
    }
}

#[test]
fn read_only_root_cannot_be_written() {
    let cli = Cli::new();
    let out = cli.native(&["--read-only"], &["touch", "/new"]).expect(1);
    assert!(
        out.stderr.contains("Read-only file system"),
        "{}",
        out.stderr
    );
    let out = cli.wasm(&["--read-only"], "files.wasm", &["write", "/new", "text"]);
    assert_ne!(out.code, 0);
    let out = cli.wasm(&[], "files.wasm", &["write", "/new", "text"]);
    assert_eq!(out.code, 0, "{}", out.stderr);
}

#[test]
fn mounts_are_writable_unless_they_are_to_be_read() {
    let cli = Cli::new();
    let data = cli.work().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "content").unwrap();
    let script = "cat /ro/file /ro2/file; touch /ro/a; touch /ro2/b; touch /rw/c; \
                  touch /scratch/d && df -k /scratch | tail -n 1 | awk '{print $2}'";
    let flags = [
        "-v",
        "./data:/ro:ro",
        "--mount",
        "type=bind,src=data,dst=/ro2,ro",
        "-v",
        "data/:/rw",
        "--mount",
        "type=tmpfs,dst=/scratch,size=1m",
    ];
    let out = cli.native(&flags, &["sh", "-c", script]).expect(0);
    assert_eq!(out.text(), "contentcontent1024\n");
    assert_eq!(
        out.stderr.matches("Read-only file system").count(),
        2,
        "{}",
        out.stderr
    );
    assert!(data.join("c").exists() && !data.join("a").exists());
    // The same for Wasm.
    let text = cli
        .wasm(&["-v", "./data:/d:ro"], "files.wasm", &["read", "/d/file"])
        .ok();
    assert!(text.contains("content"), "{text}");
}

#[test]
fn limits_are_in_the_cgroup_of_its_name() {
    let cli = Cli::new();
    let name = cli.name();
    let flags = [
        "--name", &name, "--memory", "32m", "--cpus", "0.5", "--pids", "33",
    ];
    let mut child = cli.spawn(cli.native_command(&flags, &SLEEPER));
    wait_ready(&mut child);
    let group = format!("/hull-{name}");
    let value = |controller: &str, v1: &str, v2: &str| {
        let file = if cgroup::is_unified(controller) {
            v2
        } else {
            v1
        };
        cgroup::read(controller, &group, file)
    };
    assert_eq!(
        value("memory", "memory.limit_in_bytes", "memory.max"),
        "33554432"
    );
    assert_eq!(value("pids", "pids.max", "pids.max"), "33");
    let quota = value("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("50000"));
    kill_by_interrupts(&mut child);
}

#[test]
fn memory_limit_kills_and_is_told() {
    let cli = Cli::new();
    let out = cli.native(
        &["--memory", "16m"],
        &["dd", "if=/dev/zero", "of=/dev/null", "bs=64M"],
    );
    let out = out.expect(137);
    is_one_clear_line(out.stderr.trim(), &["hull: run: out of memory", "--memory"]);
    // Files in the layer above the root are memory as well.
    let script = "dd if=/dev/zero of=/big bs=1M count=64; exit $?";
    cli.native(&["--memory", "16m"], &["sh", "-c", script])
        .expect(137);
}

#[test]
fn network_is_none_or_the_hosts() {
    let cli = Cli::new();
    let links = |flags: &[&str]| {
        let text = cli.native(flags, &["readlink", "/proc/self/ns/net"]).ok();
        text.trim().to_owned()
    };
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let host = host.to_str().unwrap();
    assert_ne!(links(&["--net", "none"]), host);
    assert_eq!(links(&["--net", "host"]), host);
    // The loopback of its own is up.
    let text = cli.native(&[], &["ip", "address"]).ok();
    assert!(text.contains("127.0.0.1/8"), "{text}");
}

#[test]
fn capabilities_and_seccomp_can_be_changed() {
    let cli = Cli::new();
    let caps = |flags: &[&str]| {
        let text = cli.native(flags, &["cat", "/proc/self/status"]).ok();
        let field = |key| procfs::status_field(&text, key).unwrap().to_owned();
        (field("CapEff"), field("Seccomp"))
    };
    let flags = ["--cap-drop", "ALL", "--cap-add", "net_bind_service"];
    assert_eq!(caps(&flags).0, "0000000000000400");
    assert_eq!(caps(&["--seccomp", "none"]).1, "0");
    let profile = cli.work().join("profile.json");
    let text = r#"{"defaultAction":"SCMP_ACT_ALLOW",
                   "syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    fs::write(&profile, text).unwrap();
    let out = cli
        .native(&["--seccomp", "profile.json"], &["mkdir", "/x"])
        .expect(1);
    assert!(out.stderr.contains("No space left"), "{}", out.stderr);
}

#[test]
fn annotations_are_the_containers() {
    let cli = Cli::new();
    let annotation = |given: &str| format!("io.containerd.hull.wasm.{given}");
    let (timeout, none) = (annotation("timeout=300ms"), annotation("preopens=none"));
    let flags = ["--annotation", &timeout, "--annotation", &none];
    cli.wasm(&flags, "loop.wasm", &[]).expect(124);
    let wrong = annotation("timeout=soon");
    let out = cli
        .wasm(&["--annotation", &wrong], "hello.wasm", &[])
        .expect(125);
    is_one_clear_line(out.stderr.trim(), &["hull: run: ", "wasm.timeout", "soon"]);
    let out = cli.wasm(&["--annotation", "novalue"], "hello.wasm", &[]);
    assert!(out.expect(2).stderr.contains("KEY=VALUE"));
}
