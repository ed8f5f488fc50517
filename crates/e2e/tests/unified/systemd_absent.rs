//! Units of systemd on a host where systemd does not run, or does not answer.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use hull_e2e::time::handle;
use hull_e2e::{Lab, eventually, is_one_clear_line};

use crate::group::Group;
use crate::sleeper;

/// Where systemd would listen.
const SOCKET: &str = "/run/systemd/private";

/// How long hull waits for it.
const DEADLINE: Duration = Duration::from_secs(25);

/// One after the other: both are about the one socket.
#[test]
fn systemd_that_is_absent_or_silent_is_named_and_holds_nobody_up() {
    assert!(!Path::new(SOCKET).exists());
    let lab = Lab::new();
    let path = format!("system.slice:{}:one", lab.tag());
    let pod = lab.id("pod");
    let in_pod = |spec: hull_e2e::Spec| spec.annotation("io.kubernetes.cri.sandbox-id", &pod);
    let c = lab.container(&in_pod(sleeper().cgroup(&path)));
    let error = c.try_create().unwrap_err().to_string();
    let parts = [
        SOCKET,
        "no such file or directory",
        "is systemd the init of this host?",
    ];
    is_one_clear_line(&error, &parts);

    fs::create_dir_all("/run/systemd").unwrap();
    let silent = UnixListener::bind(SOCKET).unwrap();
    let began = Instant::now();
    let (task, request) = (c.task.clone(), c.create_request());
    let create = handle().spawn(async move { task.create(&request).await });
    // It has come to the point.
    let (_connection, _) = silent.accept().unwrap();
    let other = lab.container(&in_pod(sleeper()));
    assert_eq!(other.shim_pid(), c.shim_pid());
    other.run();
    assert_eq!(other.exec("e", ["true"]).status, 0);
    assert_eq!(other.kill_and_wait(), 137);
    other.delete().unwrap();
    assert!(!create.is_finished(), "{:?}", began.elapsed());
    drop(other);
    eventually("Create is given up", || create.is_finished().then_some(()));
    let error = handle().block_on(create).unwrap().unwrap_err().to_string();
    assert!(began.elapsed() >= DEADLINE, "{:?}", began.elapsed());
    is_one_clear_line(
        &error,
        &["start unit", "systemd has not done it within 25 s"],
    );
    fs::remove_dir_all("/run/systemd").unwrap();
    assert!(!Group::at("/system.slice").exists());
}
