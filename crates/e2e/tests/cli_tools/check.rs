//! `hull check`.

use crate::{Said, as_nobody, binary, hull, lonely_hull, said};
use hull_e2e::{Containerd, Lab, artifacts, target};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The item of a group.
#[track_caller]
fn item<'a>(findings: &'a Value, group: &str, name: &str) -> &'a Value {
    let named = |list: &'a Value, name: &str| {
        let list = list.as_array().unwrap();
        list.iter().find(|entry| entry["name"] == name)
    };
    named(&findings["groups"], group)
        .and_then(|group| named(&group["items"], name))
        .unwrap_or_else(|| panic!("no {group}/{name} in {findings:#}"))
}

/// Counts agree with the items, and the exit code with the counts.
#[track_caller]
fn is_consistent(said: &Said) -> Value {
    let findings = said.json();
    let groups = findings["groups"].as_array().unwrap();
    let items = groups
        .iter()
        .flat_map(|group| group["items"].as_array().unwrap());
    let words: Vec<&str> = items.map(|item| item["status"].as_str().unwrap()).collect();
    let count = |word: &str| words.iter().filter(|other| **other == word).count();
    let known = ["ok", "warn", "fail", "unknown"];
    assert!(words.iter().all(|word| known.contains(word)), "{words:?}");
    for word in known {
        assert_eq!(findings[word], json!(count(word)), "{word} of {findings:#}");
    }
    let code = i32::from(count("fail") != 0);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(code), ""),
        "{findings:#}"
    );
    findings
}

#[test]
fn check_looks_at_everything_and_finds_this_machine_fit() {
    let lab = Lab::new();
    let findings = is_consistent(&said(hull(&lab).args(["check", "--json"])));
    for (group, names) in [
        ("kernel", ["root", "version", "interfaces"].as_slice()),
        (
            "cgroups",
            &["mode", "controllers", "device filter", "cgroup.kill"],
        ),
        (
            "isolation",
            &["namespaces", "seccomp", "AppArmor", "SELinux"],
        ),
        ("file systems", &["overlay"]),
        (
            "hull",
            &["containerd-shim-hull-v1", "hull-wasm", "hull-wasmc"],
        ),
        ("artifact store", &["directory", "free space"]),
        (
            "containerd",
            &["containerd", "socket", "shim", "Kubernetes"],
        ),
    ] {
        for name in names {
            item(&findings, group, name);
        }
    }
    // The tests run here, so it is fit.
    assert_eq!(findings["fail"], 0, "{findings:#}");
    let interfaces = item(&findings, "kernel", "interfaces");
    assert_eq!(interfaces["status"], "ok", "{interfaces}");
    let shim = item(&findings, "hull", "containerd-shim-hull-v1");
    let path = shim["text"].as_str().unwrap();
    assert!(path.contains(target::bin_dir().to_str().unwrap()), "{shim}");
    // Looking changes nothing.
    assert!(!lab.artifacts().exists());
}

#[test]
fn check_fits_a_terminal_of_80_columns() {
    let lab = Lab::new();
    let shown = |env: &str| {
        let line = format!("stty cols 80; {env} {} check", binary().display());
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env("PATH", target::search_path())
            .env(artifacts::VARIABLE, lab.artifacts());
        said(&mut script).ok()
    };
    let plain = shown("NO_COLOR=1");
    assert!(!plain.contains('\x1b'), "{plain}");
    let plain: Vec<&str> = plain.lines().map(str::trim_end).collect();
    for line in &plain {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
    assert!(plain.len() > 30, "{plain:?}");
    let coloured = shown("NO_COLOR=");
    assert!(coloured.contains("\x1b[32m") && coloured.contains("\x1b[1mkernel\x1b[0m"));
    let mut left = String::new();
    for (at, piece) in coloured.split("\x1b[").enumerate() {
        let text = if at == 0 {
            piece
        } else {
            piece.split_once('m').unwrap().1
        };
        left.push_str(text);
    }
    let without: Vec<&str> = left.lines().map(str::trim_end).collect();
    // Free space may change from one look to the next.
    let stable = |lines: &[&str]| -> Vec<String> {
        let lines = lines.iter().filter(|line| !line.contains("free space"));
        lines.map(|line| (*line).to_owned()).collect()
    };
    assert_eq!(stable(&without), stable(&plain));
}

#[test]
fn check_fails_on_a_store_that_cannot_hold_code() {
    let lab = Lab::new();
    fs::create_dir(lab.artifacts()).unwrap();
    let script =
        "mount -t tmpfs -o noexec,mode=0700 tmpfs \"$HULL_ARTIFACTS\" && exec \"$0\" check";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(format!("{script} --json"))
        .arg(binary())
        .env("PATH", target::search_path())
        .env(artifacts::VARIABLE, lab.artifacts());
    let findings = is_consistent(&said(&mut command));
    let store = item(&findings, "artifact store", "directory");
    assert_eq!(store["status"], "fail", "{store}");
    assert!(
        store["text"].as_str().unwrap().contains("noexec"),
        "{store}"
    );
    // A store that others may write to is as bad; one that is fit is good.
    for (mode, status) in [(0o755, "fail"), (0o700, "ok")] {
        fs::set_permissions(lab.artifacts(), Permissions::from_mode(mode)).unwrap();
        let findings = is_consistent(&said(hull(&lab).args(["check", "--json"])));
        let store = item(&findings, "artifact store", "directory");
        assert_eq!(store["status"], status, "{store}");
    }
}

#[test]
fn check_fails_without_the_shim() {
    let lab = Lab::new();
    let hull = lonely_hull(&lab);
    let mut command = Command::new(&hull);
    command
        .args(["check", "--json"])
        .env("PATH", "/nowhere")
        .env(artifacts::VARIABLE, lab.artifacts());
    let findings = is_consistent(&said(&mut command));
    for (name, status) in [
        ("containerd-shim-hull-v1", "fail"),
        ("hull-wasm", "warn"),
        ("hull-wasmc", "warn"),
    ] {
        let item = item(&findings, "hull", name);
        assert_eq!(item["status"], status, "{item}");
        assert!(item["advice"].is_string(), "{item}");
    }
    assert_eq!(
        item(&findings, "containerd", "containerd")["status"],
        "warn"
    );
    // One that is no shim of this version.
    let fake = hull.with_file_name("containerd-shim-hull-v1");
    fs::write(&fake, "#!/bin/sh\necho containerd-shim-hull-v1 0.0.1\n").unwrap();
    fs::set_permissions(&fake, Permissions::from_mode(0o755)).unwrap();
    let findings = is_consistent(&said(&mut command));
    let shim = item(&findings, "hull", "containerd-shim-hull-v1");
    assert_eq!(shim["status"], "warn", "{shim}");
    assert!(shim["text"].as_str().unwrap().contains("0.0.1"), "{shim}");
}

#[test]
fn check_asks_the_containerd_that_runs() {
    let lab = Lab::new();
    let containerd = Containerd::start_own();
    let look = |containerd: &Containerd| {
        let mut command = hull(&lab);
        command
            .args(["check", "--json"])
            .env("CONTAINERD_ADDRESS", containerd.socket());
        is_consistent(&said(&mut command))
    };
    let findings = look(&containerd);
    for name in ["containerd", "socket", "shim"] {
        let item = item(&findings, "containerd", name);
        assert_eq!(item["status"], "ok", "{item}");
    }
    let shim = item(&findings, "containerd", "shim")["text"]
        .as_str()
        .unwrap();
    assert!(shim.contains(target::bin_dir().to_str().unwrap()), "{shim}");
    // Its own configuration, not that of /etc.
    let kubernetes = item(&findings, "containerd", "Kubernetes");
    let config = containerd.dir().join("config.toml");
    assert!(
        kubernetes["text"]
            .as_str()
            .unwrap()
            .contains(config.to_str().unwrap()),
        "{kubernetes}"
    );
    let text = fs::read_to_string(&config).unwrap();
    let table = "\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.hull]\n\
                 runtime_type = \"io.containerd.hull.v1\"\n";
    fs::write(&config, format!("{text}{table}")).unwrap();
    let findings = look(&containerd);
    let kubernetes = item(&findings, "containerd", "Kubernetes")["text"]
        .as_str()
        .unwrap();
    assert!(kubernetes.contains("runtime \"hull\""), "{kubernetes}");
    drop(containerd);
    let blind = Containerd::start_own_with(&[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")]);
    let findings = look(&blind);
    let shim = item(&findings, "containerd", "shim");
    assert_eq!(shim["status"], "fail", "{shim}");
}

#[test]
fn check_without_root_says_what_it_could_not_look_at() {
    let lab = Lab::new();
    fs::create_dir(lab.artifacts()).unwrap();
    fs::set_permissions(lab.artifacts(), Permissions::from_mode(0o700)).unwrap();
    let hull = lonely_hull(&lab);
    let mut command = as_nobody();
    command
        .arg(&hull)
        .args(["check", "--json"])
        .env("PATH", target::search_path())
        .env(artifacts::VARIABLE, lab.artifacts());
    let findings = is_consistent(&said(&mut command));
    assert_eq!(item(&findings, "kernel", "root")["status"], "unknown");
    assert_eq!(item(&findings, "kernel", "interfaces")["status"], "ok");
    assert_eq!(
        item(&findings, "artifact store", "directory")["status"],
        "unknown"
    );
    let namespaces = item(&findings, "isolation", "namespaces");
    assert_eq!(namespaces["status"], "ok", "{namespaces}");
    // Whether a store that it may look into is fit is for the user of the shim to say.
    fs::set_permissions(lab.artifacts(), Permissions::from_mode(0o755)).unwrap();
    let findings = is_consistent(&said(&mut command));
    let store = item(&findings, "artifact store", "directory");
    assert_eq!(store["status"], "unknown", "{store}");
}
