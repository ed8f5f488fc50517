//! Bind mounts whose files show other owners than they have (mount_setattr(2), `MOUNT_ATTR_IDMAP`).

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_e2e::{Lab, Ran, Spec, Streams, block, cgroup, is_one_clear_line, procfs};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};

const ROOT: u32 = 100_000;
const SIZE: u32 = 65_536;

fn map(container: u32, host: u32, size: u32) -> Value {
    json!([{ "containerID": container, "hostID": host, "size": size }])
}

/// A directory with one of root's and one of user 7's in it. On a disk: Linux 6.1, on which this runs
/// as well, cannot map a tmpfs.
struct Volume(PathBuf);

impl Volume {
    fn new(lab: &Lab) -> Self {
        let dir = Path::new("/var/tmp").join(lab.tag());
        fs::create_dir(&dir).unwrap();
        for (name, owner) in [("roots", 0), ("sevens", 7)] {
            fs::create_dir(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("file"), name).unwrap();
            chown(dir.join(name), Some(owner), Some(owner)).unwrap();
            chown(dir.join(name).join("file"), Some(owner), Some(owner)).unwrap();
        }
        Self(dir)
    }

    fn owner(&self, path: &str) -> (u32, u32) {
        let meta = fs::metadata(self.0.join(path)).unwrap();
        (meta.uid(), meta.gid())
    }

    /// A mount of it at /vol.
    fn mounted(&self, spec: Spec, options: &[&str], maps: Option<(Value, Value)>) -> Spec {
        mounted(spec, &self.0, options, maps)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn mounted(spec: Spec, source: &Path, options: &[&str], maps: Option<(Value, Value)>) -> Spec {
    let spec = spec.mount("bind", source, "/vol", options);
    let number = spec.json()["mounts"].as_array().unwrap().len() - 1;
    match maps {
        Some((uids, gids)) => spec
            .set(&format!("/mounts/{number}/uidMappings"), uids)
            .set(&format!("/mounts/{number}/gidMappings"), gids),
        None => spec,
    }
}

fn script(text: &str) -> Spec {
    Spec::new(["sh", "-c", text])
}

fn run(lab: &Lab, spec: &Spec) -> Ran {
    let mut c = lab.container_with(spec, Streams::OUTPUT);
    if spec.json().pointer("/linux/uidMappings").is_some() {
        // As after containerd's remapping.
        chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    }
    c.run_to_end()
}

const OWNERS: &str = "set -e; cd /vol; stat -c %u:%g roots roots/file sevens sevens/file";

/// Without a user namespace: what belongs to root is shown as user 1000's, and the other way round.
#[test]
fn owners_are_exchanged() {
    let lab = Lab::new();
    let volume = Volume::new(&lab);
    let text = format!("{OWNERS}; touch roots/new; stat -c %u:%g roots/new");
    let maps = (map(0, 1000, 1), map(0, 2000, 1));
    let spec = volume.mounted(script(&text).user(1000, 2000), &["rbind"], Some(maps));
    let ran = run(&lab, &spec);
    let expected = "1000:2000\n1000:2000\n65534:65534\n65534:65534\n1000:2000\n";
    assert_eq!(ran.stdout, expected, "{ran:?}");
    assert_eq!(volume.owner("roots/new"), (0, 0));
}

/// The volume of a pod with users of its own: ids of the container are those on disk.
#[test]
fn container_with_a_user_namespace_sees_the_owners_on_disk() {
    let lab = Lab::new();
    let volume = Volume::new(&lab);
    let text = format!("{OWNERS}; touch roots/new; chown 7:8 roots/new; touch sevens/of-root");
    let spec = script(&text).user_namespace(ROOT, SIZE);
    for (options, maps) in [
        (["rbind", "idmap"].as_slice(), None),
        (&["rbind"], Some((map(0, ROOT, SIZE), map(0, ROOT, SIZE)))),
    ] {
        let ran = run(&lab, &volume.mounted(spec.clone(), options, maps));
        assert_eq!(ran.stdout, "0:0\n0:0\n7:7\n7:7\n", "{ran:?}");
        assert_eq!(ran.status, 0, "{ran:?}");
        assert_eq!(volume.owner("roots/new"), (7, 8));
        assert_eq!(volume.owner("sevens/of-root"), (0, 0));
    }
}

#[test]
fn only_ridmap_maps_the_mounts_below() {
    let lab = Lab::new();
    let volume = Volume::new(&lab);
    let (source, point) = (volume.0.join("sevens"), volume.0.join("roots"));
    let none: Option<&str> = None;
    mount(Some(&source), &point, none, MsFlags::MS_BIND, none).unwrap();
    let text = "stat -c %u /vol/roots /vol/sevens";
    let maps = (map(0, 1000, 10), map(0, 1000, 10));
    let mut seen = Vec::new();
    for option in ["idmap", "ridmap"] {
        let spec = volume.mounted(script(text), &["rbind", option], Some(maps.clone()));
        seen.push(run(&lab, &spec).stdout);
    }
    umount2(&point, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(seen, ["7\n1007\n", "1007\n1007\n"]);
}

#[test]
fn attributes_hold_on_a_mapped_mount_and_on_a_file() {
    let lab = Lab::new();
    let volume = Volume::new(&lab);
    let maps = (map(0, 1000, 1), map(0, 1000, 1));
    let text = "touch /vol/roots/x; grep -c ' /vol .*ro,nosuid,nodev,noexec' /proc/mounts";
    let options = ["rbind", "ro", "nosuid", "nodev", "noexec"];
    let ran = run(
        &lab,
        &volume.mounted(script(text), &options, Some(maps.clone())),
    );
    assert_eq!(ran.stdout, "1\n", "{ran:?}");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:?}");
    let file = volume.0.join("roots/file");
    let spec = mounted(script("stat -c '%F %u' /vol"), &file, &["bind"], Some(maps));
    assert_eq!(run(&lab, &spec).stdout, "regular file 1000\n");
}

#[track_caller]
fn refuses(spec: &Spec, parts: &[&str]) {
    let lab = Lab::new();
    let c = lab.container(spec);
    for _ in 0..2 {
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), parts);
        let rootfs = c.bundle.rootfs().display().to_string();
        assert!(procfs::mounts_naming(&rootfs).is_empty());
        let groups = cgroup::directories_naming(&c.cgroup());
        assert!(groups.is_empty(), "{groups:?}");
    }
}

#[test]
fn file_system_that_cannot_be_mapped_is_named() {
    let maps = (map(0, 1000, 1), map(0, 1000, 1));
    let spec = mounted(
        script("true"),
        Path::new("/proc/sys"),
        &["bind"],
        Some(maps),
    );
    refuses(&spec, &["/proc/sys", "does not support id-mapped mounts"]);
}

#[test]
fn maps_that_make_no_sense_are_refused() {
    let bind = |options: &[&str]| script("true").mount("bind", Path::new("/tmp"), "/vol", options);
    refuses(&bind(&["bind", "idmap"]), &["mounts[7].options", "maps"]);
    let spec = bind(&["bind"]).set("/mounts/7/uidMappings", map(0, 1, 1));
    refuses(&spec, &["mounts[7].gidMappings"]);
    let spec = bind(&["bind"])
        .set("/mounts/7/uidMappings", map(0, 1, 0))
        .set("/mounts/7/gidMappings", map(0, 1, 1));
    refuses(&spec, &["mounts[7].uidMappings[0].size"]);
    let spec = script("true")
        .mount("tmpfs", Path::new("tmpfs"), "/vol", &[])
        .set("/mounts/7/uidMappings", map(0, 1, 1))
        .set("/mounts/7/gidMappings", map(0, 1, 1));
    refuses(&spec, &["mounts[7]", "bind mount"]);
}

/// As containerd 2.x asks for it: the layers of the image are root's on disk and root's inside.
#[test]
fn layers_of_an_image_are_mapped() {
    let lab = Lab::new();
    let text = "stat -c %u:%g / /bin/busybox /file; touch /bin/made; stat -c %u:%g /bin/made; \
                grep -c overlay /proc/mounts";
    let c = lab.container(&script(text).user_namespace(ROOT, SIZE));
    chown(c.upper(), Some(ROOT), Some(ROOT)).unwrap();
    let volume = Volume::new(&lab);
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(lab.image().rootfs()).arg(&volume.0);
    assert!(copy.status().unwrap().success());
    let mut request = c.create_request();
    let options = &mut request.rootfs.first_mut().unwrap().options;
    options.retain(|option| !option.starts_with("lowerdir="));
    let layers = [volume.0.join("sevens"), volume.0.join("rootfs")];
    let layers = layers.map(|layer| layer.display().to_string()).join(":");
    options.push(format!("lowerdir={layers}"));
    options.extend(["uidmap", "gidmap"].map(|map| format!("{map}=0:{ROOT}:{SIZE}")));
    block(c.task.create(&request)).unwrap();
    // Nothing but the overlay is to be seen on the host.
    let rootfs = c.bundle.rootfs().display().to_string();
    assert_eq!(procfs::mounts_naming(&rootfs).len(), 1);
    c.start();
    let mut c = c;
    let (stdout, _) = hull_e2e::read_output(&mut c.stdio);
    assert_eq!((c.wait(), stdout.as_str()), (0, "0:0\n0:0\n7:7\n0:0\n1\n"));
    let made = fs::metadata(c.upper().join("bin/made")).unwrap();
    assert_eq!(made.uid(), ROOT);
    drop(c);
}

#[test]
fn maps_of_layers_that_make_no_sense_are_refused() {
    let lab = Lab::new();
    let c = lab.container(&script("true").user_namespace(ROOT, SIZE));
    for (options, part) in [
        (["uidmap=0:1:1", "index=off"], "gidmap is missing"),
        (["uidmap=0:1", "gidmap=0:1:1"], "no map of ids"),
        (["uidmap=0:1:1", "gidmap=0:1:1,0:1:1"], "gid_map"),
    ] {
        let mut request = c.create_request();
        let given = &mut request.rootfs.first_mut().unwrap().options;
        given.extend(options.map(str::to_owned));
        let error = block(c.task.create(&request)).unwrap_err();
        is_one_clear_line(error.message(), &[part]);
        let rootfs = c.bundle.rootfs().display().to_string();
        assert!(procfs::mounts_naming(&rootfs).is_empty());
    }
}
