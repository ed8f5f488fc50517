//! Whether a process on its way into a container shows the host to those that are there already
//! (CVE-2016-9962).

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use hull_e2e::{Lab, Spec};

use crate::{exec_many, host_dir, put, script, sleeper, volume, with_all_capabilities};

/// Four processes look for the newest process of their PID namespace. From any directory of the
/// host that it holds, enough steps up lead to the host's root.
const LOOK_FOR_MARKER: &str = r#"
up=/../../../../../../../../../..
look() {
  while :; do
    read -r _ _ _ _ last </proc/loadavg
    for n in $last $((last + 1)); do
      [ $n -gt 5 ] || continue
      for what in root cwd fd/3 fd/4 fd/5 fd/6 fd/7; do
        [ -e /proc/$n/$what$up$MARKER ] && echo $n $what >>/out/hits
      done
      [ -e /proc/$n/root/bin ] && echo $n >>/out/seen
    done
  done
}
look & look & look & look &
echo ready
wait
"#;

/// The first of the host's ids that root of a user namespace is here.
const MAPPED: u32 = 100_000;

/// A container that looks for a file of the host; what it finds is written to a directory of the host.
fn searcher(lab: &Lab) -> (Spec, PathBuf) {
    let marker = put(lab.dir(), "marker", "of the host");
    let out = host_dir(lab, "out");
    chown(&out, Some(MAPPED), Some(MAPPED)).unwrap();
    let spec = with_all_capabilities(script(LOOK_FOR_MARKER))
        .env("MARKER", marker.to_str().unwrap())
        .set("/process/noNewPrivileges", false);
    (volume(spec, &out, "/out"), out)
}

/// Whether the searcher has seen processes but nothing of the host.
#[track_caller]
fn saw_nothing_of_the_host(out: &Path, least: usize) {
    let seen = fs::read_to_string(out.join("seen")).unwrap_or_default();
    assert!(seen.lines().count() > least, "the scan saw nearly nothing");
    let hits = fs::read_to_string(out.join("hits")).unwrap_or_default();
    assert_eq!(hits, "", "pid and link through which the host was seen");
}

#[test]
fn exec_never_shows_the_hosts_files() {
    let lab = Lab::new();
    let (spec, out) = searcher(&lab);
    let mut c = lab.container(&spec);
    c.run();
    c.read_until("ready");
    exec_many(&c, 200, &["true"]);
    c.kill_and_wait();
    saw_nothing_of_the_host(&out, 20);
}

#[test]
fn exec_into_a_user_namespace_never_shows_the_hosts_files() {
    let lab = Lab::new();
    let (spec, out) = searcher(&lab);
    let mut c = lab.container(&spec.user_namespace(MAPPED, 65_536));
    chown(c.upper(), Some(MAPPED), Some(MAPPED)).unwrap();
    c.run();
    c.read_until("ready");
    exec_many(&c, 60, &["true"]);
    c.kill_and_wait();
    saw_nothing_of_the_host(&out, 5);
}

/// Its neighbour sees it from its birth on, when its root is still the host's; but only root of the
/// host may look through it.
#[test]
fn first_process_of_a_pod_with_users_never_shows_the_hosts_files() {
    let lab = Lab::new();
    let (spec, out) = searcher(&lab);
    let mut first = lab.container(&spec.user_namespace(MAPPED, 65_536));
    chown(first.upper(), Some(MAPPED), Some(MAPPED)).unwrap();
    let pid = first.run();
    first.read_until("ready");
    let path = |kind: &str| PathBuf::from(format!("/proc/{pid}/ns/{kind}"));
    let spec = ["user", "net", "ipc", "uts", "pid"]
        .iter()
        .fold(sleeper(), |spec, kind| {
            let name = if *kind == "net" { "network" } else { kind };
            spec.namespace(name, Some(&path(kind)))
        });
    let second = lab.container(&spec);
    chown(second.upper(), Some(MAPPED), Some(MAPPED)).unwrap();
    for _ in 0..30 {
        second.run();
        second.kill_and_wait();
        second.delete().unwrap();
    }
    first.kill_and_wait();
    saw_nothing_of_the_host(&out, 5);
}
