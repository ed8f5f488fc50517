//! Hooks that fail or take too long, of each kind: what the caller is told, what becomes of the container,
//! which hooks still run, and that nothing is left. And hooks of all kinds in one list each.

#![expect(clippy::unwrap_used, reason = "test code")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use containerd_shim_protos::api::Status;
use hull_e2e::{
    Container, HookKind, Lab, Spec, Topic, cgroup, eventually, is_one_clear_line, procfs, slowed,
};
use serde_json::{Value, json};

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

/// A hook that is a shell.
fn shell(spec: Spec, kind: HookKind, text: &str) -> Spec {
    spec.hook(kind, "/bin/sh", &["sh", "-c", text])
}

/// A hook of each kind that appends its kind to `order`.
fn telling(spec: Spec, dir: &Path) -> Spec {
    HookKind::ALL.into_iter().fold(spec, |spec, kind| {
        let text = format!("echo {} >>{}/order", kind.key(), dir.display());
        shell(spec, kind, &text)
    })
}

fn order(dir: &Path) -> Vec<String> {
    let text = fs::read_to_string(dir.join("order")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn keys(kinds: &[HookKind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.key()).collect()
}

/// The hooks of a kind stand in a list: this is the second of theirs, after the telling one.
fn fails(spec: Spec, kind: HookKind) -> Spec {
    shell(spec, kind, "echo because >&2; exit 3")
}

/// What failing hooks are told in.
#[track_caller]
fn names_the_hook(text: &str, kind: HookKind) {
    let hook = format!("{} hook #1", kind.key());
    is_one_clear_line(text, &[&hook, "\"/bin/sh\"", "exit status 3", "because"]);
}

/// Neither a mount nor a cgroup is left, and the id can be used again.
#[track_caller]
fn nothing_is_left(c: &Container<'_>) {
    let rootfs = c.bundle.rootfs().display().to_string();
    assert_eq!(procfs::mounts_naming(&rootfs), [""; 0]);
    assert!(cgroup::directories_naming(&c.cgroup()).is_empty());
    c.reconfigure(&Spec::new(["sh", "-c", "exit 4"]));
    c.run();
    assert_eq!(c.wait(), 4);
    c.delete().unwrap();
}

#[test]
fn before_start_a_failing_hook_fails_create_and_poststop_hooks_run() {
    let before_start = [
        HookKind::Prestart,
        HookKind::CreateRuntime,
        HookKind::CreateContainer,
    ];
    for (at, kind) in before_start.into_iter().enumerate() {
        let lab = Lab::new();
        let dir = shared_dir(&lab);
        let c = lab.container(&fails(telling(sleeper(&dir), &dir), kind));
        let error = c.try_create().unwrap_err();
        names_the_hook(error.message(), kind);
        let mut ran = keys(&before_start[..=at]);
        ran.push("poststop");
        assert_eq!(order(&dir), ran, "{kind:?}");
        assert_eq!(lab.events().of(&c.id), [], "{kind:?}");
        nothing_is_left(&c);
    }
}

#[test]
fn at_start_a_failing_hook_fails_start_and_poststop_hooks_run_with_delete() {
    for (kind, status) in [
        (HookKind::StartContainer, None),
        (HookKind::Poststart, Some(137)),
    ] {
        let lab = Lab::new();
        let dir = shared_dir(&lab);
        let c = lab.container(&fails(telling(sleeper(&dir), &dir), kind));
        c.create();
        let error = c.try_start("").unwrap_err();
        names_the_hook(error.message(), kind);
        let exit = c.wait();
        assert!(
            status.is_none_or(|status| exit == status),
            "{kind:?}: {exit}"
        );
        eventually("stopped", || (c.status() == Status::STOPPED).then_some(()));
        let started = HookKind::ALL
            .iter()
            .position(|other| *other == kind)
            .unwrap();
        let mut ran = keys(&HookKind::ALL[..=started]);
        assert_eq!(order(&dir), ran, "{kind:?}");
        c.delete().unwrap();
        ran.push("poststop");
        assert_eq!(order(&dir), ran, "{kind:?}");
        lab.events().wait_for(Topic::Delete, &c.id, "");
        nothing_is_left(&c);
    }
}

#[test]
fn failing_poststop_hooks_are_logged_and_all_others_run() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = fails(telling(sleeper(&dir), &dir), HookKind::Poststop);
    let spec = shell(
        spec,
        HookKind::Poststop,
        &format!("echo last >>{}/order", dir.display()),
    );
    let c = lab.container(&spec);
    c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    let mut ran = keys(&HookKind::ALL);
    ran.push("last");
    assert_eq!(order(&dir), ran);
    let log = c.bundle.log();
    assert!(
        log.contains("poststop hook #1") && log.contains("because"),
        "{log}"
    );
    nothing_is_left(&c);
}

/// Poststop hooks run for a create that failed at something else, too.
#[test]
fn create_that_fails_by_itself_runs_the_hooks_it_came_to_and_poststop() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = telling(sleeper(&dir), &dir).set("/process/args", json!(["/absent"]));
    let c = lab.container(&spec);
    c.try_create().unwrap_err();
    let ran = ["prestart", "createRuntime", "createContainer", "poststop"];
    assert_eq!(order(&dir), ran);
    nothing_is_left(&c);
}

/// The action `delete` does what the daemon cannot any more, and does it once.
#[test]
fn poststop_hooks_of_a_dead_daemon_run_with_the_delete_action() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let c = lab.container(&telling(sleeper(&dir), &dir));
    c.run();
    lab.kill_daemon(c.shim_pid());
    c.wait_for_daemon();
    for _ in 0..2 {
        lab.binary().delete(&c.id, c.bundle.path()).unwrap();
    }
    assert_eq!(order(&dir), keys(&HookKind::ALL));
}

/// A hook that starts another process and waits for ever.
fn endless(spec: Spec, kind: HookKind) -> Spec {
    let args = ["sh", "-c", "sleep 613 & wait"];
    let hook = json!({ "path": "/bin/sh", "args": args, "timeout": 1 });
    spec.set(&format!("/hooks/{}/-", kind.key()), hook)
}

#[test]
fn hook_of_any_kind_past_its_timeout_is_killed_with_what_it_has_started() {
    for kind in HookKind::ALL {
        let lab = Lab::new();
        let dir = shared_dir(&lab);
        let c = lab.container(&endless(sleeper(&dir), kind));
        let began = Instant::now();
        let said = match kind {
            HookKind::Prestart | HookKind::CreateRuntime | HookKind::CreateContainer => {
                c.try_create().unwrap_err().message().to_owned()
            }
            HookKind::StartContainer | HookKind::Poststart => {
                c.create();
                let error = c.try_start("").unwrap_err();
                c.wait();
                error.message().to_owned()
            }
            HookKind::Poststop => {
                c.run();
                c.kill_and_wait();
                c.delete().unwrap();
                c.bundle.log()
            }
        };
        assert!(
            began.elapsed() < slowed(Duration::from_secs(60)),
            "{kind:?}"
        );
        let hook = format!("{} hook #0", kind.key());
        assert!(
            said.contains(&hook) && said.contains("timeout of 1 s"),
            "{kind:?}: {said}"
        );
        // It works in the bundle, or it is in the cgroup; both names have the tag.
        eventually("the end of the hook's child", || {
            let left = procfs::processes_naming(lab.tag());
            let left = left
                .iter()
                .any(|process| process.trace.contains("sleep 613"));
            (!left).then_some(())
        });
    }
}

#[test]
fn each_list_runs_in_its_order_and_stops_where_one_fails() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let tell = |spec, kind: HookKind, word: &str| {
        let text = format!("echo {}-{word} >>{}/order", kind.key(), dir.display());
        shell(spec, kind, &text)
    };
    let spec = HookKind::ALL.into_iter().fold(sleeper(&dir), |spec, kind| {
        ["a", "b", "c"]
            .into_iter()
            .fold(spec, |spec, word| tell(spec, kind, word))
    });
    let c = lab.container(&spec);
    c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    let all = HookKind::ALL.iter();
    let wanted: Vec<String> = all
        .flat_map(|kind| ["a", "b", "c"].map(|word| format!("{}-{word}", kind.key())))
        .collect();
    assert_eq!(order(&dir), wanted);

    let c = lab.container(&tell(
        fails(
            tell(sleeper(&dir), HookKind::CreateRuntime, "x"),
            HookKind::CreateRuntime,
        ),
        HookKind::CreateRuntime,
        "never",
    ));
    c.try_create().unwrap_err();
    assert_eq!(order(&dir).last().unwrap(), "createRuntime-x");
}

#[test]
fn state_has_exactly_the_properties_of_the_specification() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = HookKind::ALL.into_iter().fold(sleeper(&dir), |spec, kind| {
        let text = format!("cat >{}/{}", dir.display(), kind.key());
        shell(spec, kind, &text)
    });
    let spec = spec.annotation("org.example.colour", "\"red\"\n");
    let c = lab.container(&spec.set("/ociVersion", "1.1.0"));
    let pid = c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    for kind in HookKind::ALL {
        let text = fs::read_to_string(dir.join(kind.key())).unwrap();
        let state: Value = serde_json::from_str(&text).unwrap();
        let status = match kind {
            HookKind::Prestart | HookKind::CreateRuntime | HookKind::CreateContainer => "creating",
            HookKind::StartContainer => "created",
            HookKind::Poststart => "running",
            HookKind::Poststop => "stopped",
        };
        let mut wanted = json!({
            "ociVersion": "1.1.0",
            "id": c.id,
            "status": status,
            "bundle": c.bundle.path(),
            "annotations": { "org.example.colour": "\"red\"\n" },
        });
        if kind != HookKind::Poststop {
            wanted["pid"] = json!(pid);
        }
        assert_eq!(state, wanted, "{kind:?}");
    }
}

/// The variables of a child of a shell that the shell has not made itself.
fn variables(environ: &str) -> Vec<&str> {
    let own = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
    let made = |entry: &&str| own.iter().any(|name| entry.starts_with(name));
    let entries = environ.split('\0').filter(|entry| !entry.is_empty());
    entries.filter(|entry| !made(entry)).collect()
}

#[test]
fn program_gets_its_arguments_and_its_environment_and_nothing_else() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let file = |kind: HookKind| dir.join(kind.key());
    let spec = HookKind::ALL.into_iter().fold(sleeper(&dir), |spec, kind| {
        let text = format!(
            "{{ printf '%s\\0' \"$0\" \"$@\"; cat /proc/self/environ; }} >{}",
            file(kind).display()
        );
        let hook = json!({
            "path": "/bin/sh",
            "args": ["sh", "-c", text, "zero", "one two"],
            "env": ["EMPTY=", "PATH=/usr/bin:/bin", "A=b=c"],
        });
        spec.set(&format!("/hooks/{}/-", kind.key()), hook)
    });
    let c = lab.container(&spec);
    c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    for kind in HookKind::ALL {
        let seen = fs::read_to_string(file(kind)).unwrap();
        let (args, env) = seen.split_at(seen.find("one two\0").unwrap() + 8);
        assert_eq!(args, "zero\0one two\0", "{kind:?}");
        let mut parts = variables(env);
        parts.sort_unstable();
        assert_eq!(parts, ["A=b=c", "EMPTY=", "PATH=/usr/bin:/bin"], "{kind:?}");
    }
}

#[test]
fn hook_with_a_relative_path_or_no_variable_is_refused_before_anything_runs() {
    for (kind, hook, part) in [
        (
            HookKind::Poststop,
            json!({ "path": "bin/true" }),
            "path: \"bin/true\" is not absolute",
        ),
        (
            HookKind::StartContainer,
            json!({ "path": "/bin/true", "env": ["COLOUR"] }),
            "env[0]: it is not NAME=value",
        ),
        (
            HookKind::Poststart,
            json!({ "path": "/bin/true", "timeout": -1 }),
            "timeout: -1 is not a number of seconds",
        ),
    ] {
        let lab = Lab::new();
        let dir = shared_dir(&lab);
        let key = kind.key();
        let spec = shell(
            sleeper(&dir),
            HookKind::Prestart,
            &format!("echo ran >>{}/order", dir.display()),
        );
        let c = lab.container(&spec.set(&format!("/hooks/{key}/-"), hook));
        let error = c.try_create().unwrap_err();
        is_one_clear_line(error.message(), &[&format!("hooks.{key}[0].{part}")]);
        assert_eq!(order(&dir), [""; 0]);
        nothing_is_left(&c);
    }
}

/// The environment of the process is what hooks inside get that bring none; those outside get nothing.
#[test]
fn hook_without_an_environment() {
    let lab = Lab::new();
    let dir = shared_dir(&lab);
    let spec = HookKind::ALL.into_iter().fold(sleeper(&dir), |spec, kind| {
        let text = format!("cat /proc/self/environ >{}/{}", dir.display(), kind.key());
        shell(spec, kind, &text)
    });
    let c = lab.container(&spec.env("COLOUR", "red").set("/process/env/0", "PATH=/bin"));
    c.run();
    c.kill_and_wait();
    c.delete().unwrap();
    for kind in HookKind::ALL {
        let seen = fs::read_to_string(dir.join(kind.key())).unwrap();
        let inherits = kind == HookKind::StartContainer;
        let wanted: &[&str] = if inherits {
            &["COLOUR=red", "PATH=/bin"]
        } else {
            &[]
        };
        let mut seen = variables(&seen);
        seen.sort_unstable();
        assert_eq!(seen, wanted, "{kind:?}");
    }
}
