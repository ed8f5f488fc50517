//! The harness itself: a check that finds nothing proves something only if it would have found it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use hull_e2e::leaks::{self, Search};
use hull_e2e::{cgroup, eventually, procfs, target};

#[test]
fn leak_check_finds_one_of_each_kind_and_the_sweep_removes_them() {
    let tag = target::unique_tag();
    let dir = target::private_dir(&tag);
    let mount_point = dir.join("mnt");
    fs::create_dir_all(&mount_point).unwrap();
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(
        Some("tmpfs"),
        &mount_point,
        Some("tmpfs"),
        flags,
        None::<&str>,
    )
    .unwrap();
    let group = cgroup::of_controller("pids")
        .mount_point
        .join(&tag)
        .join("leaf");
    fs::create_dir_all(&group).unwrap();
    let socket = dir.join("socket");
    fs::write(&socket, "").unwrap();
    fs::write(dir.join(format!("{tag}-stdout")), "").unwrap();
    let mut process = Command::new("sleep")
        .arg("600")
        .env("TAG", &tag)
        .spawn()
        .unwrap();
    let search = Search {
        token: tag.clone(),
        dirs: vec![dir.clone()],
        sockets: vec![socket],
        own_cgroup: Some(tag.clone()),
        ..Search::default()
    };
    let found = leaks::find(&search);
    for kind in ["process: pid", "mount: ", "cgroup: ", "socket: ", "file: "] {
        let of_kind = found.iter().filter(|line| line.starts_with(kind)).count();
        assert_eq!(of_kind, 1, "{kind}: {found:#?}");
    }
    leaks::sweep(&search);
    process.wait().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    assert_eq!(leaks::find(&search), Vec::<String>::new());
}

#[test]
fn leak_check_spares_what_it_is_told_to() {
    let tag = target::unique_tag();
    let mut process = Command::new("sleep")
        .arg("600")
        .env("TAG", &tag)
        .spawn()
        .unwrap();
    let spared = vec![process.id()];
    let search = Search {
        token: tag,
        spared,
        ..Search::default()
    };
    assert_eq!(leaks::find(&search), Vec::<String>::new());
    process.kill().unwrap();
    process.wait().unwrap();
}

/// The janitor: whatever a test process had is gone soon after it was killed.
#[test]
fn killed_test_process_leaves_nothing() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_hull-demo"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let tag = format!("hull-e2e-{}-", demo.id());
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    // A container runs by now.
    let reached = lines
        .map_while(Result::ok)
        .any(|line| line.starts_with("$ ctr task exec"));
    assert!(reached, "the demo ended before its third step");
    let processes = procfs::processes_naming(&tag);
    let sockets: Vec<String> = processes
        .iter()
        .map(|process| procfs::command_line(process.pid))
        .filter_map(|line| Some(line.split_once("-socket ")?.1.split(' ').next()?.to_owned()))
        .collect();
    assert!(!sockets.is_empty() || !target::is_hull(), "{processes:?}");
    demo.kill().unwrap();
    demo.wait().unwrap();
    eventually("nothing is left of the killed demo", || {
        let left = procfs::processes_naming(&tag).len()
            + procfs::mounts_naming(&tag).len()
            + cgroup::directories_naming(&tag).len()
            + sockets
                .iter()
                .filter(|path| Path::new(path).exists())
                .count();
        let files = fs::read_dir(Path::new("/run")).unwrap().filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().starts_with(&tag)
        });
        (left + files.count() == 0).then_some(())
    });
}
