//! Where the code of components is in memory: in pages of the artifact, which all containers of a component
//! share, by way of the container's /proc, which is not believed.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use hull_e2e::{Container, Lab, Spec, Streams, artifacts, limit};
use serde_json::{Value, json};

/// A server, which waits for requests.
const SERVER: &str = "/wasm/http.wasm";
const COMMAND: &str = "/wasm/component.wasm";
const SAYS: &str = "hello from a component\n";
const OTHER: &str = "/wasm/command-0.3.wasm";

/// The host's id of root in a user namespace.
const ROOT: u32 = 100_000;

/// A server that listens. Its root directory belongs to `owner`.
fn serving<'lab>(lab: &'lab Lab, spec: &Spec, owner: u32) -> Container<'lab> {
    let mut c = lab.container_with(spec, Streams::OUTPUT);
    chown(c.upper(), Some(owner), Some(owner)).unwrap();
    c.run();
    let err = c.stdio.err.as_mut().unwrap();
    let line = err.read_until(b"\n", limit()).unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(line.contains("listening on http://"), "{line:?}");
    c
}

/// How often code of the store's only artifact is mapped by this process from the file.
fn mapped(lab: &Lab, pid: u32) -> usize {
    let inode = artifacts::single(&lab.artifacts()).inode.to_string();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines()
        .map(|line| line.split_whitespace().collect::<Vec<&str>>())
        .filter(|fields| fields.get(1) == Some(&"r-xp") && fields.get(4) == Some(&inode.as_str()))
        .count()
}

/// Nothing is mounted at /proc.
fn without_procfs(spec: Spec) -> Spec {
    let mut mounts = spec.json()["mounts"].clone();
    mounts
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/proc");
    spec.set("/mounts", mounts)
}

fn refusing(names: &[&str]) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1 }],
    })
}

#[test]
fn component_is_mapped_whoever_runs_it() {
    let lab = Lab::wasm();
    let server = || Spec::new([SERVER]);
    let in_namespace = || server().user_namespace(ROOT, 65_536);
    for (spec, owner) in [
        (server(), 0),
        (server().user(1000, 1000), 0),
        (in_namespace(), ROOT),
        (in_namespace().user(1000, 1000), ROOT),
    ] {
        let c = serving(&lab, &spec, owner);
        let pid = c.state().unwrap().pid;
        assert_eq!(mapped(&lab, pid), 1, "{spec:?}");
        let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        for file in open.map(|entry| fs::read_link(entry.unwrap().path()).unwrap()) {
            assert!(!file.starts_with("/proc"), "{file:?}");
        }
        let directory = fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(directory, Path::new("/"));
    }
}

#[test]
fn component_is_copied_where_it_cannot_be_mapped() {
    let lab = Lab::wasm();
    let server = || Spec::new([SERVER]).user(1000, 1000);
    let profile = |names| server().set("/linux/seccomp", refusing(names));
    for spec in [
        without_procfs(server()),
        profile(&["openat2"]),
        profile(&["fchdir"]),
        profile(&["fstatfs"]),
    ] {
        let c = serving(&lab, &spec, 0);
        assert_eq!(mapped(&lab, c.state().unwrap().pid), 0, "{spec:?}");
    }
}

/// The artifact is the only descriptor of a small number that the runner opens by name. Here each of these
/// names is another component, which is as good as the right one in every other way.
#[test]
fn image_cannot_put_another_component_in_its_place() {
    let lab = Lab::wasm();
    let ran = lab.container(&Spec::new([OTHER])).run_to_end();
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let other = artifacts::single(&lab.artifacts()).path;
    let mut c = lab.container(&without_procfs(Spec::new([COMMAND])));
    let planted = c.upper().join("proc/self/fd");
    fs::create_dir_all(&planted).unwrap();
    for number in 0..32 {
        fs::copy(&other, planted.join(number.to_string())).unwrap();
    }
    let ran = c.run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, SAYS), "{ran:?}");
}

#[test]
fn exec_maps_it_too() {
    let lab = Lab::wasm();
    let c = lab.container(&Spec::new(["sleep", "600"]).user(1000, 1000));
    c.run();
    let mut stdio = c.add_exec("e", [SERVER]);
    let pid = c.try_start("e").unwrap();
    let err = stdio.err.as_mut().unwrap();
    err.read_until(b"\n", limit()).unwrap();
    assert_eq!(mapped(&lab, pid), 1);
}
