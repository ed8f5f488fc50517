//! `hull cache`.

use crate::{Said, as_nobody, binary, hull, lonely_hull, said};
use hull_e2e::artifacts::{self, Stored};
use hull_e2e::{Lab, Spec, eventually, is_one_clear_line};
use serde_json::json;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

const HELLO: &str = "/wasm/hello.wasm";

/// Compiles a module by running it.
#[track_caller]
fn compile(lab: &Lab, guest: &str, output: &str) {
    let ran = lab.container(&Spec::new([guest])).run_to_end();
    assert_eq!((ran.status, ran.stdout.as_str()), (0, output), "{ran:?}");
}

/// A world with two artifacts, hello's the older one.
fn two_artifacts() -> (Lab, Stored, Stored) {
    let lab = Lab::wasm();
    compile(&lab, HELLO, "hello from Wasm\n");
    let hello = artifacts::single(&lab.artifacts());
    let old = SystemTime::now() - Duration::from_secs(3 * 86_400);
    let times = FileTimes::new().set_modified(old).set_accessed(old);
    File::open(&hello.path).unwrap().set_times(times).unwrap();
    compile(&lab, "/wasm/output.wasm", "out\n");
    let all = artifacts::list(&lab.artifacts());
    let output = all.into_iter().find(|stored| stored.path != hello.path);
    (lab, hello, output.unwrap())
}

fn key(stored: &Stored) -> String {
    stored
        .path
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// Puts other bytes in place of a stored file, which looks as before from outside.
fn rewrite(stored: &Stored, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(&stored.path).unwrap();
    change(&mut bytes);
    fs::remove_file(&stored.path).unwrap();
    fs::write(&stored.path, bytes).unwrap();
    fs::set_permissions(&stored.path, Permissions::from_mode(0o444)).unwrap();
}

fn left(lab: &Lab) -> Vec<String> {
    assert_eq!(artifacts::leftovers(&lab.artifacts()), Vec::<String>::new());
    artifacts::list(&lab.artifacts()).iter().map(key).collect()
}

#[test]
fn cache_list_shows_artifacts_from_old_to_new() {
    let (lab, hello, output) = two_artifacts();
    let listed = said(hull(&lab).args(["cache", "list", "--json"])).json();
    let found = listed["artifacts"].as_array().unwrap();
    let keys: Vec<&str> = found.iter().map(|a| a["key"].as_str().unwrap()).collect();
    assert_eq!(keys, [key(&hello), key(&output)]);
    for artifact in found {
        assert_eq!(artifact["engine"], "current", "{listed:#}");
        assert_eq!(artifact["kind"], "module", "{listed:#}");
        let version = artifact["version"].as_str().unwrap();
        assert!(version.starts_with("48"), "{version}");
    }
    let age = found[0]["age_seconds"].as_u64().unwrap();
    assert!((3 * 86_400..4 * 86_400).contains(&age), "{age}");
    let size = |stored: &Stored| fs::metadata(&stored.path).unwrap().len();
    assert_eq!(listed["bytes"], json!(size(&hello) + size(&output)));
    let text = said(hull(&lab).args(["cache", "list"])).ok();
    assert!(
        text.contains(&key(&hello)[..12]) && text.contains("3d  "),
        "{text}"
    );
    assert!(text.contains("2 artifacts, "), "{text}");
    // Whatever is used goes last from then on.
    compile(&lab, HELLO, "hello from Wasm\n");
    eventually("the use is noted", || {
        let listed = said(hull(&lab).args(["cache", "list", "--json"])).json();
        let last = &listed["artifacts"][1];
        assert!(
            last["age_seconds"].as_u64().unwrap() >= age || last["key"] != key(&hello).as_str()
        );
        (last["key"] == key(&hello).as_str()).then_some(())
    });
    // Without the compiler nobody can tell what is stale.
    let mut lonely = Command::new(lonely_hull(&lab));
    lonely
        .env("PATH", "/nowhere")
        .env(artifacts::VARIABLE, lab.artifacts());
    let listed = said(lonely.args(["cache", "list", "--json"])).json();
    assert_eq!(listed["artifacts"][0]["engine"], "unknown");
    assert!(
        listed["unknown_because"]
            .as_str()
            .unwrap()
            .contains("hull-wasmc")
    );
}

#[test]
fn cache_verify_finds_one_changed_byte_and_removes_only_that_artifact() {
    let (lab, hello, output) = two_artifacts();
    let text = said(hull(&lab).args(["cache", "verify"])).ok();
    assert!(
        text.contains("read 2 artifacts") && text.contains("all good"),
        "{text}"
    );
    rewrite(&hello, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let found = said(hull(&lab).args(["cache", "verify", "--json"]));
    assert_eq!(found.code, Some(1), "{found:?}");
    let bad = &found.json()["bad"];
    assert_eq!(bad.as_array().unwrap().len(), 1, "{bad}");
    assert_eq!(
        (&bad[0]["key"], &bad[0]["removed"]),
        (&json!(key(&hello)), &json!(false))
    );
    assert!(bad[0]["flaw"].as_str().unwrap().contains("digest"), "{bad}");
    assert_eq!(left(&lab).len(), 2);
    let text = said(hull(&lab).args(["cache", "verify", "--remove"])).ok();
    assert!(text.contains("1 bad, 1 removed"), "{text}");
    assert_eq!(left(&lab), [key(&output)]);
    compile(&lab, HELLO, "hello from Wasm\n");
    said(hull(&lab).args(["cache", "verify"])).ok();
}

#[test]
fn cache_prune_removes_what_was_chosen() {
    let (lab, hello, output) = two_artifacts();
    let prune = |args: &[&str]| {
        let said = said(hull(&lab).args(["cache", "prune", "--json"]).args(args));
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{said:?}");
        said.json()["removed"].clone()
    };
    assert_eq!(prune(&[]), json!([]));
    assert_eq!(prune(&["--older-than", "4d"]), json!([]));
    assert_eq!(prune(&["--keep-bytes", "1g"]), json!([]));
    assert_eq!(
        prune(&["--all", "--dry-run"]),
        json!([key(&hello), key(&output)])
    );
    assert_eq!(left(&lab).len(), 2);
    assert_eq!(prune(&["--older-than", "2d"]), json!([key(&hello)]));
    assert_eq!(left(&lab), [key(&output)]);
    // As a wasmtime of before would have left it.
    rewrite(&output, |bytes| {
        let engine = |part: &[u8]| part.starts_with(b"\0\x0248") && part.ends_with(b"x86_64");
        let at = bytes.windows(11).position(engine).unwrap();
        bytes[at + 3] = b'7';
    });
    compile(&lab, HELLO, "hello from Wasm\n");
    let text = said(hull(&lab).args(["cache", "list"])).ok();
    assert!(text.contains("stale (wasmtime 47)"), "{text}");
    assert_eq!(prune(&[]), json!([key(&output)]));
    assert_eq!(left(&lab), [key(&hello)]);
    assert_eq!(prune(&["--keep-bytes", "0"]), json!([key(&hello)]));
    assert_eq!(left(&lab), Vec::<String>::new());
}

#[test]
fn cache_prune_spares_what_is_being_stored_and_sweeps_what_was_left() {
    let (lab, hello, output) = two_artifacts();
    // As whoever compiles hello anew holds it.
    let lock = lab.artifacts().join(format!("{}.lock", key(&hello)));
    let held = File::create(&lock).unwrap();
    held.lock().unwrap();
    fs::write(lab.artifacts().join("tmp.1.0"), "half").unwrap();
    let pruned = said(hull(&lab).args(["cache", "prune", "--all", "--json"])).json();
    assert_eq!(pruned["busy"], json!([key(&hello)]), "{pruned:#}");
    assert_eq!(pruned["removed"], json!([key(&output)]), "{pruned:#}");
    assert_eq!(pruned["swept"], 1, "{pruned:#}");
    assert!(lock.exists() && hello.path.exists());
    drop(held);
    let pruned = said(hull(&lab).args(["cache", "prune", "--all", "--json"])).json();
    assert_eq!(pruned["removed"], json!([key(&hello)]), "{pruned:#}");
    assert_eq!(left(&lab), Vec::<String>::new());
}

#[test]
fn cache_prune_disturbs_neither_running_nor_starting_containers() {
    let lab = Lab::wasm();
    let mut c = lab.container(&Spec::new(["/wasm/ticks.wasm"]));
    c.run();
    c.read_until("tick\n");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::Relaxed) {
                let pruned = said(hull(&lab).args(["cache", "prune", "--all", "--json"])).json();
                removed += pruned["removed"].as_array().unwrap().len();
            }
            removed
        });
        for number in 0..20 {
            let ran = c.exec(&format!("e{number}"), [HELLO]);
            assert_eq!((ran.status, ran.stdout.as_str()), (0, "hello from Wasm\n"));
        }
        done.store(true, Ordering::Relaxed);
        assert!(pruning.join().unwrap() > 0);
    });
    c.stdio.out.as_mut().unwrap().read_available();
    c.read_until("tick\n");
    assert_eq!(c.kill_and_wait(), 137);
}

#[test]
fn cache_without_a_store_or_without_root_is_one_clear_line() {
    let lab = Lab::new();
    for command in ["list", "verify", "prune"] {
        let text = said(hull(&lab).args(["cache", command])).ok();
        let parts = [
            lab.artifacts().to_str().unwrap().to_owned(),
            "nothing was compiled".to_owned(),
        ];
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        let json = said(hull(&lab).args(["cache", command, "--json"])).json();
        assert_eq!(json["exists"], false);
    }
    assert!(!lab.artifacts().exists());
    fs::create_dir(lab.artifacts()).unwrap();
    fs::set_permissions(lab.artifacts(), Permissions::from_mode(0o700)).unwrap();
    let hull = lonely_hull(&lab);
    let store = lab.artifacts();
    for command in ["list", "verify", "prune"] {
        let mut nobody = as_nobody();
        nobody.arg(&hull).args(["cache", command]);
        let said = said(nobody.env(artifacts::VARIABLE, &store));
        assert_eq!((said.code, said.out.as_str()), (Some(125), ""), "{said:?}");
        is_one_clear_line(&said.err, &[store.to_str().unwrap(), "root"]);
    }
    let file = lab.dir().join("file");
    fs::write(&file, "").unwrap();
    let refused = listed(&file);
    is_one_clear_line(&refused.err, &["file", "not a directory"]);
}

fn listed(store: &Path) -> Said {
    let mut command = Command::new(binary());
    said(
        command
            .args(["cache", "list"])
            .env(artifacts::VARIABLE, store),
    )
}

#[test]
fn cache_removes_nothing_from_a_directory_that_is_no_store() {
    let lab = Lab::new();
    let foreign = lab.dir().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::set_permissions(&foreign, Permissions::from_mode(0o755)).unwrap();
    let names = [".pwd.lock", "a.lock", "slot0.lock"];
    for name in names {
        fs::write(foreign.join(name), "").unwrap();
    }
    let prune = |mode| {
        fs::set_permissions(&foreign, Permissions::from_mode(mode)).unwrap();
        let mut command = hull(&lab);
        command.args(["cache", "prune", "--all"]);
        said(command.env(artifacts::VARIABLE, &foreign))
    };
    let refused = prune(0o755);
    assert_eq!(refused.code, Some(125), "{refused:?}");
    is_one_clear_line(&refused.err, &["cache prune", "755"]);
    assert!(names.iter().all(|name| foreign.join(name).exists()));
    // In one that could be a store, only names that hull gives are swept.
    prune(0o700).ok();
    let left = names.map(|name| foreign.join(name).exists());
    assert_eq!(left, [true, true, false]);
}

#[test]
fn cache_prune_goes_on_after_what_cannot_be_removed() {
    let lab = Lab::new();
    let store = lab.artifacts();
    fs::create_dir(&store).unwrap();
    fs::set_permissions(&store, Permissions::from_mode(0o700)).unwrap();
    let (directory, file) = ("a".repeat(64), "b".repeat(64));
    fs::create_dir(store.join(&directory)).unwrap();
    fs::write(store.join(&file), "").unwrap();
    let pruned = said(hull(&lab).args(["cache", "prune", "--all", "--json"]));
    assert_eq!((pruned.code, pruned.err.as_str()), (Some(1), ""));
    let pruned = pruned.json();
    assert_eq!(pruned["removed"], json!([file]), "{pruned:#}");
    assert_eq!(pruned["failed"][0]["key"], json!(directory), "{pruned:#}");
    assert!(store.join(&directory).exists() && !store.join(&file).exists());
}
