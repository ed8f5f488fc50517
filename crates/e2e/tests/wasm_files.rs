//! Files of Wasm guests: those of the container, with the rights of the container's user, and no
//! others.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use hull_e2e::{Container, Lab, Ran, Spec};
use serde_json::Value;

/// How wasi-libc says that something may not be changed: the kernel's refusal, or the runner's.
const REFUSALS: [&str; 3] = [
    "Read-only file system",
    "not permitted",
    "Capabilities insufficient",
];

fn sleeper() -> Spec {
    Spec::new(["sleep", "600"])
}

/// The process that does one operation on files.
fn process(c: &Container<'_>, args: &[&str]) -> Value {
    c.spec.process([&["/wasm/files.wasm"], args].concat())
}

/// Does it in a running container.
fn files(c: &Container<'_>, args: &[&str]) -> Ran {
    c.exec_process("e", &process(c, args))
}

/// The same as another user.
fn files_as(c: &Container<'_>, uid: u32, args: &[&str]) -> Ran {
    let mut process = process(c, args);
    process["user"] = serde_json::json!({ "uid": uid, "gid": uid });
    c.exec_process("e", &process)
}

/// What it prints, or the test fails.
#[track_caller]
fn ok(ran: Ran) -> String {
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    ran.stdout
}

#[track_caller]
fn fails(ran: &Ran, texts: &[&str]) {
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{ran:?}");
    assert!(
        texts.iter().any(|text| ran.stderr.contains(text)),
        "{ran:?}"
    );
}

/// A directory of the host with one file.
fn share(lab: &Lab) -> PathBuf {
    let dir = lab.dir().join("share");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("word"), "from the host").unwrap();
    dir
}

fn volume(spec: Spec, source: &Path, options: &[&str]) -> Spec {
    spec.mount("bind", source, "/mnt/share", options)
}

#[test]
fn root_is_read_and_written() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new([
        "/wasm/files.wasm",
        "write",
        "/etc/new",
        "of init",
    ]));
    assert_eq!(ok(c.run_to_end()), "");
    let written = fs::read_to_string(c.upper().join("etc/new")).unwrap();
    assert_eq!(written, "of init");
    let c = lab.container(&sleeper());
    c.run();
    assert!(ok(files(&c, &["read", "/etc/group"])).contains("hull:x:1000:"));
    ok(files(&c, &["write", "/tmp/a", "one"]));
    ok(files(&c, &["append", "/tmp/a", " two"]));
    assert_eq!(ok(files(&c, &["read", "/tmp/a"])), "one two");
    assert_eq!(ok(files(&c, &["stat", "/tmp/a"])), "file 7\n");
    // The container's native processes see the same files.
    assert_eq!(c.exec("n", ["cat", "/tmp/a"]).stdout, "one two");
}

#[test]
fn directories_links_and_names() {
    let lab = Lab::wasm();
    let c = lab.container(&sleeper());
    c.run();
    ok(files(&c, &["mkdir", "/tmp/d"]));
    ok(files(&c, &["write", "/tmp/d/a", "text"]));
    ok(files(&c, &["rename", "/tmp/d/a", "/tmp/d/b"]));
    ok(files(&c, &["symlink", "b", "/tmp/d/link"]));
    assert_eq!(ok(files(&c, &["readlink", "/tmp/d/link"])), "b\n");
    assert_eq!(ok(files(&c, &["read", "/tmp/d/link"])), "text");
    let list = ok(files(&c, &["list", "/tmp/d"]));
    let mut names: Vec<&str> = list.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["b", "link"]);
    fails(&files(&c, &["rmdir", "/tmp/d"]), &["not empty"]);
    ok(files(&c, &["unlink", "/tmp/d/link"]));
    ok(files(&c, &["unlink", "/tmp/d/b"]));
    ok(files(&c, &["rmdir", "/tmp/d"]));
    fails(&files(&c, &["read", "/tmp/d/b"]), &["No such file"]);
    fails(&files(&c, &["list", "/etc/group"]), &["Not a directory"]);
}

#[test]
fn read_only_root_refuses_changes_and_volumes_do_not() {
    let lab = Lab::wasm();
    let share = share(&lab);
    let spec = volume(
        sleeper().set("/root/readonly", true),
        &share,
        &["rbind", "rw"],
    );
    let c = lab.container(&spec);
    c.run();
    let changes: [&[&str]; 6] = [
        &["write", "/etc/new", "text"],
        &["append", "/etc/group", "text"],
        &["mkdir", "/etc/dir"],
        &["unlink", "/etc/group"],
        &["rename", "/etc/group", "/etc/other"],
        &["symlink", "group", "/etc/link"],
    ];
    for args in changes {
        fails(&files(&c, args), &REFUSALS);
    }
    let seen = c.exec("n", ["ls", "/etc"]).stdout;
    assert!(seen.contains("group") && !seen.contains("new"), "{seen}");
    ok(files(&c, &["write", "/mnt/share/new", "from inside"]));
    assert_eq!(
        fs::read_to_string(share.join("new")).unwrap(),
        "from inside"
    );
    // A tmpfs of the spec.
    ok(files(&c, &["write", "/run/new", "text"]));
    assert_eq!(ok(files(&c, &["read", "/run/new"])), "text");
}

#[test]
fn volume_shows_the_hosts_files_both_ways() {
    let lab = Lab::wasm();
    let share = share(&lab);
    let c = lab.container(&volume(sleeper(), &share, &["rbind", "rw"]));
    c.run();
    assert_eq!(ok(files(&c, &["read", "/mnt/share/word"])), "from the host");
    ok(files(&c, &["write", "/mnt/share/word", "from inside"]));
    assert_eq!(
        fs::read_to_string(share.join("word")).unwrap(),
        "from inside"
    );
    let list = ok(files(&c, &["list", "/mnt/share"]));
    assert_eq!(list, "word\n");
}

#[test]
fn read_only_volume_refuses_changes() {
    let lab = Lab::wasm();
    let share = share(&lab);
    let c = lab.container(&volume(sleeper(), &share, &["rbind", "ro"]));
    c.run();
    assert_eq!(ok(files(&c, &["read", "/mnt/share/word"])), "from the host");
    for args in [
        ["write", "/mnt/share/new", "text"],
        ["append", "/mnt/share/word", "text"],
        ["unlink", "/mnt/share/word", ""],
    ] {
        fails(&files(&c, &args), &REFUSALS);
    }
    let names: Vec<_> = fs::read_dir(&share).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(
        fs::read_to_string(share.join("word")).unwrap(),
        "from the host"
    );
}

#[test]
fn tmpfs_of_the_spec_takes_files_and_forgets_them() {
    let lab = Lab::wasm();
    let c = lab.container(&sleeper().mount("tmpfs", Path::new("tmpfs"), "/scratch", &["size=1m"]));
    c.run();
    ok(files(&c, &["write", "/scratch/a", "text"]));
    assert_eq!(ok(files(&c, &["read", "/scratch/a"])), "text");
    assert!(!c.upper().join("scratch/a").exists());
}

/// As kubelet lays out config maps and secrets.
#[test]
fn files_behind_the_links_of_a_config_map_are_read() {
    let lab = Lab::wasm();
    let dir = lab.dir().join("config");
    fs::create_dir_all(dir.join("..2026_11_22")).unwrap();
    fs::write(dir.join("..2026_11_22/key"), "value").unwrap();
    symlink("..2026_11_22", dir.join("..data")).unwrap();
    symlink("..data/key", dir.join("key")).unwrap();
    let spec = sleeper().mount("bind", &dir, "/etc/config", &["rbind", "ro"]);
    let c = lab.container(&spec);
    c.run();
    assert_eq!(ok(files(&c, &["read", "/etc/config/key"])), "value");
    // A new version comes by renaming the link.
    fs::create_dir_all(dir.join("..2026_11_23")).unwrap();
    fs::write(dir.join("..2026_11_23/key"), "newer").unwrap();
    symlink("..2026_11_23", dir.join("..tmp")).unwrap();
    fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
    assert_eq!(ok(files(&c, &["read", "/etc/config/key"])), "newer");
}

#[test]
fn user_has_its_own_rights_and_no_more() {
    let lab = Lab::wasm();
    let c = lab.container(&sleeper());
    c.run();
    assert_eq!(ok(files(&c, &["read", "/etc/secret"])), "for root only\n");
    let denied = ["Permission denied"];
    fails(&files_as(&c, 1000, &["read", "/etc/secret"]), &denied);
    fails(&files_as(&c, 1000, &["write", "/etc/new", "x"]), &denied);
    fails(&files_as(&c, 1000, &["append", "/etc/group", "x"]), &denied);
    fails(&files_as(&c, 1000, &["list", "/root"]), &denied);
    ok(files_as(&c, 1000, &["write", "/home/hull/own", "text"]));
    assert_eq!(ok(files_as(&c, 1000, &["read", "/home/hull/own"])), "text");
    let own = fs::metadata(c.upper().join("home/hull/own")).unwrap();
    assert_eq!((own.uid(), own.gid()), (1000, 1000));
}

/// Without capabilities not even root may read what belongs to others.
#[test]
fn root_of_a_guest_has_no_capability_over_others_files() {
    let lab = Lab::wasm();
    let c = lab.container(&sleeper());
    c.run();
    ok(files_as(&c, 1000, &["mkdir", "/home/hull/private"]));
    assert_eq!(
        c.exec("n", ["chmod", "700", "/home/hull/private"]).status,
        0
    );
    let denied = ["Permission denied"];
    fails(&files(&c, &["list", "/home/hull/private"]), &denied);
}

#[test]
fn nothing_leads_out_of_the_root() {
    let lab = Lab::wasm();
    let marker = lab.dir().join("marker");
    fs::write(&marker, "of the host").unwrap();
    let c = lab.container(&sleeper());
    let (root, up) = (c.upper(), "../".repeat(12));
    let marker = marker.to_str().unwrap();
    symlink(marker, root.join("absolute")).unwrap();
    symlink(format!("{up}{marker}"), root.join("relative")).unwrap();
    symlink("/", root.join("rootlink")).unwrap();
    c.run();
    let ways = [
        marker.to_owned(),
        format!("/{up}{marker}"),
        format!("{up}{marker}"),
        "/absolute".to_owned(),
        "/relative".to_owned(),
        format!("/rootlink/{up}{marker}"),
        format!("/proc/1/root/{up}{marker}"),
        format!("/proc/1/cwd/{up}{marker}"),
        format!("/proc/self/cwd/{up}{marker}"),
    ];
    for way in &ways {
        let ran = files(&c, &["read", way]);
        assert_eq!((ran.status, ran.stdout.as_str()), (1, ""), "{way}: {ran:?}");
        let ran = files(&c, &["write", way, "from inside"]);
        assert_eq!(ran.status, 1, "{way}: {ran:?}");
    }
    assert_eq!(fs::read_to_string(marker).unwrap(), "of the host");
}

/// The way from a guest to its own process: whoever can write there runs native code.
#[test]
fn runner_is_out_of_reach_by_proc() {
    let lab = Lab::wasm();
    let c = lab.container(&sleeper());
    c.run();
    let denied = ["Permission denied"];
    for file in ["mem", "comm", "oom_score_adj"] {
        for process in ["self", "thread-self", "1"] {
            let path = format!("/proc/{process}/{file}");
            fails(&files(&c, &["write", &path, "x"]), &denied);
        }
    }
    fails(&files(&c, &["read", "/proc/self/environ"]), &denied);
    ok(files(&c, &["read", "/proc/meminfo"]));
}
