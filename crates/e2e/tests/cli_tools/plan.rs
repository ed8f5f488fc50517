//! `hull plan`.

use crate::{as_nobody, hull, lonely_hull, said};
use hull_e2e::{Lab, Spec, is_one_clear_line};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

fn bundle(lab: &Lab, config: &str) -> PathBuf {
    let dir = lab.dir().join("web-1");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), config).unwrap();
    dir
}

#[test]
fn plan_tells_what_the_shim_would_do() {
    let lab = Lab::new();
    let dir = bundle(&lab, &Spec::new(["sh", "-c", "exit 3"]).json().to_string());
    let text = said(hull(&lab).arg("plan").arg(&dir)).ok();
    for part in [
        "web-1\n",
        "by pivot_root",
        "sh -c \"exit 3\"",
        "CHOWN",
        "/dev/null",
        "proc",
        "cgroup",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // No terminal, no colours.
    assert!(!text.contains('\x1b'), "{text}");
    let file = dir.join("config.json");
    let json = said(hull(&lab).args(["plan", "--json"]).arg(&file));
    let plan = json.json();
    assert_eq!(plan["process"]["args"], json!(["sh", "-c", "exit 3"]));
    assert_eq!(plan["bundle"], json!(dir.to_str().unwrap()));
    let mut piped = hull(&lab);
    piped.args(["plan", "--json", "-"]).current_dir(&dir);
    let piped = piped.stdin(File::open(&file).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), json.out);
}

#[test]
fn plan_needs_no_root() {
    let lab = Lab::new();
    let dir = bundle(&lab, &Spec::new(["true"]).json().to_string());
    let hull = lonely_hull(&lab);
    let by_root = said(Command::new(&hull).arg("plan").arg(&dir)).ok();
    let mut nobody = as_nobody();
    let text = said(nobody.arg(&hull).arg("plan").arg(&dir)).ok();
    // Where a relative path of a cgroup leads is the same for both; so is all else.
    assert_eq!(text, by_root);
}

/// The one line of `hull plan` is in what the shim answers to Create.
#[test]
fn plan_refuses_what_the_shim_refuses_in_the_same_words() {
    let lab = Lab::new();
    let good = Spec::new(["true"]).json().to_string();
    let change = |pointer: &str, key: &str, value: Value| {
        let mut config: Value = serde_json::from_str(&good).unwrap();
        config.pointer_mut(pointer).unwrap()[key] = value;
        config.to_string()
    };
    for (config, part) in [
        (
            change("/linux", "mountLabel", json!("a_label")),
            "linux.mountLabel",
        ),
        (change("/process", "args", json!([])), "process.args"),
        (change("/process", "cwd", json!(7)), "process.cwd"),
        (change("", "ociVersion", json!("9.0")), "ociVersion"),
        ("{\n  \"linux\": ]\n}".to_owned(), "line 2 column 12"),
        (String::new(), "line 1 column 0"),
    ] {
        let said = said(hull(&lab).arg("plan").arg(bundle(&lab, &config)));
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
        is_one_clear_line(&said.err, &[part, "web-1"]);
        let (_, told) = said.err.split_once("invalid config: ").unwrap();
        let c = lab.container(&Spec::new(["true"]));
        fs::write(c.bundle.path().join("config.json"), &config).unwrap();
        let error = c.try_create().unwrap_err();
        let text = error.message();
        assert!(
            text.contains(told.trim_end()),
            "{told:?} is not in {text:?}"
        );
    }
}

#[test]
fn plan_of_nothing_says_so() {
    let lab = Lab::new();
    let said = said(hull(&lab).arg("plan").arg(lab.dir().join("none")));
    assert_eq!(said.code, Some(125));
    is_one_clear_line(&said.err, &["none", "No such file or directory"]);
}
