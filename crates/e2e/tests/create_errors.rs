//! Creates that must fail: one clear line, and nothing left.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use hull_e2e::{Case, HookKind, Lab, Spec, block, cgroup, ctr, is_one_clear_line, procfs, target};

/// Creates it twice, since the id must be free again; both must fail with one line that has all
/// of `parts`. Then a good spec in the same bundle must work.
#[track_caller]
fn refuses(spec: &Spec, parts: &[&str]) {
    let lab = Lab::new();
    let c = lab.container(spec);
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
    }
    c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
    c.run();
    assert_eq!(c.wait(), 4);
}

/// Right after the failure, with the shim still there.
#[track_caller]
fn nothing_is_left(lab: &Lab, id: &str, rootfs: &Path) {
    assert_eq!(lab.events().of(id), []);
    let mounts = procfs::mounts_naming(&rootfs.display().to_string());
    assert!(mounts.is_empty(), "{mounts:#?}");
    let groups = cgroup::directories_naming(&format!("/{}/{id}", lab.tag()));
    assert!(groups.is_empty(), "{groups:?}");
    let left = fs::read_dir(rootfs).map_or(0, Iterator::count);
    assert_eq!(left, 0, "files in rootfs");
}

#[test]
fn missing_program() {
    refuses(
        &Spec::new(["/no/such/program"]),
        &["/no/such/program", "no such file or directory"],
    );
}

#[test]
fn missing_program_that_is_looked_for_in_path() {
    refuses(
        &Spec::new(["no-such-program"]),
        &["no-such-program", "not found"],
    );
}

/// runc only says "permission denied".
#[test]
fn directory_as_program() {
    refuses(&Spec::new(["/etc"]), &["/etc", "directory"]);
}

#[test]
fn file_without_execute_bit() {
    refuses(
        &Spec::new(["/etc/passwd"]),
        &["/etc/passwd", "permission denied"],
    );
}

/// An executable that is neither ELF nor script nor Wasm. runc finds out after Start has succeeded.
#[test]
fn executable_text_of_no_known_format() {
    let lab = Lab::new();
    let file = lab.dir().join("snapshots/plain-text");
    fs::write(&file, "this is no program\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    let spec = Spec::new(["/plain-text"]).mount("bind", &file, "/plain-text", &["bind", "ro"]);
    let c = lab.container(&spec);
    is_one_clear_line(c.try_create().unwrap_err().message(), &["/plain-text"]);
    nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
}

#[test]
fn missing_mount_source() {
    let spec = Spec::new(["true"]).mount("bind", Path::new("/no/such/source"), "/mnt", &["rbind"]);
    refuses(&spec, &["/no/such/source", "no such file or directory"]);
}

#[test]
fn unknown_file_system() {
    let spec = Spec::new(["true"]).mount("nosuchfs", Path::new("none"), "/mnt", &[]);
    refuses(&spec, &["/mnt", "no such device"]);
}

#[test]
fn missing_rootfs_source() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    let mut request = c.create_request();
    let mount = request.rootfs.first_mut().unwrap();
    mount.options = vec!["lowerdir=/no/such/lower".to_owned()];
    let error = block(c.task.create(&request)).unwrap_err();
    let parts: &[&str] = if target::is_hull() {
        &["overlay", "rootfs"]
    } else {
        &["mount"]
    };
    is_one_clear_line(error.message(), parts);
    nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
    c.create();
}

#[test]
fn second_rootfs_mount_fails_and_the_first_is_undone() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    let mut request = c.create_request();
    let mut second = request.rootfs.first().unwrap().clone();
    second.options = vec!["lowerdir=/no/such/lower".to_owned()];
    request.rootfs.push(second);
    block(c.task.create(&request)).unwrap_err();
    nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
}

/// runc says "unexpected EOF" and not of what.
#[test]
fn invalid_json() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    let config = c.bundle.path().join("config.json");
    fs::write(&config, "{ \"ociVersion\": ").unwrap();
    is_one_clear_line(c.try_create().unwrap_err().message(), &["config.json"]);
    nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
    fs::write(&config, c.spec.json().to_string()).unwrap();
    c.create();
}

#[test]
fn missing_config() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    fs::remove_file(c.bundle.path().join("config.json")).unwrap();
    is_one_clear_line(c.try_create().unwrap_err().message(), &["config.json"]);
    nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
}

#[test]
fn unknown_namespace_type() {
    refuses(&Spec::new(["true"]).namespace("galaxy", None), &["galaxy"]);
}

#[test]
fn namespace_path_that_does_not_exist() {
    let spec = Spec::new(["true"]).namespace("network", Some(Path::new("/no/such/netns")));
    refuses(&spec, &["/no/such/netns"]);
}

/// runc 1.1 says "can't get final child's PID from pipe: EOF".
#[test]
fn namespace_path_of_another_type() {
    let spec = Spec::new(["true"]).namespace("network", Some(Path::new("/proc/self/ns/uts")));
    refuses(&spec, &["/proc/self/ns/uts"]);
}

#[test]
fn sysctl_that_belongs_to_the_host() {
    let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let spec = Spec::new(["true"]).set("/linux/sysctl", serde_json::json!({"vm.swappiness": "1"}));
    refuses(&spec, &["vm.swappiness"]);
    assert_eq!(
        fs::read_to_string("/proc/sys/vm/swappiness").unwrap(),
        before
    );
}

#[test]
fn sysctl_of_the_hosts_network() {
    let spec = Spec::new(["true"]).without_namespace("network").set(
        "/linux/sysctl",
        serde_json::json!({"net.ipv4.ip_forward": "1"}),
    );
    refuses(&spec, &["net.ipv4.ip_forward"]);
}

#[test]
fn empty_arguments() {
    refuses(&Spec::new(Vec::<String>::new()), &["args"]);
}

#[test]
fn intel_rdt() {
    let spec = Spec::new(["true"]).set("/linux/intelRdt/closID", "group");
    refuses(&spec, &["linux.intelRdt", "not supported"]);
}

/// hull has no CRIU: `checkpoint` is refused too (`table`).
#[test]
fn restoring_from_a_checkpoint() {
    let lab = Lab::new();
    let c = lab.container(&Spec::new(["true"]));
    let mut request = c.create_request();
    request.checkpoint = "/some/checkpoint".to_owned();
    let error = block(c.task.create(&request)).unwrap_err();
    is_one_clear_line(error.message(), &["checkpoint", "not supported", "CRIU"]);
    nothing_is_left(&lab, &c.id, &c.bundle.rootfs());
    c.create();
}

#[test]
fn selinux_label_on_a_host_without_selinux() {
    let spec = Spec::new(["true"]).set("/process/selinuxLabel", "system_u:system_r:container_t:s0");
    refuses(&spec, &["process.selinuxLabel", "SELinux is not enabled"]);
}

#[test]
fn relative_working_directory() {
    refuses(&Spec::new(["true"]).cwd("tmp"), &["wd", "absolute"]);
}

#[test]
fn failing_create_runtime_hook() {
    let args = ["sh", "-c", "echo the-reason >&2; exit 9"];
    let spec = Spec::new(["true"]).hook(HookKind::CreateRuntime, "/bin/sh", &args);
    refuses(&spec, &["hook", "9"]);
}

#[test]
fn text_reaches_the_user_of_containerd_after_its_prefix() {
    let case = Case::new();
    let out = case.run(&[], &["/no/such/program"]);
    assert_ne!(out.code, 0);
    let line = out
        .stderr
        .lines()
        .find(|line| line.starts_with("ctr: "))
        .unwrap();
    let text = line.split_once("failed to create shim task: ").unwrap().1;
    is_one_clear_line(text, &["/no/such/program", "no such file or directory"]);
    let lines = out
        .stderr
        .lines()
        .filter(|line| !line.trim().is_empty())
        .count();
    assert!(lines == 1 || !target::is_hull(), "{}", out.stderr);
}

#[test]
fn id_can_be_used_right_after_a_failure() {
    let case = Case::new();
    let id = case.id("again");
    let failed = case.run_command(&id, &["--rm"], &["/no/such/program"]);
    assert_ne!(ctr::run(failed, &[]).code, 0);
    let works = case.run_command(&id, &["--rm"], &["echo", "works"]);
    assert_eq!(ctr::run(works, &[]).ok(), "works\n");
}
