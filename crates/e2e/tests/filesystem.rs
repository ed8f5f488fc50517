//! What a container sees of file systems and devices. The default spec is ctr's.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use hull_e2e::{Lab, Ran, Spec, block, read_output};

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

/// Runs it to its end in a world of its own.
fn run(spec: &Spec) -> Ran {
    let lab = Lab::new();
    let mut c = lab.container(spec);
    c.run_to_end()
}

/// What a script that must succeed prints.
#[track_caller]
fn print(spec: &Spec) -> String {
    let ran = run(spec);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

#[test]
fn masked_paths_are_empty() {
    // Not every kernel has each of them; where the host has nothing, nothing is hidden.
    let full = |path: &&str| {
        let path = Path::new(path);
        let entries = fs::read_dir(path).map_or(0, Iterator::count);
        let bytes = if path.is_file() {
            fs::read(path).map_or(0, |bytes| bytes.len())
        } else {
            0
        };
        entries + bytes > 0
    };
    let masked = [
        "/proc/keys",
        "/proc/timer_list",
        "/proc/scsi",
        "/proc/acpi",
        "/sys/firmware",
    ];
    let paths: Vec<&str> = masked.into_iter().filter(full).collect();
    assert!(!paths.is_empty(), "this host has nothing to hide");
    for path in paths {
        let text = format!("if [ -d {path} ]; then ls -A {path}; else cat {path}; fi");
        assert_eq!(print(&script(&text)), "", "{path}");
        let open = script(&text).set("/linux/maskedPaths", Vec::<String>::new());
        assert_ne!(print(&open), "", "{path} is empty without its mask too");
    }
}

#[test]
fn read_only_paths_refuse_writes() {
    let text = "echo 8192 >/proc/sys/kernel/msgmax";
    let ran = run(&script(text));
    assert!(
        ran.status != 0 && ran.stderr.contains("Read-only file system"),
        "{ran:?}"
    );
    let open = script(text).set("/linux/readonlyPaths", Vec::<String>::new());
    assert_eq!(run(&open).status, 0);
}

#[test]
fn sys_is_read_only() {
    let ran = run(&script("echo 0 >/sys/kernel/uevent_seqnum || mkdir /sys/x"));
    assert!(
        ran.status != 0 && ran.stderr.contains("Read-only file system"),
        "{ran:?}"
    );
}

#[test]
fn devices_are_the_default_ones_with_their_modes() {
    let text = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' $d; done; \
        for l in fd stdin stdout stderr ptmx; do readlink $l; done; ls";
    let seen = print(&script(text));
    let expected = [
        "null 1:3 666",
        "zero 1:5 666",
        "full 1:7 666",
        "random 1:8 666",
        "urandom 1:9 666",
        "tty 5:0 666",
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ];
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.get(..expected.len()), Some(&expected[..]), "{seen}");
    let mut names: Vec<&str> = lines.iter().skip(expected.len()).copied().collect();
    names.retain(|name| !matches!(*name, "core"));
    let all = [
        "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    assert_eq!(names, all);
}

#[test]
fn devices_work() {
    let text = "echo x >/dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c";
    assert_eq!(
        print(&script(text)).split_whitespace().collect::<Vec<_>>(),
        ["4", "4"]
    );
}

/// CAP_MKNOD is in the default set: what keeps a container from the host's devices is the filter.
/// The same open works once a rule allows it, so that it is the rule which is tested.
#[test]
fn device_rule_decides_what_can_be_opened() {
    let (major, minor) = host_device();
    let text = format!("mknod /tmp/d c {major} {minor} && exec 3</tmp/d && echo opened");
    let refused = run(&script(&text));
    assert!(
        refused.status != 0 && refused.stderr.contains("not permitted"),
        "{refused:?}"
    );
    let rule = serde_json::json!({
        "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm",
    });
    let allowed = run(&script(&text).resource("devices/-", rule));
    assert_eq!(
        (allowed.status, allowed.stdout.as_str()),
        (0, "opened\n"),
        "{allowed:?}"
    );
}

/// A character device that root of this host can open for reading.
fn host_device() -> (u64, u64) {
    // Not /dev/kmsg or /dev/mem: these ask for a capability too.
    let candidates = ["/dev/fuse", "/dev/loop-control", "/dev/hwrng", "/dev/rtc0"];
    let found = candidates
        .into_iter()
        .find(|path| fs::File::open(path).is_ok());
    let device = fs::metadata(found.unwrap()).unwrap().rdev();
    (nix::sys::stat::major(device), nix::sys::stat::minor(device))
}

#[test]
fn listed_device_is_made_with_its_mode_and_owner() {
    let device = serde_json::json!({
        "path": "/dev/mine", "type": "c", "major": 1, "minor": 3,
        "fileMode": 0o640, "uid": 12, "gid": 34,
    });
    let seen = print(
        &script("stat -c '%t:%T %a %u:%g' /dev/mine; echo x >/dev/mine")
            .set("/linux/devices/-", device),
    );
    assert_eq!(seen, "1:3 640 12:34\n");
}

#[test]
fn mountinfo_shows_no_path_of_the_host() {
    let lab = Lab::new();
    let mut c = lab.container(&script("cat /proc/self/mountinfo"));
    let seen = c.run_to_end().stdout;
    // The options of the root overlay name host directories whatever a runtime does.
    let others: Vec<&str> = seen
        .lines()
        .filter(|line| !line.contains(" / / "))
        .collect();
    assert!(others.len() >= 10, "{seen}");
    for line in others {
        assert!(!line.contains(lab.tag()), "{line}");
        let mount_point = line.split(' ').nth(4).unwrap();
        assert!(
            ["/proc", "/dev", "/sys", "/run"]
                .iter()
                .any(|dir| mount_point.starts_with(dir)),
            "{line}"
        );
    }
}

#[test]
fn old_root_is_gone() {
    let seen = print(&script(
        "ls -a / | tr '\\n' ' '; cat /proc/1/mounts | grep -c ' / '",
    ));
    assert!(seen.ends_with("1\n"), "more than one root: {seen}");
    assert!(!seen.contains("old") && !seen.contains("pivot"), "{seen}");
}

#[test]
fn root_is_not_shared_with_the_host() {
    let seen = print(&script("cat /proc/self/mountinfo"));
    for line in seen.lines() {
        assert!(!line.contains(" shared:"), "{line}");
    }
}

#[test]
fn read_only_root_with_writable_mounts() {
    let ran =
        run(&script("touch /run/x && touch /dev/shm/x && touch /x").set("/root/readonly", true));
    assert!(
        ran.status == 1 && ran.stderr.contains("Read-only file system"),
        "{ran:?}"
    );
}

#[test]
fn mount_options_are_applied() {
    let spec = script("grep ' /mnt/t ' /proc/self/mountinfo").mount(
        "tmpfs",
        Path::new("tmpfs"),
        "/mnt/t",
        &["nosuid", "nodev", "noexec", "ro", "size=64k", "mode=700"],
    );
    let seen = print(&spec);
    for option in ["ro", "nosuid", "nodev", "noexec", "size=64k", "mode=700"] {
        assert!(seen.contains(option), "{option}: {seen}");
    }
}

/// [`Mount.target`](https://github.com/containerd/containerd/blob/main/api/types/mount.proto): a place in the
/// root file system, which may be behind a link of the image.
#[test]
fn further_rootfs_mounts_lie_at_their_targets_with_their_options() {
    let lab = Lab::new();
    let mut c = lab.container(&script(
        "cat /parts/one/note /parts/two/note; touch /parts/one/new; touch /parts/two/new && echo made",
    ));
    let upper = c.upper();
    fs::create_dir(upper.join("real")).unwrap();
    std::os::unix::fs::symlink("/real", upper.join("parts")).unwrap();
    let mut request = c.create_request();
    for (name, access) in [("one", "ro"), ("two", "rw")] {
        let source = lab.dir().join(name);
        fs::create_dir(&source).unwrap();
        fs::write(source.join("note"), name).unwrap();
        let mut mount = containerd_shim_protos::api::Mount::new();
        mount.type_ = "bind".to_owned();
        mount.source = source.display().to_string();
        mount.target = format!("/parts/{name}");
        mount.options = vec!["rbind".to_owned(), access.to_owned()];
        request.rootfs.push(mount);
    }
    block(c.task.create(&request)).unwrap();
    c.start();
    let (stdout, stderr) = read_output(&mut c.stdio);
    c.wait();
    c.delete().unwrap();
    assert_eq!(stdout, "onetwomade\n");
    assert!(stderr.contains("/parts/one/new: Read-only"), "{stderr}");
    assert!(lab.dir().join("two/new").exists());
}
