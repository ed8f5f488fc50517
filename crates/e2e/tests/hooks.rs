//! OCI hooks: six kinds, their order, what they are told, what their failure does.
//!
//! runc 1.1 differs from the specification: it runs poststart at create, startContainer without
//! telling of its failure, and stops at the first poststop that fails.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Status;
use hull_e2e::{Container, HookKind, Lab, Spec, Topic, eventually};
use serde_json::Value;

/// A directory that hooks and containers can write to, at the same path for both.
fn shared_dir(lab: &Lab) -> PathBuf {
    let dir = lab.dir().join("hooks");
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Sleeps, with the shared directory mounted at its own path.
fn sleeper(dir: &Path) -> Spec {
    let path = dir.display().to_string();
    Spec::new(["sleep", "600"]).mount("bind", dir, &path, &["rbind", "rw"])
}

/// A hook that appends its kind to `order` and keeps its standard input as `KIND.state`.
fn telling(spec: Spec, kind: HookKind, dir: &Path) -> Spec {
    let (dir, key) = (dir.display(), kind.key());
    let script = format!("cat >{dir}/{key}.state; echo {key} >>{dir}/order");
    spec.hook(kind, "/bin/sh", &["sh", "-c", &script])
}

fn state(dir: &Path, kind: HookKind) -> Value {
    let text = fs::read(dir.join(format!("{}.state", kind.key()))).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn order(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn with_all_kinds<'lab>(lab: &'lab Lab, dir: &Path) -> Container<'lab> {
    let all = HookKind::ALL.into_iter();
    lab.container(&all.fold(sleeper(dir), |spec, kind| telling(spec, kind, dir)))
}

/// Whether hooks of a kind run in the container's namespaces.
fn runs_inside(kind: HookKind) -> bool {
    matches!(kind, HookKind::CreateContainer | HookKind::StartContainer)
}

#[test]
fn six_kinds_run_in_order_and_each_at_its_time() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let c = with_all_kinds(&lab, &dir);
    c.create();
    assert_eq!(
        order(&dir),
        ["prestart", "createRuntime", "createContainer"]
    );
    c.start();
    let after_start: Vec<&str> = HookKind::ALL
        .iter()
        .map(|kind| kind.key())
        .take(5)
        .collect();
    assert_eq!(order(&dir), after_start);
    c.kill_and_wait();
    assert_eq!(order(&dir).len(), 5);
    c.delete().unwrap();
    let all: Vec<&str> = HookKind::ALL.iter().map(|kind| kind.key()).collect();
    assert_eq!(order(&dir), all);
}

#[test]
fn state_on_standard_input_is_that_of_the_specification() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let c = with_all_kinds(&lab, &dir);
    let pid = c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    for kind in HookKind::ALL {
        let state = state(&dir, kind);
        let text = |key: &str| {
            state
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or("")
                .to_owned()
        };
        assert_eq!(text("id"), c.id, "{kind:?}: {state}");
        assert_eq!(
            text("bundle"),
            c.bundle.path().display().to_string(),
            "{kind:?}"
        );
        assert!(text("ociVersion").starts_with("1."), "{kind:?}: {state}");
        let status = match kind {
            HookKind::Prestart | HookKind::CreateRuntime | HookKind::CreateContainer => "creating",
            HookKind::StartContainer => "created",
            HookKind::Poststart => "running",
            HookKind::Poststop => "stopped",
        };
        assert_eq!(text("status"), status, "{kind:?}: {state}");
        let seen = state.get("pid").and_then(Value::as_u64).unwrap_or(0);
        let expected = if kind == HookKind::Poststop {
            0
        } else {
            u64::from(pid)
        };
        // Inside the container's pid namespace runc says 1.
        let as_inside = runs_inside(kind) && seen == 1;
        assert!(seen == expected || as_inside, "{kind:?}: {state}");
    }
}

#[test]
fn environment_arguments_and_path_are_those_of_the_hook() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let file = dir.join("seen");
    let script = format!("echo \"$0 $1 $COLOUR ${{HOME-none}}\" >{}", file.display());
    let hook = serde_json::json!({
        "path": "/bin/sh",
        "args": ["anything", "-c", script, "zero", "one"],
        "env": ["COLOUR=red"],
    });
    let c = lab.container(&sleeper(&dir).set("/hooks/createRuntime/-", hook));
    c.create();
    assert_eq!(fs::read_to_string(file).unwrap(), "zero one red none\n");
}

#[test]
fn runtime_hooks_run_outside_and_container_hooks_inside() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = HookKind::ALL.into_iter().fold(sleeper(&dir), |spec, kind| {
        let (dir, key) = (dir.display(), kind.key());
        let script = format!("readlink /proc/self/ns/uts >{dir}/{key}.uts");
        spec.hook(kind, "/bin/sh", &["sh", "-c", &script])
    });
    let c = lab.container(&spec);
    let pid = c.run();
    let inside = fs::read_link(format!("/proc/{pid}/ns/uts")).unwrap();
    let outside = fs::read_link("/proc/self/ns/uts").unwrap();
    c.kill_and_wait();
    c.delete().unwrap();
    for kind in HookKind::ALL {
        let seen = fs::read_to_string(dir.join(format!("{}.uts", kind.key()))).unwrap();
        let expected = if runs_inside(kind) { &inside } else { &outside };
        assert_eq!(Path::new(seen.trim()), expected, "{kind:?}");
    }
}

#[test]
fn create_runtime_hook_finds_the_namespaces_made() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let file = dir.join("netns");
    // What a network plugin does: it goes to the namespace by the pid it is told.
    let script = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); readlink /proc/$pid/ns/net >{}",
        file.display()
    );
    let spec = sleeper(&dir).hook(HookKind::CreateRuntime, "/bin/sh", &["sh", "-c", &script]);
    let c = lab.container(&spec);
    let pid = c.create();
    let seen = fs::read_to_string(file).unwrap();
    let expected = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(Path::new(seen.trim()), expected);
    assert_ne!(fs::read_link("/proc/self/ns/net").unwrap(), expected);
}

#[test]
fn failure_before_start_fails_create_and_skips_later_hooks() {
    for kind in [
        HookKind::Prestart,
        HookKind::CreateRuntime,
        HookKind::CreateContainer,
    ] {
        let lab = Lab::new();
        let dir = shared_dir(&lab);
        let spec = sleeper(&dir).hook(kind, "/bin/sh", &["sh", "-c", "echo why >&2; exit 3"]);
        let c = lab.container(&telling(spec, HookKind::StartContainer, &dir));
        let error = c.try_create().unwrap_err();
        assert!(error.message().contains("hook"), "{kind:?}: {error:?}");
        assert_eq!(order(&dir), Vec::<String>::new(), "{kind:?}");
        assert_eq!(lab.events().of(&c.id), [], "{kind:?}");
    }
}

#[test]
fn failing_start_container_hook_fails_start_and_stops_the_container() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = sleeper(&dir).hook(HookKind::StartContainer, "/bin/false", &["false"]);
    let c = lab.container(&spec);
    c.create();
    let error = c.try_start("").unwrap_err();
    assert!(error.message().contains("hook"), "{error:?}");
    c.wait();
    assert_eq!(c.status(), Status::STOPPED);
    c.delete().unwrap();
    lab.events().wait_for(Topic::Delete, &c.id, "");
    assert_eq!(
        lab.events().topics(&c.id),
        [Topic::Create, Topic::Exit, Topic::Delete]
    );
}

/// Up to version 1.2 of the specification it was logged and no more.
#[test]
fn failing_poststart_hook_fails_start_and_stops_the_container() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let c = lab.container(&sleeper(&dir).hook(HookKind::Poststart, "/bin/false", &["false"]));
    c.create();
    let error = c.try_start("").unwrap_err();
    assert!(error.message().contains("hook"), "{error:?}");
    assert_eq!(c.wait(), 137);
    eventually("stopped", || (c.status() == Status::STOPPED).then_some(()));
    c.delete().unwrap();
}

#[test]
fn failing_poststop_hook_stops_neither_the_deletion_nor_the_next_hook() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = sleeper(&dir).hook(HookKind::Poststop, "/bin/false", &["false"]);
    let c = lab.container(&telling(spec, HookKind::Poststop, &dir));
    c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    assert_eq!(
        order(&dir),
        ["poststop"],
        "the hook after the failed one did not run"
    );
}

#[test]
fn hook_past_its_timeout_is_killed_and_fails() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let hook = serde_json::json!({ "path": "/bin/sleep", "args": ["sleep", "600"], "timeout": 1 });
    let c = lab.container(&sleeper(&dir).set("/hooks/createRuntime/-", hook));
    let error = c.try_create().unwrap_err();
    assert!(error.message().contains("hook"), "{error:?}");
}
