//! What a hostile image, volume or process may try against the host. Each test names one way out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code: a panic is how a test fails"
)]

mod sight;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hull_e2e::{
    Container, HookKind, Lab, Spec, Streams, block, cgroup, is_one_clear_line, procfs, read_output,
    slowed, target,
};
use nix::sys::stat::Mode;
use serde_json::{Value, json};

/// How long a Create may take that has nothing to wait for.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Docker's fourteen, which the default spec asks for.
const DEFAULT_SET: &str = "00000000a80425fb";

/// In the order of their numbers (linux/capability.h).
const CAPABILITIES: &str = "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID \
    SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER \
    SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE \
    SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP \
    MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF \
    CHECKPOINT_RESTORE";
/// The sets of a spec that make up root's.
const SETS: [&str; 3] = ["bounding", "effective", "permitted"];

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// Every capability that this machine has to give.
fn with_all_capabilities(spec: Spec) -> Spec {
    let own = procfs::field(std::process::id(), "CapEff").unwrap();
    let own = u64::from_str_radix(&own, 16).unwrap();
    let names: Vec<String> = CAPABILITIES
        .split(' ')
        .enumerate()
        .filter(|(number, _)| own >> number & 1 == 1)
        .map(|(_, name)| format!("CAP_{name}"))
        .collect();
    SETS.iter().fold(spec, |spec, set| {
        spec.set(&format!("/process/capabilities/{set}"), names.clone())
    })
}

fn with_sys_admin(spec: Spec) -> Spec {
    SETS.iter().fold(spec, |spec, set| {
        spec.set(&format!("/process/capabilities/{set}/-"), "CAP_SYS_ADMIN")
    })
}

/// Takes the mount at exactly this destination out.
fn without_mount(spec: Spec, destination: &str) -> Spec {
    let mut mounts = spec.json()["mounts"].as_array().unwrap().clone();
    mounts.retain(|mount| mount["destination"] != destination);
    spec.set("/mounts", mounts)
}

fn volume(spec: Spec, source: &Path, destination: &str) -> Spec {
    spec.mount("bind", source, destination, &["rbind", "rw"])
}

/// The upper directory of a container's overlay: what is put there before Create is the image's.
fn image(lab: &Lab, c: &Container<'_>) -> PathBuf {
    let dir = lab.dir().join("snapshots").join(&c.id).join("fs");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A new directory of the host.
fn host_dir(lab: &Lab, name: &str) -> PathBuf {
    let dir = lab.dir().join(name);
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn put(dir: &Path, file: &str, text: &str) -> PathBuf {
    let path = dir.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn put_program(dir: &Path, file: &str, text: &str) {
    let path = put(dir, file, text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn put_fifo(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o755)).unwrap();
    // The umask may have taken bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Creates within the limit, or fails the test.
#[track_caller]
fn create_at_once(c: &Container<'_>) -> Result<u32, String> {
    let request = c.create_request();
    let limit = slowed(AT_ONCE);
    let created = block(async { tokio::time::timeout(limit, c.task.create(&request)).await });
    let created = created.unwrap_or_else(|_elapsed| panic!("no answer within {limit:?}"));
    created.map_err(|error| error.message().to_owned())
}

/// Create fails at once with one clear line.
#[track_caller]
fn refused(c: &Container<'_>, parts: &[&str]) {
    match create_at_once(c) {
        Err(text) => is_one_clear_line(&text, parts),
        Ok(pid) => panic!("it was created, pid {pid}"),
    }
}

/// After a refusal the same shim must take a good container.
#[track_caller]
fn still_works(c: &Container<'_>) {
    c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
    create_at_once(c).unwrap();
    c.start();
    assert_eq!(c.wait(), 4);
}

/// `true` and the like, many times, without streams.
fn exec_many(c: &Container<'_>, count: u32, args: &[&str]) {
    let process = c.spec.process(args.iter().copied());
    for number in 0..count {
        let exec = format!("e{number}");
        drop(c.add_exec_with(&exec, &process, Streams::NONE));
        // A program made to fail may fail to start.
        if c.try_start(&exec).is_ok() {
            c.wait_exec(&exec);
        }
        block(c.task.delete(&c.id, &exec)).unwrap();
    }
}

#[test]
fn volume_that_a_link_puts_on_proc_keeps_no_capability() {
    let lab = Lab::new();
    let fake = host_dir(&lab, "fake");
    put(&fake, "sys/kernel/cap_last_cap", "0\n");
    let c = lab.container(&volume(sleeper(), &fake, "/data"));
    symlink("/proc", image(&lab, &c).join("data")).unwrap();
    match create_at_once(&c) {
        Err(text) => is_one_clear_line(&text, &["/data"]),
        Ok(pid) => {
            c.start();
            let bounding = procfs::field(pid, "CapBnd");
            assert_eq!(bounding.as_deref(), Some(DEFAULT_SET));
        }
    }
}

/// runc cannot run without a /proc.
#[test]
fn image_that_ships_a_proc_keeps_no_capability() {
    if !target::is_hull() {
        eprintln!("runc needs a /proc: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&without_mount(sleeper(), "/proc"));
    put(&image(&lab, &c), "proc/sys/kernel/cap_last_cap", "0\n");
    let pid = c.run();
    let bounding = |pid| procfs::field(pid, "CapBnd").unwrap();
    assert_eq!(bounding(pid), DEFAULT_SET);
    let process = c.spec.process(["sleep", "600"]);
    drop(c.add_exec_with("e", &process, Streams::NONE));
    let exec = c.try_start("e").unwrap();
    assert_eq!(bounding(exec), DEFAULT_SET, "exec");
    c.kill_and_wait();
    c.wait_exec("e");
}

#[test]
fn covered_cap_last_cap_keeps_no_capability_for_an_exec() {
    let lab = Lab::new();
    let cover = "echo 0 >/zero; mount -o bind /zero /proc/sys/kernel/cap_last_cap && echo covered; \
        exec sleep 600";
    let mut c = lab.container(&with_sys_admin(script(cover)));
    c.run();
    c.read_until("covered");
    let ran = c.exec(
        "e",
        ["cat", "/proc/sys/kernel/cap_last_cap", "/proc/self/status"],
    );
    assert!(ran.stdout.starts_with("0\n"), "{ran:?}");
    assert_eq!(
        procfs::status_field(&ran.stdout, "CapBnd"),
        Some("00000000a82425fb")
    );
}

#[test]
fn mount_through_a_link_onto_proc_is_refused() {
    let links = [
        ("/proc", "/data"),
        ("../../proc/.", "/data"),
        ("/proc/sys", "/data/kernel"),
        ("/proc/self", "/data/attr"),
    ];
    for (link, destination) in links {
        for kind in ["bind", "tmpfs"] {
            let lab = Lab::new();
            let source = host_dir(&lab, "source");
            let (source, options) = if kind == "bind" {
                (source.as_path(), ["rbind", "rw"])
            } else {
                (Path::new("tmpfs"), ["nosuid", "nodev"])
            };
            let c = lab.container(&sleeper().mount(kind, source, destination, &options));
            symlink(link, image(&lab, &c).join("data")).unwrap();
            eprintln!("{kind} on {destination}, /data is a link to {link}");
            refused(&c, &[destination]);
        }
    }
}

/// Any other could hold files of the image's making. runc lets a tmpfs pass.
#[test]
fn only_a_procfs_can_be_mounted_on_proc() {
    let lab = Lab::new();
    let fake = host_dir(&lab, "fake");
    put(&fake, "sys/kernel/cap_last_cap", "0\n");
    let overlay = format!("lowerdir={0}:{0}/sys", fake.display());
    for (kind, source, option) in [
        ("tmpfs", Path::new("tmpfs"), "nosuid"),
        ("overlay", Path::new("overlay"), overlay.as_str()),
        ("bind", fake.as_path(), "rbind"),
    ] {
        let spec = without_mount(sleeper(), "/proc").mount(kind, source, "/proc", &[option]);
        eprintln!("{kind} of {}", source.display());
        refused(&lab.container(&spec), &["/proc"]);
    }
}

#[test]
fn mount_over_the_attributes_of_a_process_is_refused() {
    for destination in ["/proc/self/attr", "/proc/./self/attr", "/sys/../proc/1"] {
        let lab = Lab::new();
        let spec = sleeper().mount("tmpfs", Path::new("tmpfs"), destination, &["nosuid"]);
        refused(&lab.container(&spec), &["/proc"]);
    }
}

#[test]
fn cgroup_of_no_valid_name_is_removed() {
    let make = r#"
        name=$(printf 'a\377')
        if [ -e /sys/fs/cgroup/cgroup.procs ]; then set -- /sys/fs/cgroup/
        else set -- /sys/fs/cgroup/*/; fi
        sleep 600 &
        for dir; do
          mkdir "$dir$name" 2>/dev/null && echo $! >"$dir$name/cgroup.procs"
        done 2>/dev/null
        echo ready; wait"#;
    let lab = Lab::new();
    let options = ["nosuid", "noexec", "nodev", "rw"];
    let spec = script(make).mount("cgroup", Path::new("cgroup"), "/sys/fs/cgroup", &options);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready");
    let groups = || cgroup::directories_naming(&c.cgroup());
    let odd = groups()
        .into_iter()
        .filter(|dir| dir.as_os_str().as_bytes().contains(&0xff));
    assert!(odd.count() > 0, "none was made: {:?}", groups());
    c.kill_and_wait();
    c.delete().unwrap();
    assert_eq!(groups(), Vec::<PathBuf>::new());
}

/// runc only finds out at Start.
#[test]
fn fifo_as_program_fails_at_create() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["/fifo"]));
    put_fifo(&image(&lab, &c).join("fifo"));
    refused(&c, &["/fifo"]);
    still_works(&c);
}

/// runc waits for a writer for ever.
#[test]
fn fifo_as_passwd_does_not_hold_up_start() {
    let lab = Lab::new();
    let mut c = lab.container(&script("echo $HOME"));
    put_fifo(&image(&lab, &c).join("etc/passwd"));
    create_at_once(&c).unwrap();
    let limit = slowed(AT_ONCE);
    let started = block(async { tokio::time::timeout(limit, c.task.start(&c.id, "")).await });
    started.unwrap().unwrap();
    assert_eq!(read_output(&mut c.stdio).0, "/\n");
    assert_eq!(c.wait(), 0);
}

#[test]
fn fifo_as_namespace_does_not_hold_up_the_shim() {
    for kind in ["pid", "network"] {
        let lab = Lab::new();
        let fifo = lab.dir().join("fifo");
        put_fifo(&fifo);
        let c = lab.container(&sleeper().namespace(kind, Some(&fifo)));
        refused(&c, &[fifo.to_str().unwrap()]);
        still_works(&c);
    }
}

#[test]
fn long_state_reaches_the_hooks_inside_whole() {
    let lab = Lab::new();
    let dir = host_dir(&lab, "hooks");
    let path = dir.to_str().unwrap();
    let long = "x".repeat(1000);
    let spec = (0..300).fold(volume(sleeper(), &dir, path), |spec, number| {
        spec.annotation(&format!("org.example.{number}"), &long)
    });
    let inside = [HookKind::CreateContainer, HookKind::StartContainer];
    let spec = inside.into_iter().fold(spec, |spec, kind| {
        let save = format!("cat >{path}/{}", kind.key());
        spec.hook(kind, "/bin/sh", &["sh", "-c", &save])
    });
    let c = lab.container(&spec);
    c.run();
    for kind in inside {
        let state = fs::read(dir.join(kind.key())).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        assert!(
            state["annotations"] == spec.json()["annotations"],
            "{kind:?}: other annotations"
        );
        assert_eq!(state["id"], c.id);
    }
}

/// Opens the program of the newest process to read, and once that process is gone, and nothing
/// says "text file busy" any more, the same file to append.
const OPEN_PROGRAMS: &str = r#"
try() {
  [ /proc/self/fd/3 -ef /bin/busybox ] && return
  echo $1 >>/out/seen
  while [ -e /proc/$1/exe ]; do :; done
  for i in 1 2 3; do true >>/proc/self/fd/3 && echo $1 >>/out/opened; done
}
race() {
  while :; do
    read -r _ _ _ _ last </proc/loadavg
    for n in $last $((last + 1)); do
      [ $n -gt 3 ] && { try $n; } 3</proc/$n/exe
    done
  done 2>/dev/null
}
race & race &
echo ready
wait
"#;

/// CVE-2019-5736.
#[test]
fn racer_cannot_open_the_hosts_binary_for_writing() {
    let before = fs::read(target::shim_binary()).unwrap();
    let lab = Lab::new();
    let out = host_dir(&lab, "out");
    let spec = with_all_capabilities(script(OPEN_PROGRAMS)).set("/process/noNewPrivileges", false);
    let mut c = lab.container(&volume(spec, &out, "/out"));
    // The kernel runs whatever "itself" is at that moment: the runtime.
    put_program(&image(&lab, &c), "evil", "#!/proc/self/exe\n");
    c.run();
    c.read_until("ready");
    exec_many(&c, 100, &["/evil"]);
    c.kill_and_wait();
    let read = |file| fs::read_to_string(out.join(file)).unwrap_or_default();
    assert!(read("seen").lines().count() > 10, "nearly nothing was seen");
    assert_eq!(read("opened"), "", "processes whose program was opened");
    let same = fs::read(target::shim_binary()).unwrap() == before;
    assert!(same, "the host's binary has changed");
}

#[test]
fn entrypoint_that_is_the_runtime_itself_harms_nobody() {
    let before = fs::read(target::shim_binary()).unwrap();
    let lab = Lab::new();
    let c = lab.container(&with_all_capabilities(Spec::new(["/evil"])));
    put_program(&image(&lab, &c), "evil", "#!/proc/self/exe\n");
    // Whether it starts does not matter, but it must end.
    if c.try_create().is_ok() && c.try_start("").is_ok() {
        c.wait();
    }
    assert!(fs::read(target::shim_binary()).unwrap() == before);
}

/// CVE-2024-21626.
#[test]
fn inherited_descriptor_is_no_working_directory() {
    for number in 3..=12 {
        let lab = Lab::new();
        let cwd = format!("/proc/self/fd/{number}");
        let c = lab.container(&sleeper().cwd(&cwd));
        refused(&c, &[if target::is_hull() { &cwd } else { "" }]);
    }
}

#[test]
fn inherited_descriptor_is_no_working_directory_of_an_exec() {
    let lab = Lab::new();
    let c = lab.container(&sleeper());
    c.run();
    for number in 3..=12 {
        let cwd = format!("/proc/self/fd/{number}");
        let exec = format!("e{number}");
        let mut process = c.spec.process(["pwd"]);
        process["cwd"] = json!(cwd);
        drop(c.add_exec_with(&exec, &process, Streams::NONE));
        let error = c.try_start(&exec).unwrap_err();
        is_one_clear_line(
            error.message(),
            &[if target::is_hull() { &cwd } else { "" }],
        );
        block(c.task.delete(&c.id, &exec)).unwrap();
    }
}

/// Content, mode, owner and kind of a file of the host.
fn look_at(path: &Path) -> (String, u32, u32, u64) {
    let meta = fs::symlink_metadata(path).unwrap();
    let text = fs::read_to_string(path).unwrap();
    (text, meta.mode(), meta.uid(), meta.rdev())
}

/// Creates from an image that `prepare` changes. If it runs, what is masked must be hidden.
#[track_caller]
fn masks_hold_or_it_is_refused(lab: &Lab, spec: &Spec, prepare: impl FnOnce(&Path)) {
    let mut c = lab.container(spec);
    prepare(&image(lab, &c));
    match create_at_once(&c) {
        Err(text) => is_one_clear_line(&text, &[]),
        Ok(_) => {
            c.start();
            let seen = c.read_until("end");
            assert_eq!(seen.trim_end(), "end", "/proc/keys is not hidden");
            c.wait();
        }
    }
}

/// Shows what /proc/keys, a masked path, holds.
fn keys() -> Spec {
    assert_ne!(fs::read_to_string("/proc/keys").unwrap(), "");
    script("cat /proc/keys; echo end")
}

#[test]
fn dev_that_is_a_link_leads_to_nothing_of_the_host() {
    for spec in [keys(), without_mount(keys(), "/dev")] {
        let lab = Lab::new();
        let host = host_dir(&lab, "host");
        put(&host, "keep", "marker");
        masks_hold_or_it_is_refused(&lab, &spec, |image| {
            symlink(&host, image.join("dev")).unwrap();
        });
        let names: Vec<_> = fs::read_dir(&host)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["keep"]);
    }
}

#[test]
fn null_that_is_a_link_leads_to_nothing_of_the_host() {
    let lab = Lab::new();
    let file = put(lab.dir(), "marker", "marker");
    let before = look_at(&file);
    masks_hold_or_it_is_refused(&lab, &without_mount(keys(), "/dev"), |image| {
        fs::create_dir_all(image.join("dev")).unwrap();
        symlink(&file, image.join("dev/null")).unwrap();
    });
    assert_eq!(look_at(&file), before);
}

/// CVE-2025-31133: what the image calls /dev/null would be bound over what is to be hidden.
#[test]
fn null_that_is_a_file_hides_no_less() {
    let lab = Lab::new();
    masks_hold_or_it_is_refused(&lab, &without_mount(keys(), "/dev"), |image| {
        put(image, "dev/null", "fake\n");
    });
}

#[test]
fn console_that_is_a_link_leads_to_nothing_of_the_host() {
    // Either the image's own /dev or a volume on it has the link.
    for of_image in [true, false] {
        let lab = Lab::new();
        let file = put(lab.dir(), "marker", "marker");
        let before = look_at(&file);
        let dev = host_dir(&lab, "volume");
        let spec = without_mount(keys(), "/dev").terminal();
        let spec = if of_image {
            spec
        } else {
            let mount = json!({
                "destination": "/dev", "type": "bind", "source": dev, "options": ["rbind", "rw"],
            });
            let mut mounts = spec.json()["mounts"].as_array().unwrap().clone();
            mounts.insert(1, mount);
            spec.set("/mounts", mounts)
        };
        symlink(&file, dev.join("console")).unwrap();
        masks_hold_or_it_is_refused(&lab, &spec, |image| {
            fs::create_dir_all(image.join("dev")).unwrap();
            symlink(&file, image.join("dev/console")).unwrap();
        });
        assert_eq!(look_at(&file), before);
        assert_eq!(procfs::mounts_naming(file.to_str().unwrap()), [""; 0]);
    }
}

#[test]
fn proc_that_is_a_link_is_refused() {
    for inside in [true, false] {
        let lab = Lab::new();
        let host = host_dir(&lab, "host");
        put(&host, "keep", "marker");
        let c = lab.container(&sleeper());
        let aim = if inside { Path::new("/tmp") } else { &host };
        symlink(aim, image(&lab, &c).join("proc")).unwrap();
        refused(&c, &["/proc"]);
        assert_eq!(fs::read_dir(&host).unwrap().count(), 1);
    }
}
