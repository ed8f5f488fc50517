//! Specs that are legal and rare: each once broke something in some runtime.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use hull_e2e::{Container, HookKind, Lab, Ran, Spec, Streams, block, eventually, procfs, target};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// What a script that must succeed prints.
#[track_caller]
fn print(spec: &Spec) -> String {
    let lab = Lab::new();
    let mut c = lab.container(spec);
    print_of(c.run_to_end())
}

#[track_caller]
fn print_of(ran: Ran) -> String {
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

fn with_sys_admin(spec: Spec) -> Spec {
    ["bounding", "effective", "permitted"]
        .into_iter()
        .fold(spec, |spec, kind| {
            spec.set(&format!("/process/capabilities/{kind}/-"), "CAP_SYS_ADMIN")
        })
}

fn mounts(spec: &Spec) -> Vec<Value> {
    spec.json()["mounts"].as_array().unwrap().clone()
}

/// Takes the mounts at and below this destination out.
fn without_mounts(spec: Spec, destination: &str) -> Spec {
    let mut mounts = mounts(&spec);
    mounts.retain(|mount| {
        let at = Path::new(mount["destination"].as_str().unwrap());
        !at.starts_with(destination)
    });
    spec.set("/mounts", mounts)
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

/// The upper directory of a container's overlay: what is put there before Create is the image's.
fn image(lab: &Lab, c: &Container<'_>) -> PathBuf {
    let dir = lab.dir().join("snapshots").join(&c.id).join("fs");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A tmpfs of this test in the host's mount namespace; it goes with all that is mounted on it.
struct HostMount(PathBuf);

impl HostMount {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        mount(
            Some("tmpfs"),
            &dir,
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        Self(dir)
    }

    /// One whose mounts others are told of.
    fn shared(dir: PathBuf) -> Self {
        let made = Self::new(dir);
        let none = None::<&str>;
        mount(none, &made.0, none, MsFlags::MS_SHARED, none).unwrap();
        made
    }
}

impl Drop for HostMount {
    fn drop(&mut self) {
        for point in procfs::mount_points_naming(self.0.to_str().unwrap()) {
            // What is already gone is as good; the leak check tells what is not.
            let _gone = umount2(&point, MntFlags::MNT_DETACH);
        }
    }
}

/// A container that mounts something below a volume, seen from both sides: whether its own mount
/// came out to the host and whether the host's came in.
fn propagation(kind: &str) -> (bool, bool) {
    let lab = Lab::new();
    let volume = HostMount::shared(lab.dir().join("volume"));
    let recursive = format!("r{kind}");
    let make = "mkdir /data/inside && mount -t tmpfs tmpfs /data/inside && echo ready; \
        exec sleep 600";
    let spec = with_sys_admin(script(make))
        .set("/linux/rootfsPropagation", recursive.as_str())
        .mount("bind", &volume.0, "/data", &["rbind", "rw", &recursive]);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready");
    let out = !procfs::mounts_naming(&format!("{}/inside", volume.0.display())).is_empty();
    let later = HostMount::new(volume.0.join("outside"));
    let seen = c.exec("e", ["cat", "/proc/self/mountinfo"]).stdout;
    let into = seen.contains(" /data/outside ");
    drop(later);
    c.kill_and_wait();
    c.delete().unwrap();
    (out, into)
}

#[test]
fn shared_volume_passes_mounts_both_ways() {
    assert_eq!(propagation("shared"), (true, true));
}

#[test]
fn slave_volume_passes_mounts_inwards_only() {
    assert_eq!(propagation("slave"), (false, true));
}

#[test]
fn private_volume_passes_no_mounts() {
    assert_eq!(propagation("private"), (false, false));
}

/// A cgroup that hands a controller down must have no processes (cgroups(7), "no internal
/// processes"): an exec cannot be born there. runc cannot limit huge pages where they are counted in
/// the unified hierarchy beside those of v1.
#[test]
fn exec_works_in_a_container_that_divides_its_cgroup() {
    let divide = "cd /sys/fs/cgroup; [ -d unified ] && cd unified; mkdir sub; \
        echo $$ >sub/cgroup.procs; read -r first rest <cgroup.controllers; \
        echo +$first >cgroup.subtree_control && echo ready; exec sleep 600";
    let limits = json!([{ "pageSize": "2MB", "limit": 1 << 30 }]);
    let options = ["nosuid", "noexec", "nodev", "rw"];
    let spec = script(divide).resource("hugepageLimits", limits).mount(
        "cgroup",
        Path::new("cgroup"),
        "/sys/fs/cgroup",
        &options,
    );
    let lab = Lab::new();
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready");
    let ran = c.exec("e", ["cat", "/proc/self/cgroup"]);
    let unified = print_of(ran);
    let unified = unified
        .lines()
        .find(|line| line.starts_with("0::"))
        .unwrap();
    assert!(unified.ends_with("/sub"), "{unified}");
}

#[test]
fn hook_inside_has_an_ordinary_umask_and_the_bundle_as_its_directory() {
    let lab = Lab::new();
    let dir = host_dir(&lab, "hooks");
    let path = dir.to_str().unwrap();
    let tell = format!("umask >{path}/umask; pwd >{path}/pwd; touch {path}/file");
    let spec = sleeper().mount("bind", &dir, path, &["rbind", "rw"]);
    let args = ["sh", "-c", &tell];
    let c = lab.container(&spec.hook(HookKind::CreateContainer, "/bin/sh", &args));
    c.create();
    let read = |file| fs::read_to_string(dir.join(file)).unwrap();
    assert_eq!(read("umask"), "0022\n");
    assert_eq!(read("pwd"), format!("{}\n", c.bundle.path().display()));
    let mode = fs::metadata(dir.join("file")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
}

/// The session keyrings of this name: a second one would be that of the exec alone.
fn keyrings(keys: &str, name: &str) -> Vec<String> {
    let wanted = format!(" _ses.{name}:");
    let of_name = keys.lines().filter(|line| line.contains(&wanted));
    of_name
        .filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

#[test]
fn exec_joins_the_session_keyring_of_the_container() {
    let lab = Lab::new();
    // The kernel finds keyrings by name, whoever made them.
    let id = format!("{}-keys", lab.tag());
    let spec = script("cat /proc/keys; echo end; exec sleep 600")
        .set("/linux/maskedPaths", Vec::<String>::new());
    let mut c = lab.container_named(&id, &spec);
    c.run();
    let of_init = keyrings(&c.read_until("end"), &id);
    let of_exec = keyrings(&c.exec("e", ["cat", "/proc/keys"]).stdout, &id);
    assert_eq!(of_init.len(), 1, "{of_init:?}");
    assert_eq!(of_exec, of_init);
}

#[test]
fn overlay_with_a_long_list_of_layers() {
    let lab = Lab::new();
    let layers: Vec<String> = (0..4)
        .map(|number| {
            let name = format!("layer{number}-{}", "x".repeat(90));
            put(&host_dir(&lab, &name), &format!("file{number}"), "");
            lab.dir().join(name).display().to_string()
        })
        .collect();
    let lower = format!("lowerdir={}", layers.join(":"));
    assert!(lower.len() > 400);
    let overlay = Path::new("overlay");
    let spec = script("cd /mnt/o; echo *").mount("overlay", overlay, "/mnt/o", &[&lower]);
    let mut c = lab.container(&spec);
    assert_eq!(print_of(c.run_to_end()), "file0 file1 file2 file3\n");
}

#[test]
fn variable_given_twice_has_its_last_value_once() {
    let spec = Spec::new(["cat", "/proc/self/environ"])
        .env("A", "1")
        .env("B", "2")
        .env("A", "3");
    let seen = print(&spec);
    let of = |name: &str| -> Vec<&str> {
        let lines = seen.split('\0');
        lines.filter(|line| line.starts_with(name)).collect()
    };
    assert_eq!(of("A="), ["A=3"]);
    assert_eq!(of("B="), ["B=2"]);
}

#[test]
fn empty_home_is_that_of_passwd() {
    let seen = print(&Spec::new(["cat", "/proc/self/environ"]).env("HOME", ""));
    let homes: Vec<&str> = seen
        .split('\0')
        .filter(|line| line.starts_with("HOME="))
        .collect();
    assert_eq!(homes, ["HOME=/root"]);
}

#[test]
fn what_a_tmpfs_covers_is_copied_up_as_it_is() {
    let look = "cd /copy; stat -c '%n %F %a %u:%g' . file dir dir/deep link; \
        cat file; readlink link; grep -c ' /copy .*tmpfs' /proc/self/mountinfo";
    let options = ["nosuid", "tmpcopyup", "size=64k"];
    let spec = script(look).mount("tmpfs", Path::new("tmpfs"), "/copy", &options);
    let lab = Lab::new();
    let host = put(lab.dir(), "marker", "of the host");
    let mut c = lab.container(&spec);
    let copy = image(&lab, &c).join("copy");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let file = put(&copy, "file", "text\n");
    chown(&file, Some(12), Some(34)).unwrap();
    mode(&file, 0o4640);
    let deep = put(&copy, "dir/deep", "");
    mode(&deep, 0o600);
    chown(copy.join("dir"), Some(5), Some(6)).unwrap();
    mode(&copy.join("dir"), 0o1711);
    symlink(&host, copy.join("link")).unwrap();
    mode(&copy, 0o750);
    let seen = print_of(c.run_to_end());
    let expected = [
        ". directory 750 0:0",
        "file regular file 4640 12:34",
        "dir directory 1711 5:6",
        "dir/deep regular empty file 600 0:0",
        "link symbolic link 777 0:0",
        "text",
        host.to_str().unwrap(),
        "1",
    ];
    assert_eq!(seen.lines().collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_to_string(&host).unwrap(), "of the host");
}

/// A link at the destination itself leads to the container's own directory of that name.
#[test]
fn nothing_of_the_host_is_copied_up_through_a_link() {
    let spec = script("cd /copy; ls -A").mount(
        "tmpfs",
        Path::new("tmpfs"),
        "/copy",
        &["nosuid", "tmpcopyup"],
    );
    let lab = Lab::new();
    let host = host_dir(&lab, "host");
    put(&host, "secret", "of the host");
    let mut c = lab.container(&spec);
    symlink(&host, image(&lab, &c).join("copy")).unwrap();
    // It may also be refused.
    if c.try_create().is_ok() {
        c.start();
        let (stdout, _) = hull_e2e::read_output(&mut c.stdio);
        assert_eq!(stdout, "");
        c.wait();
    }
    assert_eq!(fs::read_dir(&host).unwrap().count(), 1);
}

#[test]
fn few_files_are_enough() {
    let limit = json!([{ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 10 }]);
    let spec = script("ulimit -n; echo $HOME").set("/process/rlimits", limit);
    assert_eq!(print(&spec), "10\n/root\n");
    // The program itself needs none to be found, but passwd one to be read.
    let none = json!([{ "type": "RLIMIT_NOFILE", "soft": 3, "hard": 3 }]);
    let spec = script("ulimit -n; echo $HOME").set("/process/rlimits", none);
    assert_eq!(print(&spec), "3\n/\n");
}

/// runc looks for a user of that name first.
#[test]
fn number_of_a_user_is_not_looked_up_as_a_name() {
    let lab = Lab::new();
    let mut c = lab.container(&script("id -u; id -g; echo $HOME").user(1000, 1000));
    put(
        &image(&lab, &c),
        "etc/passwd",
        "1000:x:0:0::/evil:/bin/sh\n",
    );
    assert_eq!(print_of(c.run_to_end()), "1000\n1000\n/\n");
}

/// Whatever the image makes of passwd, it is read with the user's rights: with the host's it could be a
/// way to every file of the kernel's.
#[test]
fn passwd_that_only_root_may_read_gives_a_user_no_home() {
    let lab = Lab::new();
    let spec = script("echo $HOME")
        .user(1000, 1000)
        .unset("/process/capabilities");
    let mut c = lab.container(&spec);
    let passwd = image(&lab, &c).join("etc/passwd");
    let line = "hull:x:1000:1000:hull:/home/hull:/bin/sh\n";
    put(&image(&lab, &c), "etc/passwd", line);
    fs::set_permissions(&passwd, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(print_of(c.run_to_end()), "/\n");
    let mut c = lab.container(&spec);
    put(&image(&lab, &c), "etc/passwd", line);
    assert_eq!(print_of(c.run_to_end()), "/home/hull\n");
}

#[test]
fn endless_path_of_a_namespace_is_one_clear_error() {
    let lab = Lab::new();
    let path = format!("/run/{}", "n".repeat(70_000));
    let c = lab.container(&sleeper().namespace("network", Some(Path::new(&path))));
    let error = c.try_create().unwrap_err();
    let text = error.message();
    let begin: String = format!("{error:?}").chars().take(500).collect();
    assert!(text.contains("namespace"), "{begin}");
    if target::is_hull() {
        assert!(text.len() < 2000 && !text.contains('\n'), "{}", text.len());
        assert!(text.contains("network namespace"), "{text}");
        assert!(text.ends_with("file name too long"), "{text}");
    }
    c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
    c.run();
    assert_eq!(c.wait(), 4);
}

/// Both words of a shell on whether a directory can be written to.
fn can_write(dirs: &[&str]) -> String {
    let tries = dirs.iter().map(|dir| {
        format!("if touch {dir}/new 2>/dev/null; then echo {dir} rw; else echo {dir} ro; fi; ")
    });
    tries.collect()
}

#[test]
fn read_only_tmpfs_and_dev_have_all_that_belongs_in_them() {
    let mut all = mounts(&sleeper());
    let dev = all.iter_mut().find(|mount| mount["destination"] == "/dev");
    dev.unwrap()["options"] = json!(["nosuid", "strictatime", "mode=755", "ro"]);
    let look = format!(
        "{} [ -d /mnt/t/below ] && echo x >/dev/null && stat -c %t:%T /dev/zero && touch /dev/shm/x",
        can_write(&["/mnt/t", "/dev", "/mnt/t/below"])
    );
    let tmpfs = Path::new("tmpfs");
    let spec = script(&look)
        .set("/mounts", all)
        .mount("tmpfs", tmpfs, "/mnt/t", &["ro", "size=64k"])
        .mount("tmpfs", tmpfs, "/mnt/t/below", &["size=64k"]);
    assert_eq!(print(&spec), "/mnt/t ro\n/dev ro\n/mnt/t/below rw\n1:5\n");
}

#[test]
fn file_is_bound_on_a_file_that_is_made() {
    let lab = Lab::new();
    let file = put(lab.dir(), "config", "from the host\n");
    let spec = script("cat /etc/some/where/config; echo x >/etc/some/where/config").mount(
        "bind",
        &file,
        "/etc/some/where/config",
        &["bind", "ro"],
    );
    let mut c = lab.container(&spec);
    let ran = c.run_to_end();
    assert_eq!(ran.stdout, "from the host\n", "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "from the host\n");
}

#[test]
fn recursively_read_only_reaches_what_is_mounted_below() {
    let lab = Lab::new();
    let source = host_dir(&lab, "source");
    let below = HostMount::new(source.join("below"));
    let spec = script(&can_write(&["/top", "/top/below", "/all", "/all/below"]))
        .mount("bind", &source, "/top", &["rbind", "ro"])
        .mount("bind", &source, "/all", &["rbind", "rro"]);
    let mut c = lab.container(&spec);
    assert_eq!(
        print_of(c.run_to_end()),
        "/top ro\n/top/below rw\n/all ro\n/all/below ro\n"
    );
    drop(c);
    drop(below);
}

#[test]
fn relative_destination_counts_from_the_root() {
    let spec = script("grep -c ' /mnt/relative ' /proc/self/mountinfo")
        .cwd("/tmp")
        .mount("tmpfs", Path::new("tmpfs"), "mnt/relative", &["nosuid"]);
    assert_eq!(print(&spec), "1\n");
}

#[test]
fn spec_without_dev_runs() {
    let spec = without_mounts(script("echo fine"), "/dev");
    assert_eq!(print(&spec), "fine\n");
}

/// runc itself needs the container's /proc.
#[test]
fn spec_without_proc_runs() {
    if !target::is_hull() {
        eprintln!("runc needs a /proc: nothing is proved");
        return;
    }
    let lab = Lab::new();
    let c = lab.container(&without_mounts(sleeper(), "/proc"));
    c.run();
    assert_eq!(
        print_of(c.exec("e", ["sh", "-c", "ls -A /proc; id -u"])),
        "0\n"
    );
}

/// Two containers of one pod; the second lives in the namespaces of the first.
struct Pod<'lab> {
    first: Container<'lab>,
    second: Container<'lab>,
    socket: PathBuf,
}

impl<'lab> Pod<'lab> {
    fn run(lab: &'lab Lab) -> Self {
        const GROUP: &str = "io.kubernetes.cri.sandbox-id";
        let group = format!("{}-pod", lab.tag());
        let first = lab.container(&sleeper().annotation(GROUP, &group));
        let pid = first.run();
        let kinds = [
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("pid", "pid"),
        ];
        let spec = sleeper().annotation(GROUP, &group);
        let spec = kinds.into_iter().fold(spec, |spec, (kind, file)| {
            let path = format!("/proc/{pid}/ns/{file}");
            spec.namespace(kind, Some(Path::new(&path)))
        });
        let second = lab.container(&spec);
        put(&image(lab, &second), "only-here", "");
        let other = second.run();
        for (_, file) in kinds {
            let link = |pid| fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
            assert_eq!(link(other), link(pid), "{file}");
        }
        assert_eq!(second.address, first.address);
        assert_eq!(second.shim_pid(), first.shim_pid());
        let socket = lab.socket(&group);
        assert!(socket.exists());
        Self {
            first,
            second,
            socket,
        }
    }

    fn shutdown(&self, c: &Container<'_>) {
        // It answers whether or not it is the time.
        block(c.task.shutdown(&c.id)).unwrap();
    }

    fn is_gone(&self) {
        self.first.wait_for_daemon();
        eventually("the socket is gone", || {
            (!self.socket.exists()).then_some(())
        });
    }
}

#[test]
fn second_of_a_pod_leaves_the_first_alone() {
    let lab = Lab::new();
    let pod = Pod::run(&lab);
    let (first, second) = (&pod.first, &pod.second);
    let seen = first.exec("e", ["sh", "-c", "set -- /proc/[0-9]*; echo $#"]);
    // Two sleeps and the shell.
    assert_eq!(print_of(seen).trim(), "3");
    assert_eq!(second.kill_and_wait(), 137);
    second.delete().unwrap();
    pod.shutdown(second);
    assert_eq!(print_of(first.exec("f", ["echo", "alive"])), "alive\n");
    assert_eq!(first.kill_and_wait(), 137);
    first.delete().unwrap();
    if !target::is_hull() {
        pod.shutdown(first);
    }
    // The Shutdown that came too early is remembered.
    pod.is_gone();
}

#[test]
fn first_of_a_pod_takes_the_others_of_its_pid_namespace_along() {
    let lab = Lab::new();
    let pod = Pod::run(&lab);
    let (first, second) = (&pod.first, &pod.second);
    assert_eq!(first.kill_and_wait(), 137);
    assert_eq!(second.wait(), 137);
    first.delete().unwrap();
    pod.shutdown(first);
    second.state().unwrap();
    second.delete().unwrap();
    if !target::is_hull() {
        pod.shutdown(second);
    }
    pod.is_gone();
}

/// A pod's containers join the namespaces of a pause container one by one.
#[test]
fn exec_in_the_second_of_a_pod_is_in_its_root_and_the_pods_namespaces() {
    let lab = Lab::new();
    let pod = Pod::run(&lab);
    let process = pod.second.spec.process(["sleep", "600"]);
    drop(pod.second.add_exec_with("e", &process, Streams::NONE));
    let exec = pod.second.try_start("e").unwrap();
    let init = block(pod.first.task.state(&pod.first.id, "")).unwrap().pid;
    let link = |pid, name| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
    for name in ["net", "ipc", "uts", "pid"] {
        assert_eq!(link(exec, name), link(init, name), "{name}");
    }
    assert_ne!(link(exec, "mnt"), link(init, "mnt"));
    let root = PathBuf::from(format!("/proc/{exec}/root/only-here"));
    assert!(root.exists(), "it is in another root");
    // It is in no PID namespace that would end with the second container.
    block(pod.second.task.kill(&pod.second.id, "e", 9)).unwrap();
    assert_eq!(pod.second.wait_exec("e"), 137);
}
