//! `hull features`.

use crate::{hull, lonely_hull, said};
use hull_e2e::{Lab, is_one_clear_line};
use serde_json::json;
use std::process::Command;

#[test]
fn features_are_those_that_the_shim_tells_containerd() {
    let lab = Lab::new();
    let document = said(hull(&lab).arg("features")).json();
    assert_eq!(document["ociVersionMin"], json!("1.0.0"));
    let namespaces = document["linux"]["namespaces"].as_array().unwrap();
    assert!(namespaces.contains(&json!("cgroup")), "{document}");
    let raw = Command::new(&lab.binary().binary).arg("-info").output();
    // The document travels as it is, in a field of the message.
    let compact = document["linux"]["seccomp"]["archs"].to_string();
    let raw = String::from_utf8_lossy(&raw.unwrap().stdout).into_owned();
    assert!(raw.contains(&compact), "{raw}");
}

#[test]
fn without_the_shim_one_line_says_what_is_missing() {
    let lab = Lab::new();
    let mut alone = Command::new(lonely_hull(&lab));
    let text = said(alone.arg("features").env("PATH", "/nowhere")).err;
    is_one_clear_line(&text, &["containerd-shim-hull-v1"]);
}
