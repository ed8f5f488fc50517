//! User namespaces that are refused: one clear line, and nothing left.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use hull_e2e::{Lab, Spec, block, cgroup, is_one_clear_line, procfs};
use serde_json::json;

/// The host's id of root in the containers.
const ROOT: u32 = 100_000;
const SIZE: u32 = 65_536;

fn mapped<const N: usize>(args: [&str; N]) -> Spec {
    Spec::new(args).user_namespace(ROOT, SIZE)
}

/// Creates it twice, since the id must be free again; both must fail with one line that has all
/// of `parts`, and leave nothing.
#[track_caller]
fn refuses(spec: &Spec, parts: &[&str]) {
    let lab = Lab::new();
    let c = lab.container(spec);
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        assert_eq!(lab.events().of(&c.id), []);
        let rootfs = c.bundle.rootfs();
        let mounts = procfs::mounts_naming(&rootfs.display().to_string());
        assert!(mounts.is_empty(), "{mounts:#?}");
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{groups:?}");
        assert_eq!(fs::read_dir(rootfs).map_or(0, Iterator::count), 0);
    }
}

#[test]
fn maps_that_make_no_sense_are_refused() {
    let line = |container: u32, host: u32, size: u32| json!({ "containerID": container, "hostID": host, "size": size });
    let overlapping = json!([line(0, 1000, 10), line(20, 1005, 10)]);
    let spec = mapped(["true"]).set("/linux/uidMappings", overlapping);
    refuses(&spec, &["linux.uidMappings[1]", "host"]);
    let too_many = json!([line(0, u32::MAX, 2)]);
    let spec = mapped(["true"]).set("/linux/gidMappings", too_many);
    refuses(&spec, &["linux.gidMappings[0].hostID"]);
    let spec = mapped(["true"]).set("/linux/gidMappings", json!([]));
    refuses(&spec, &["linux.gidMappings", "missing"]);
    let spec = mapped(["true"]).without_namespace("user");
    refuses(&spec, &["linux.uidMappings", "user namespace"]);
    refuses(
        &mapped(["true"]).user(SIZE, 0),
        &["process.user.uid", "65536"],
    );
}

#[test]
fn devices_that_the_host_does_not_have_are_refused() {
    let device =
        |path: &str, minor: u32| json!({ "path": path, "type": "c", "major": 1, "minor": minor });
    let spec = mapped(["true"]).set("/linux/devices/-", device("/dev/hull-none", 3));
    refuses(&spec, &["/dev/hull-none", "no such file"]);
    let spec = mapped(["true"]).set("/linux/devices/-", device("/dev/null", 5));
    refuses(&spec, &["/dev/null", "1:5"]);
}

#[test]
fn sysctl_of_the_hosts_user_namespace_is_refused() {
    let sysctl = json!({ "user.max_user_namespaces": "7" });
    let spec = Spec::new(["true"]).set("/linux/sysctl", sysctl);
    refuses(&spec, &["user.max_user_namespaces", "host"]);
}

#[test]
fn option_no_pivot_root_is_refused() {
    let lab = Lab::new();
    let c = lab.container(&mapped(["true"]));
    let mut request = c.create_request();
    request.options = protobuf::MessageField::some(no_pivot_root());
    let error = block(c.task.create(&request)).unwrap_err();
    is_one_clear_line(error.message(), &["no_pivot_root", "user namespace"]);
}

/// containerd's `runc.v1.Options` with its first field set.
fn no_pivot_root() -> hull_client::Any {
    let mut any = hull_client::Any::new();
    any.type_url = "containerd.runc.v1.Options".to_owned();
    any.value = vec![0x08, 0x01];
    any
}

/// A mount that is missing on the host is named though another process looks for it.
#[test]
fn missing_mount_source_is_named() {
    let source = Path::new("/no/such/source");
    let spec = mapped(["true"]).mount("bind", source, "/mnt", &["rbind"]);
    refuses(&spec, &["/no/such/source", "no such file or directory"]);
}

#[test]
fn missing_program_is_named() {
    refuses(
        &mapped(["/no/such/program"]),
        &["/no/such/program", "no such file"],
    );
}
