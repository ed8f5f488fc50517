//! Containers with a user namespace of their own. The default spec is ctr's.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use hull_e2e::apart::mountinfo;
use hull_e2e::{
    Case, Container, HookKind, Lab, Ran, Spec, Streams, eventually, in_own_mounts,
    is_one_clear_line, procfs,
};
use serde_json::json;

/// The host's id of root in the containers.
const ROOT: u32 = 100_000;
const SIZE: u32 = 65_536;

fn mapped<const N: usize>(args: [&str; N]) -> Spec {
    Spec::new(args).user_namespace(ROOT, SIZE)
}

fn script(text: &str) -> Spec {
    mapped(["sh", "-c", text])
}

/// A container to whose root the root directory belongs, as after containerd's remapping.
fn container<'lab>(lab: &'lab Lab, spec: &Spec, streams: Streams) -> Container<'lab> {
    let c = lab.container_with(spec, streams);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    c
}

fn run(spec: &Spec) -> Ran {
    let lab = Lab::new();
    let mut c = container(&lab, spec, Streams::OUTPUT);
    c.run_to_end()
}

/// What a script that must succeed prints.
#[track_caller]
fn print(spec: &Spec) -> String {
    let ran = run(spec);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

fn with_capabilities(spec: Spec, more: &[&str]) -> Spec {
    ["bounding", "effective", "permitted"]
        .iter()
        .fold(spec, |spec, set| {
            more.iter().fold(spec, |spec, name| {
                spec.set(&format!("/process/capabilities/{set}/-"), *name)
            })
        })
}

/// A directory of the host that belongs to somebody; nobody but the host's root gets to it.
fn volume(lab: &Lab, owner: u32) -> PathBuf {
    let closed = lab.dir().join("snapshots/closed");
    let volume = closed.join("volume");
    fs::create_dir_all(&volume).unwrap();
    chown(&volume, Some(owner), Some(owner)).unwrap();
    chown(&closed, Some(4242), Some(4242)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    volume
}

#[test]
fn ids_are_mapped_inside_and_on_the_host() {
    let lab = Lab::new();
    let text = "cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups; id; echo ready; \
                exec sleep 600";
    let spec = script(text)
        .user(5, 6)
        .set("/process/user/additionalGids", vec![7]);
    let mut c = container(&lab, &spec, Streams::OUTPUT);
    let pid = c.run();
    let seen = c.read_until("ready");
    let words: Vec<&str> = seen.split_whitespace().collect();
    let map = ["0", "100000", "65536"];
    let expected = [&map[..], &map[..], &["allow"]].concat();
    assert!(words.starts_with(&expected), "{seen}");
    assert!(seen.contains("uid=5") && seen.contains("gid=6"), "{seen}");
    let ids = |id: u32| [id.to_string().as_str(); 4].join("\t");
    assert_eq!(procfs::field(pid, "Uid"), Some(ids(ROOT + 5)));
    assert_eq!(procfs::field(pid, "Gid"), Some(ids(ROOT + 6)));
    assert_eq!(procfs::field(pid, "Groups").unwrap(), "100007");
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert_eq!(open, 3, "{:?}", procfs::descriptors(pid));
}

#[test]
fn maps_of_several_lines_are_written_as_given() {
    let spec = script("cat /proc/self/uid_map; echo; cat /proc/self/gid_map")
        .set(
            "/linux/uidMappings",
            json!([
                { "containerID": 0, "hostID": ROOT, "size": 10 },
                { "containerID": 1000, "hostID": 0, "size": 1 },
            ]),
        )
        .set(
            "/linux/gidMappings",
            json!([{ "containerID": 0, "hostID": 7000, "size": 4_294_960_000_u32 }]),
        );
    let seen = print(&spec);
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "0",
            "100000",
            "10",
            "1000",
            "0",
            "1",
            "0",
            "7000",
            "4294960000"
        ]
    );
}

/// What root may do in namespaces that belong to its user namespace, and in no others.
#[test]
fn new_namespaces_belong_to_it() {
    let text = "set -e; hostname inside; hostname; mkdir /mnt; mount -t tmpfs none /mnt; \
                mount -t proc proc /mnt; umount /mnt; mount -t cgroup2 none /mnt; \
                ip link set lo down; ip link set lo up; echo 4321 > /proc/sys/kernel/msgmax; \
                cat /proc/sys/kernel/msgmax";
    let spec = with_capabilities(script(text), &["CAP_SYS_ADMIN", "CAP_NET_ADMIN"])
        .namespace("cgroup", None)
        .set("/linux/maskedPaths", json!([]))
        .set("/linux/readonlyPaths", json!([]));
    assert_eq!(print(&spec), "inside\n4321\n");
}

#[test]
fn capabilities_do_not_reach_the_host() {
    let host = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let text = "date -s 2030-01-01 > /dev/null; umount /proc/sys; \
                echo x > /proc/sys/kernel/core_pattern; mknod /dev/disk b 254 0; mkdir /mnt; \
                mount -t ext4 /dev/zero /mnt; dmesg -c > /dev/null; \
                echo -1000 > /proc/self/oom_score_adj; chroot . true && echo chroot works";
    let all = [
        "CAP_SYS_ADMIN",
        "CAP_SYS_TIME",
        "CAP_SYSLOG",
        "CAP_SYS_NICE",
        "CAP_SYS_MODULE",
    ];
    let spec = with_capabilities(script(text), &all);
    let ran = run(&spec);
    assert_eq!(ran.stdout.trim(), "chroot works", "{ran:?}");
    for refused in [
        "date: can't set date",
        "core_pattern: Permission denied",
        "mknod: /dev/disk",
        "mount: permission denied",
        "klogctl",
        "write error: Permission denied",
    ] {
        assert!(ran.stderr.contains(refused), "{refused}: {}", ran.stderr);
    }
    let after = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    assert_eq!(after, host);
}

#[test]
fn files_of_a_volume_have_the_hosts_ids() {
    let lab = Lab::new();
    let volume = volume(&lab, ROOT);
    fs::write(volume.join("hosts"), "x").unwrap();
    let text = "set -e; stat -c %u:%g /vol /vol/hosts; touch /vol/new; chown 5:6 /vol/new; \
                mkdir /vol/dir; stat -c %u:%g /vol/new; chown 0 /vol/hosts || echo refused";
    let spec = script(text).mount("bind", &volume, "/vol", &["rbind", "rw"]);
    let mut c = container(&lab, &spec, Streams::OUTPUT);
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "0:0\n65534:65534\n5:6\nrefused\n", "{ran:?}");
    let owner = |name: &str| {
        let meta = fs::metadata(volume.join(name)).unwrap();
        (meta.uid(), meta.gid())
    };
    assert_eq!(owner("new"), (ROOT + 5, ROOT + 6));
    assert_eq!(owner("dir"), (ROOT, ROOT));
    assert_eq!(owner("hosts"), (0, 0));
}

/// The host's mount is shared, so a copy of it would be a peer.
#[test]
fn nothing_is_mounted_on_the_host_through_a_shared_volume() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    let none: Option<&str> = None;
    let lab = Lab::new();
    let dir = lab.dir().join("snapshots/shared");
    fs::create_dir(&dir).unwrap();
    mount(Some("none"), &dir, Some("tmpfs"), MsFlags::empty(), none).unwrap();
    mount(none, &dir, none, MsFlags::MS_SHARED, none).unwrap();
    fs::create_dir(dir.join("sub")).unwrap();
    let spec = with_capabilities(
        script("mount -t tmpfs none /vol/sub; echo ready; sleep 600"),
        &["CAP_SYS_ADMIN"],
    )
    .mount("bind", &dir, "/vol", &["rbind", "rshared"]);
    let mut c = container(&lab, &spec, Streams::OUTPUT);
    c.run();
    c.read_until("ready");
    let point = dir.join("sub").display().to_string();
    let inside = c.exec("e", ["cat", "/proc/mounts"]).stdout;
    let on_host = procfs::mounts_naming(&point);
    drop(c);
    umount2(&dir, MntFlags::MNT_DETACH).unwrap();
    assert!(inside.contains(" /vol/sub tmpfs "), "{inside}");
    assert!(on_host.is_empty(), "{on_host:?}");
}

/// systemd makes /dev shared, and the container's nodes are copies of the host's.
#[test]
fn nothing_is_mounted_on_the_hosts_devices() {
    in_own_mounts(|| {
        let lab = Lab::new();
        let text = "mount -o bind /etc/group /dev/null && echo ready; sleep 600";
        let spec = with_capabilities(script(text), &["CAP_SYS_ADMIN"]);
        let mut c = container(&lab, &spec, Streams::OUTPUT);
        c.run();
        c.read_until("ready");
        let inside = c.exec("e", ["head", "-c", "4", "/dev/null"]).stdout;
        assert_eq!(inside, "root");
        let host = mountinfo();
        let covered = host.lines().filter(|line| line.contains(" /dev/null "));
        assert_eq!(covered.collect::<Vec<_>>(), [""; 0]);
    });
}

#[test]
fn default_devices_are_the_hosts_own_and_work() {
    let text = "set -e; for d in null zero full random urandom tty; do \
                stat -c '%n %t:%T' /dev/$d; done; echo x > /dev/null; head -c 3 /dev/zero | wc -c; \
                head -c 3 /dev/urandom | wc -c; ls -l /dev/fd /dev/ptmx | wc -l; \
                echo x 2> /dev/null > /dev/full || echo full";
    let seen = print(&script(text));
    let expected = "/dev/null 1:3\n/dev/zero 1:5\n/dev/full 1:7\n/dev/random 1:8\n\
                    /dev/urandom 1:9\n/dev/tty 5:0\n3\n3\n2\nfull\n";
    assert_eq!(seen, expected);
}

#[test]
fn listed_device_is_the_hosts_and_a_fifo_is_made() {
    let spec = script("stat -c '%t:%T' /dev/kmsg; stat -c '%F %u %a' /dev/fifo")
        .set(
            "/linux/devices/-",
            json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o600 }),
        )
        .set(
            "/linux/devices/-",
            json!({ "path": "/dev/fifo", "type": "p", "fileMode": 0o640, "uid": 5 }),
        );
    assert_eq!(print(&spec), "1:b\nfifo 5 640\n");
}

#[test]
fn default_mounts_are_its_own() {
    let text = "set -e; cut -d' ' -f2,3 /proc/mounts; echo x > /dev/shm/x; cat /dev/shm/x; \
                ls /sys/class/net; stat -c %u /dev/pts/ptmx /dev/mqueue /run; \
                ls -d /proc/[0-9]* | wc -l";
    let seen = print(&script(text));
    for line in [
        "/proc proc",
        "/dev tmpfs",
        "/dev/pts devpts",
        "/dev/shm tmpfs",
        "/dev/mqueue mqueue",
        "/sys sysfs",
        "/run tmpfs",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
    assert!(seen.contains("x\nlo\n0\n0\n0\n"), "{seen}");
}

#[test]
fn hidden_and_read_only_paths_hold() {
    let text = "wc -c < /proc/keys; ls /sys/firmware | wc -l; \
                echo 1 > /proc/sys/kernel/domainname; umount /proc/keys; umount /proc/sys; \
                wc -c < /proc/keys";
    let ran = run(&script(text));
    assert_eq!(ran.stdout, "0\n0\n0\n", "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
}

#[test]
fn sysctls_of_its_namespaces_are_set() {
    let path = "/proc/sys/user/max_user_namespaces";
    let host = fs::read_to_string(path).unwrap();
    let sysctl = json!({
        "net.ipv4.ip_forward": "1",
        "kernel.msgmax": "4321",
        "user.max_user_namespaces": "7",
    });
    let text = format!("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax {path}");
    let spec = script(&text).set("/linux/sysctl", sysctl);
    assert_eq!(print(&spec), "1\n4321\n7\n");
    assert_eq!(fs::read_to_string(path).unwrap(), host);
}

/// With files of /proc covered a second procfs may not be mounted any more.
#[test]
fn sysctl_is_set_where_files_of_proc_are_covered() {
    let lab = Lab::new();
    let file = lab.dir().join("snapshots/uptime");
    fs::write(&file, "1 1\n").unwrap();
    let spec = script("cat /proc/uptime /proc/sys/net/ipv4/ip_forward")
        .mount("bind", &file, "/proc/uptime", &["bind", "ro"])
        .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1" }));
    let ran = container(&lab, &spec, Streams::OUTPUT).run_to_end();
    assert_eq!(ran.stdout, "1 1\n1\n", "{ran:?}");
}

#[test]
fn limits_oom_score_umask_and_capabilities_are_set_for_init_and_exec() {
    let lab = Lab::new();
    let text = "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj; umask; \
                grep Cap /proc/self/status; echo ready; exec sleep 600";
    let spec = script(text)
        .set("/process/rlimits/0/soft", 512)
        .set(
            "/process/rlimits/-",
            json!({"type": "RLIMIT_CORE", "soft": 0, "hard": 0}),
        )
        .set("/process/oomScoreAdj", 321)
        .set("/process/user/umask", 0o027);
    let mut c = container(&lab, &spec, Streams::OUTPUT);
    let pid = c.run();
    let init = c.read_until("ready");
    assert!(init.starts_with("512\n1024\n0\n321\n0027\n"), "{init}");
    let set = "00000000a80425fb";
    for key in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(procfs::field(pid, key).unwrap(), set, "{key}");
    }
    for key in ["CapInh", "CapAmb"] {
        assert_eq!(procfs::field(pid, key).unwrap(), "0".repeat(16), "{key}");
    }
    let exec = c.exec("e", ["sh", "-c", text.trim_end_matches("exec sleep 600")]);
    assert_eq!(format!("{}\n", init.trim()), exec.stdout, "{exec:?}");
}

#[test]
fn processes_are_in_their_cgroup() {
    let lab = Lab::new();
    let c = container(&lab, &mapped(["sleep", "600"]), Streams::OUTPUT);
    let pid = c.run();
    let stdio = c.add_exec("e", ["sleep", "600"]);
    let exec = c.try_start("e").unwrap();
    for pid in [pid, exec] {
        let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        for line in groups.lines().filter(|line| !line.ends_with(":/")) {
            assert!(line.ends_with(&c.cgroup()), "{groups}");
        }
        assert!(groups.contains(&c.cgroup()), "{groups}");
    }
    drop(stdio);
}

#[test]
fn cgroups_are_shown_and_cannot_be_changed() {
    let source = Path::new("cgroup");
    let options = ["ro", "nosuid", "noexec", "nodev"];
    let text = "find /sys/fs/cgroup -name cgroup.procs | grep -c .; \
                for d in $(find /sys/fs/cgroup -type d); do mkdir $d/x 2> /dev/null && echo made; done; \
                grep -c ' /sys/fs/cgroup[^ ]* .* ro,' /proc/mounts";
    let spec =
        script(text)
            .namespace("cgroup", None)
            .mount("cgroup", source, "/sys/fs/cgroup", &options);
    let seen = print(&spec);
    let counts: Vec<u32> = seen.lines().map(|line| line.parse().unwrap()).collect();
    assert!(
        counts.len() == 2 && counts.iter().all(|count| *count > 0),
        "{seen}"
    );
}

#[test]
fn propagation_of_the_root_is_as_asked_for_inside() {
    let text = "grep -c ' shared:' /proc/self/mountinfo; grep -c ' master:' /proc/self/mountinfo";
    for (kind, is_shared) in [("rslave", false), ("rprivate", false), ("rshared", true)] {
        let ran = run(&script(text).set("/linux/rootfsPropagation", kind));
        let shared = ran.stdout.lines().next().unwrap_or_default() != "0";
        assert_eq!(shared, is_shared, "{kind}: {ran:?}");
    }
}

#[test]
fn terminal_belongs_to_its_user() {
    let lab = Lab::new();
    let text = "tty; stat -c '%u %g' /dev/pts/0; echo hello > /dev/console; stty size; echo done";
    let spec = script(text)
        .user(5, 5)
        .terminal()
        .set("/process/consoleSize", json!({ "width": 80, "height": 25 }));
    let mut c = container(&lab, &spec, Streams::TERMINAL);
    c.run();
    let seen = c.read_until("done").replace('\r', "");
    assert_eq!(seen, "/dev/pts/0\n5 5\nhello\n25 80\ndone");
    assert_eq!(c.wait(), 0);
}

#[test]
fn standard_streams_can_be_opened_again() {
    let lab = Lab::new();
    let text = "echo out > /dev/stdout; echo err > /dev/stderr";
    let mut c = container(&lab, &script(text).user(1000, 1000), Streams::ALL);
    let ran = c.run_to_end();
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
    let c = container(&lab, &mapped(["sleep", "600"]), Streams::OUTPUT);
    c.run();
    let mut process = c.spec.process(["sh", "-c", text]);
    *process.pointer_mut("/user").unwrap() = json!({ "uid": 1000, "gid": 1000 });
    let ran = c.exec_process("e", &process);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn exec_has_the_containers_ids_and_nothing_of_the_host() {
    let lab = Lab::new();
    let c = container(&lab, &mapped(["sleep", "600"]), Streams::OUTPUT);
    let init = c.run();
    let mut process = c
        .spec
        .process(["sh", "-c", "id -u; ls /proc/self/fd; exec sleep 600"]);
    *process.pointer_mut("/user/uid").unwrap() = json!(1000);
    let mut stdio = c.add_exec_with("e", &process, Streams::OUTPUT);
    let pid = c.try_start("e").unwrap();
    let out = stdio.out.as_mut().unwrap();
    let seen = out.read_until(b"3\n", hull_e2e::limit()).unwrap();
    assert_eq!(String::from_utf8_lossy(&seen), "1000\n0\n1\n2\n3\n");
    let uids = procfs::field(pid, "Uid").unwrap();
    assert!(uids.starts_with("101000\t101000\t"), "{uids}");
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(pid), of(init), "{kind}");
        assert_ne!(of(pid), of(std::process::id()), "{kind}");
    }
}

#[test]
fn exec_as_a_user_that_is_not_mapped_is_refused_and_the_container_goes_on() {
    let lab = Lab::new();
    let c = container(&lab, &mapped(["sleep", "600"]), Streams::OUTPUT);
    c.run();
    let mut process = c.spec.process(["true"]);
    *process.pointer_mut("/user/uid").unwrap() = json!(SIZE);
    let (_stdio, result) = c.try_add_exec("e", &process, Streams::OUTPUT);
    let error = result.unwrap_err();
    is_one_clear_line(error.message(), &["process.user.uid", "65536"]);
    assert_eq!(c.exec("f", ["id", "-u"]).stdout, "0\n");
}

/// containerd gives the bundle's directory to the group of the container's root.
#[test]
fn hooks_run_as_in_any_container() {
    let lab = Lab::new();
    let dir = lab.dir().join("snapshots/hooks");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let spec = HookKind::ALL
        .iter()
        .fold(mapped(["sleep", "600"]), |spec, kind| {
            let inside = *kind == HookKind::StartContainer;
            let place = if inside {
                "/hooks"
            } else {
                dir.to_str().unwrap()
            };
            let text = format!("id -u > {place}/{}; pwd >> {place}/{0}", kind.key());
            spec.hook(*kind, "/bin/sh", &["sh", "-c", &text])
        });
    let spec = spec.mount("bind", &dir, "/hooks", &["rbind"]);
    let c = container(&lab, &spec, Streams::OUTPUT);
    fs::set_permissions(c.bundle.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(lab.dir().join("bundles"), fs::Permissions::from_mode(0o711)).unwrap();
    c.run();
    assert_eq!(
        c.exec("e", ["cat", "/hooks/startContainer"]).stdout,
        "0\n/\n"
    );
    c.kill_and_wait();
    c.delete().unwrap();
    for kind in HookKind::ALL {
        let file = dir.join(kind.key());
        let is_mapped = matches!(kind, HookKind::CreateContainer | HookKind::StartContainer);
        let owner = if is_mapped { ROOT } else { 0 };
        assert_eq!(fs::metadata(&file).unwrap().uid(), owner, "{kind:?}");
        assert!(fs::read_to_string(&file).unwrap().starts_with("0\n"));
    }
}

#[test]
fn wasm_runs_in_it() {
    let lab = Lab::wasm();
    for (program, out) in [
        ("/wasm/output.wasm", "out\n"),
        ("/wasm/output.wasm", "out\n"),
        ("/wasm/component.wasm", "hello from a component\n"),
    ] {
        let spec = mapped([program]).user(1000, 1000);
        let mut c = container(&lab, &spec, Streams::OUTPUT);
        let ran = c.run_to_end();
        assert_eq!((ran.status, ran.stdout.as_str()), (0, out), "{ran:?}");
    }
}

#[test]
fn wasm_serves_in_it() {
    let lab = Lab::wasm();
    let spec = mapped(["/wasm/http.wasm"]).user(1000, 1000);
    let c = container(&lab, &spec, Streams::OUTPUT);
    c.run();
    let next = AtomicU32::new(0);
    let hello = eventually("it answers", || {
        let client = ["wget", "-q", "-O", "-", "http://127.0.0.1:8080/"];
        let ran = c.exec(
            &format!("get{}", next.fetch_add(1, Ordering::Relaxed)),
            client,
        );
        (ran.status == 0).then_some(ran.stdout)
    });
    assert_eq!(hello, "hello from wasi:http 0.2\n");
    c.kill(15).unwrap();
    assert_eq!(c.wait(), 143);
}

/// containerd 1.6 copies the snapshot and gives it to the mapped ids.
#[test]
fn ctr_runs_a_remapped_image() {
    let case = Case::new();
    let map = format!("0:{ROOT}:{SIZE}");
    let flags = ["--uidmap", &map, "--gidmap", &map];
    let text = "stat -c %u:%g / /bin/busybox; touch /made; id -u; cat /proc/self/uid_map";
    let seen = case.run(&flags, &["sh", "-c", text]).ok();
    let words: Vec<&str> = seen.split_whitespace().collect();
    assert_eq!(words, ["0:0", "0:0", "0", "0", "100000", "65536"]);
    let id = case.run_detached(&flags, &["sleep", "600"]);
    assert_eq!(case.exec(&id, &["id", "-u"]).ok(), "0\n");
    let uids = procfs::field(case.pid(&id), "Uid").unwrap();
    assert!(uids.starts_with("100000\t"), "{uids}");
    case.remove(&id);
}
