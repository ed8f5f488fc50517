//! The executables of test files, built by cargo.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Builds test files of this crate; gives their executables in the same order.
///
/// # Errors
/// When cargo fails, or made none for a name.
pub fn build(files: &[&str]) -> Result<Vec<PathBuf>, Box<dyn Error + Send + Sync>> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .args(["test", "--no-run", "--locked", "--package", "hull-e2e"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit());
    for file in files {
        command.args(["--test", file]);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("cargo test --no-run: {}", output.status).into());
    }
    let messages = String::from_utf8(output.stdout)?;
    files.iter().map(|file| find(&messages, file)).collect()
}

/// Finds a file's executable in what cargo tells of its work.
/// [Format](https://doc.rust-lang.org/cargo/reference/external-tools.html#json-messages).
fn find(messages: &str, file: &str) -> Result<PathBuf, Box<dyn Error + Send + Sync>> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|message| {
            message["reason"] == "compiler-artifact"
                && message["target"]["kind"][0] == "test"
                && message["target"]["name"] == file
        })
        .and_then(|message| message["executable"].as_str().map(PathBuf::from))
        .ok_or_else(|| format!("cargo made no executable of tests/{file}").into())
}
