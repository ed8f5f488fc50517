//! systemd as the program of a container: the machine's own Debian, once more inside.

use std::fs;
use std::path::Path;

use hull_e2e::{Container, Lab, Spec, block, eventually, procfs};
use protobuf::MessageField;
use serde_json::json;

use crate::unit::Unit;

/// SIGRTMIN+3 as the C library counts: what systemd takes for an order to halt.
const HALT: u32 = 37;

/// What podman gives a container for systemd: writable cgroups of its own, and tmpfs where systemd wants
/// to write.
fn system() -> Spec {
    let tmpfs = |spec: Spec, place: &str, mode: &str| {
        let options = ["nosuid", "nodev", "rw", mode];
        spec.mount("tmpfs", Path::new("tmpfs"), place, &options)
    };
    let spec = Spec::new(["/sbin/init"])
        .env("container", "oci")
        .set("/process/noNewPrivileges", false)
        .namespace("cgroup", None)
        .mount(
            "cgroup",
            Path::new("cgroup"),
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "rw"],
        );
    let spec = tmpfs(spec, "/run", "mode=755");
    let spec = tmpfs(spec, "/run/lock", "mode=1777");
    tmpfs(spec, "/tmp", "mode=1777")
}

/// Runs it over the machine's own root, which stays as it is, until systemd has started everything.
fn boot(c: &Container<'_>) -> u32 {
    let mut request = c.create_request();
    let overlay = request.rootfs.first_mut().unwrap();
    overlay
        .options
        .retain(|option| !option.starts_with("lowerdir="));
    overlay.options.push("lowerdir=/".to_owned());
    request.options = MessageField::none();
    let pid = block(c.task.create(&request))
        .unwrap_or_else(|error| panic!("create: {error}\n{}", c.bundle.log()));
    c.start();
    let mut round = 0;
    eventually("systemd has started everything", || {
        assert!(!procfs::has_ended(pid), "{}", c.bundle.log());
        round += 1;
        let ran = c.exec(&format!("ask-{round}"), ["systemctl", "is-system-running"]);
        match ran.stdout.trim() {
            "running" | "degraded" => Some(()),
            _ => None,
        }
    });
    pid
}

/// What it prints inside, trimmed.
#[track_caller]
fn ask<const N: usize>(c: &Container<'_>, exec: &str, args: [&str; N]) -> String {
    let ran = c.exec(exec, args);
    assert_eq!(ran.status, 0, "{args:?}: {ran:?}");
    ran.stdout.trim().to_owned()
}

/// All that is asked of a running one.
fn look_around(c: &Container<'_>, group: &Path) {
    assert_eq!(
        ask(
            c,
            "units",
            ["systemctl", "is-active", "multi-user.target", "dbus.socket"]
        ),
        "active\nactive"
    );
    assert_eq!(ask(c, "first", ["cat", "/proc/1/comm"]), "systemd");
    let mut round = 0;
    // It has moved itself, and an exec can only go where it is once its own groups have controllers, which
    // they have as long as one of its services has a limit. It cannot give them any while an exec of ours is
    // where it was, so a try may be in vain.
    eventually("execs are beside it", || {
        round += 1;
        let unit = format!("--unit=holder-{round}");
        let holder = [
            "systemd-run",
            "--quiet",
            "--no-block",
            &unit,
            "--property=MemoryMax=64M",
            "sleep",
            "600",
        ];
        ask(c, &format!("holder-{round}"), holder);
        let place = ask(c, &format!("where-{round}"), ["cat", "/proc/self/cgroup"]);
        assert!(matches!(&*place, "0::/" | "0::/init.scope"), "{place}");
        (place == "0::/init.scope").then_some(())
    });
    assert_eq!(fs::read_to_string(group.join("cgroup.procs")).unwrap(), "");
    assert!(group.join("init.scope").exists() && group.join("system.slice").exists());
    // It gives limits to services of its own.
    let service = [
        "systemd-run",
        "--wait",
        "--pipe",
        "--quiet",
        "--unit=inner",
        "--property=MemoryMax=32M",
        "sh",
        "-c",
        "cat /proc/self/cgroup /sys/fs/cgroup/system.slice/inner.service/memory.max",
    ];
    assert_eq!(
        ask(c, "service", service),
        "0::/system.slice/inner.service\n33554432"
    );
}

/// Halts it; nothing may be left.
fn halt(c: &Container<'_>, group: &Path) {
    c.kill(HALT).unwrap();
    let status = c.wait();
    // Without CAP_SYS_BOOT it just ends.
    assert!(matches!(status, 0 | 130), "{status}");
    c.delete().unwrap();
    eventually("its cgroup is gone", || (!group.exists()).then_some(()));
}

#[test]
fn systemd_boots_in_a_unit_of_systemd_and_halts() {
    let lab = Lab::new();
    let unit = Unit::of(&lab);
    let spec = system().resource("memory/limit", 256 << 20);
    let c = lab.container(&unit.around(spec));
    boot(&c);
    look_around(&c, &unit.dir());
    unit.expect(&[("ActiveState", "active"), ("MemoryMax", "268435456")]);
    halt(&c, &unit.dir());
    unit.expect_gone();
}

#[test]
fn systemd_boots_in_a_plain_cgroup_is_paused_updated_and_killed() {
    let lab = Lab::new();
    let c = lab.container(&system());
    let group = Path::new("/sys/fs/cgroup").join(c.cgroup().trim_start_matches('/'));
    boot(&c);
    look_around(&c, &group);
    block(c.task.pause(&c.id)).unwrap();
    block(c.task.resume(&c.id)).unwrap();
    let update = json!({ "pids": { "limit": 200 } });
    block(c.task.update(&c.id, &update)).unwrap();
    assert_eq!(fs::read_to_string(group.join("pids.max")).unwrap(), "200\n");
    assert_eq!(c.kill_and_wait(), 137);
    c.delete().unwrap();
    assert!(!group.exists());
}
