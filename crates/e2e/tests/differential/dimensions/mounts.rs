//! Mounts: what every container has, and anything on anything.

use super::{Dimension, many, one};
use crate::case::Draft;
use crate::random::Random;
use crate::world::SOURCES;

pub(super) const DIMENSIONS: &[Dimension] = &[
    one("proc", 97, proc),
    one("dev", 70, dev),
    one("devpts", 60, devpts),
    one("shm", 50, shm),
    one("mqueue", 40, mqueue),
    one("sysfs", 60, sysfs),
    one("cgroup", 40, cgroup),
    many(6, "mount", 35, any),
    one("order of mounts", 10, order),
];

const ATTRIBUTES: [&str; 10] = [
    "nosuid", "noexec", "nodev", "ro", "rw", "suid", "exec", "dev", "relatime", "noatime",
];

fn secure(random: &mut Random) -> Vec<&'static str> {
    let mut options = random.some(&["nosuid", "noexec", "nodev"], 80);
    options.extend(random.some(&["ro"], 15));
    options
}

fn proc(draft: &mut Draft<'_>, random: &mut Random) {
    let mut options = secure(random);
    options.extend(random.some(&["hidepid=2", "subset=pid"], 4));
    draft.mount("proc", "proc", "/proc", &options);
}

fn dev(draft: &mut Draft<'_>, random: &mut Random) {
    let mut options = random.some(&["nosuid", "strictatime", "size=65536k"], 80);
    options.extend(random.some(&["mode=755"], 70));
    options.extend(random.some(&["ro", "noexec"], 10));
    draft.mount("tmpfs", "tmpfs", "/dev", &options);
}

fn devpts(draft: &mut Draft<'_>, random: &mut Random) {
    let mut options = random.some(&["nosuid", "noexec", "newinstance"], 90);
    options.extend(random.some(&["ptmxmode=0666", "mode=0620", "gid=5"], 80));
    draft.mount("devpts", "devpts", "/dev/pts", &options);
}

fn shm(draft: &mut Draft<'_>, random: &mut Random) {
    let mut options = secure(random);
    options.extend(random.some(&["mode=1777", "size=65536k"], 70));
    draft.mount("tmpfs", "shm", "/dev/shm", &options);
}

fn mqueue(draft: &mut Draft<'_>, random: &mut Random) {
    let options = secure(random);
    draft.mount("mqueue", "mqueue", "/dev/mqueue", &options);
}

fn sysfs(draft: &mut Draft<'_>, random: &mut Random) {
    let mut options = secure(random);
    // Never writable: it is the host's.
    if !options.contains(&"ro") {
        options.push("ro");
    }
    draft.mount("sysfs", "sysfs", "/sys", &options);
}

fn cgroup(draft: &mut Draft<'_>, random: &mut Random) {
    let mut options = random.some(&["nosuid", "noexec", "nodev", "relatime"], 70);
    options.extend(random.some(&["ro"], 70));
    draft.mount("cgroup", "cgroup", "/sys/fs/cgroup", &options);
}

/// Places in the container: there, missing, behind links, below others.
const DESTINATIONS: [&str; 14] = [
    "/mnt",
    "/data",
    "/data/private",
    "/data/private/deep",
    "/empty",
    "/link/below",
    "/absolute-link",
    "/new",
    "/new/nested/deeper",
    "/run",
    "/tmp",
    "/home/user",
    "/mnt/./odd/../place",
    "relative/place",
];

fn any(draft: &mut Draft<'_>, random: &mut Random) {
    let destination = *random.pick(&DESTINATIONS);
    match random.below(10) {
        0..=3 => tmpfs(draft, random, destination),
        4..=7 => bind_directory(draft, random, destination),
        8 => bind_file(draft, random),
        _ => draft.mount("ramfs", "ramfs", destination, &[]),
    }
    let shown = destination.trim_start_matches('/');
    draft.look(&format!("/{shown}"));
}

fn tmpfs(draft: &mut Draft<'_>, random: &mut Random, destination: &str) {
    let mut options = random.some(&ATTRIBUTES, 15);
    let data = [
        "size=64k",
        "mode=700",
        "uid=7",
        "gid=8",
        "nr_inodes=10",
        "strictatime",
        "sync",
    ];
    options.extend(random.some(&data, 20));
    options.extend(random.some(&["tmpcopyup"], 15));
    options.extend(propagation(random));
    let source = *random.pick(&["tmpfs", "none", "scratch"]);
    draft.mount("tmpfs", source, destination, &options);
}

fn propagation(random: &mut Random) -> Vec<&'static str> {
    let words = [
        "private", "rprivate", "slave", "rslave", "shared", "rshared",
    ];
    match random.below(100) {
        0..=24 => vec![*random.pick(&words)],
        25..=26 => vec!["unbindable"],
        _ => Vec::new(),
    }
}

fn bind_options(random: &mut Random) -> Vec<&'static str> {
    let mut options = vec![*random.pick(&["bind", "rbind"])];
    options.extend(random.some(&ATTRIBUTES, 15));
    options.extend(random.some(
        &["rro", "rnosuid", "rnodev", "rnoexec", "rrw", "strictatime"],
        7,
    ));
    options.extend(random.some(&["nodiratime", "nosymfollow", "norelatime", "diratime"], 5));
    options.extend(propagation(random));
    options
}

fn bind_directory(draft: &mut Draft<'_>, random: &mut Random, destination: &str) {
    let name = *random.pick(&["directory", "sticky", "directory/deep", "link"]);
    let source = format!("{SOURCES}/{name}");
    let options = bind_options(random);
    let kind = *random.pick(&["bind", "none", ""]);
    draft.mount(kind, &source, destination, &options);
}

fn bind_file(draft: &mut Draft<'_>, random: &mut Random) {
    let name = *random.pick(&["file", "program", "directory/note"]);
    let places = [
        "/plain",
        "/data/file",
        "/new-file",
        "/new/nested/file",
        "/etc/group",
    ];
    let destination = *random.pick(&places);
    let source = format!("{SOURCES}/{name}");
    let options = bind_options(random);
    draft.mount("bind", &source, destination, &options);
    draft.look(destination);
}

/// Another order: what is mounted later covers what was mounted before.
fn order(draft: &mut Draft<'_>, random: &mut Random) {
    let mut mounts = draft.spec.json()["mounts"].as_array().unwrap().clone();
    random.shuffle(&mut mounts);
    draft.set("/mounts", mounts);
}
