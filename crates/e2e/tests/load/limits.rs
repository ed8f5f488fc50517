//! Descriptors, space and processes run out: one clear error each, and all is well when there are some again.

use std::fs;
use std::path::Path;
use std::process::Command;

use hull_client::{Task, Version};
use hull_e2e::apart::in_own_mounts;
use hull_e2e::{Lab, Spec, block, procfs};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{belongings, has_no_more, keeper};

/// Sets how many descriptors a process may have.
fn allow_descriptors(pid: u32, count: usize) {
    let status = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--nofile={count}:")])
        .status()
        .unwrap();
    assert!(status.success());
}

#[track_caller]
fn says(error: &impl ToString, parts: &[&str]) {
    let text = error.to_string().to_lowercase();
    assert_eq!(text.lines().count(), 1, "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in {text:?}");
    }
}

#[test]
fn daemon_without_descriptors_says_so_and_goes_on_when_there_are_some() {
    let lab = Lab::new();
    let keeper = keeper(&lab);
    assert_eq!(keeper.exec("warm", ["true"]).status, 0);
    let daemon = keeper.shim_pid();
    let before = belongings(daemon);
    let next = lab.container(&super::in_pod(&["sleep", "3600"]));
    let open = procfs::descriptors(daemon).len();
    // So few that nothing can be done, and then one more at a time: each try fails somewhere else.
    for spare in 0..8 {
        allow_descriptors(daemon, open + spare);
        if let Err(error) = next.try_create() {
            says(&error, &["too many open files"]);
        } else {
            next.delete().unwrap();
        }
        if spare < 2 {
            let (_stdio, added) = keeper.try_add_exec(
                &format!("e{spare}"),
                &keeper.spec.process(["true"]),
                hull_e2e::Streams::OUTPUT,
            );
            let started = added.and_then(|()| keeper.try_start(&format!("e{spare}")).map(drop));
            says(&started.unwrap_err(), &["too many open files"]);
        }
        // What needs none goes on.
        assert!(keeper.state().is_ok());
    }
    // Whoever connects meanwhile is heard later.
    allow_descriptors(daemon, 0);
    let late = std::thread::spawn({
        let (address, tag) = (keeper.address.clone(), lab.tag().to_owned());
        move || {
            block(async {
                let task = Task::connect(&address, &tag, Version::V2).await?;
                task.connect_task("").await
            })
        }
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!late.is_finished());
    allow_descriptors(daemon, 1024);
    assert_eq!(late.join().unwrap().unwrap().shim_pid, daemon);
    next.run();
    next.kill_and_wait();
    next.delete().unwrap();
    for exec in ["e0", "e1"] {
        // It may have been registered; then it can be deleted.
        drop(block(keeper.task.delete(&keeper.id, exec)));
    }
    assert_eq!(keeper.exec("after", ["true"]).status, 0);
    drop(next);
    has_no_more(daemon, &before);
}

#[test]
fn bundle_on_a_full_file_system_is_an_error_of_the_host() {
    in_own_mounts(|| {
        let lab = Lab::new();
        let bundles = lab.dir().join("bundles");
        let tmpfs = Some("tmpfs");
        mount(tmpfs, &bundles, tmpfs, MsFlags::empty(), Some("size=1m")).unwrap();
        {
            let c = lab.container(&Spec::new(["sleep", "3600"]));
            fill(&bundles.join("filler"));
            says(&c.try_create().unwrap_err(), &["space", "write"]);
            fs::remove_file(bundles.join("filler")).unwrap();
            c.run();
            // A container that runs does not need any.
            fill(&bundles.join("filler"));
            assert_eq!(c.exec("e", ["echo", "here"]).stdout, "here\n");
            assert_eq!(c.kill_and_wait(), 137);
            c.delete().unwrap();
            fs::remove_file(bundles.join("filler")).unwrap();
            // Its directory is there.
            block(c.task.shutdown(&c.id)).unwrap();
            c.wait_for_daemon();
        }
        umount2(&bundles, MntFlags::empty()).unwrap();
    });
}

/// Takes all the space that there is.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = fs::File::create(path).unwrap();
    while file.write_all(&[b'x'; 4096]).is_ok() {}
}
