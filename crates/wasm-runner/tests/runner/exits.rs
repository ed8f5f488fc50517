//! Exit codes, and the one line about a guest that could not be started.

use crate::guest::{Guest, RUNNER, command, stderr};
use std::process::Command;

#[test]
fn the_guest_chooses_its_exit_code() {
    for code in [0, 1, 42, 125, 126, 127, 134, 255] {
        let output = command(&format!("(call $proc_exit (i32.const {code}))")).run();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn returning_is_success() {
    assert_eq!(command("").run().status.code(), Some(0));
}

/// Checks that it was not started, and why not.
fn assert_not_started(guest: &Guest, code: i32, causes: &[&str]) {
    let output = guest.run();
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = stderr(&output);
    assert!(text.starts_with("hull-wasm: /guest.wasm: "), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    for cause in causes {
        assert!(text.contains(cause), "{text}");
    }
}

#[test]
fn an_artifact_that_is_none_is_not_loaded() {
    assert_not_started(&Guest::of_artifact(b""), 127, &["cannot read the artifact"]);
    let zeros = Guest::of_artifact(&[0; 5000]);
    assert_not_started(&zeros, 127, &["cannot load the artifact"]);
}

#[test]
fn bytes_behind_an_artifact_do_not_matter() {
    let guest = command("(call $proc_exit (i32.const 7))");
    let path = guest.directory.path().join("artifact");
    let mut artifact = std::fs::read(&path).unwrap();
    artifact.extend([b'x'; 77]);
    std::fs::write(path, artifact).unwrap();
    assert_eq!(guest.run().status.code(), Some(7));
}

#[test]
fn without_descriptors_nothing_is_started() {
    let run = |value: Option<&str>| {
        let mut command = Command::new(RUNNER);
        command.env_clear();
        if let Some(value) = value {
            command.env("HULL_WASM_FDS", value);
        }
        command.output().unwrap()
    };
    for value in [None, Some(""), Some("3"), Some("1:2"), Some("70:71")] {
        let output = run(value);
        assert_eq!(output.status.code(), Some(127), "{value:?}");
        assert_eq!(stderr(&output).lines().count(), 1, "{value:?}");
    }
}

#[test]
fn a_config_that_is_none_or_of_another_version_is_refused() {
    let guest = command("");
    let of_another = hull_abi::encode(&(0_u32, &guest.config)).unwrap();
    for (config, reason) in [
        (b"\xff\xff\xff".to_vec(), "malformed"),
        (of_another, "layout 0 instead of"),
    ] {
        let mut command = guest.command();
        std::fs::write(guest.directory.path().join("config"), config).unwrap();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(127));
        let line = format!("cannot read the config: {reason}");
        assert!(stderr(&output).contains(&line), "{output:?}");
    }
}
