//! The test executables, built by cargo. They are static: they run wherever the kernel does.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Result;
use super::suite::Part;

/// A file of tests, built, and what of it is to run.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) part: Part,
    pub(super) path: PathBuf,
}

/// Builds the files. The order stays.
pub(super) fn build(parts: &[Part]) -> Result<Vec<Executable>> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["test", "--no-run", "--package", "hull-e2e"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    for part in parts {
        command.args(["--test", part.file.name]);
    }
    let messages = super::output(&mut command)?;
    parts.iter().map(|part| find(&messages, *part)).collect()
}

/// Finds a file's executable in what cargo tells of its work.
/// [Format](https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages).
fn find(messages: &str, part: Part) -> Result<Executable> {
    let path = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| {
            message["reason"] == "compiler-artifact"
                && message["target"]["kind"][0] == "test"
                && message["target"]["name"] == part.file.name
        })
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| format!("cargo made no executable of tests/{}", part.file.name))?;
    Ok(Executable { part, path })
}
