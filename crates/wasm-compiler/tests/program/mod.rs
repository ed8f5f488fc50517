//! Running the compiler as the jail does: streams, and nothing in the environment.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "test code, of which each test uses a part"
)]

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::process::{Command, Stdio};

/// What one run came to.
pub(crate) struct Outcome {
    /// Exit status; `None` after a signal.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) artifact: Vec<u8>,
    /// Standard error.
    pub(crate) line: String,
}

/// The compiler without an environment.
pub(crate) fn compiler(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hull-wasmc"));
    command.args(args).env_clear();
    command
}

/// Runs it with a file as standard input and another as standard output.
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Outcome {
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(input).unwrap();
    stdin.rewind().unwrap();
    let mut stdout = tempfile::tempfile().unwrap();
    let ran = command
        .stdin(stdin)
        .stdout(stdout.try_clone().unwrap())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    Outcome {
        status: ran.status.code(),
        artifact: content(&mut stdout),
        line: String::from_utf8(ran.stderr).unwrap(),
    }
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Compiles a module on two threads.
pub(crate) fn compile(module: &[u8]) -> Outcome {
    run(compiler(&["compile"]).env("RAYON_NUM_THREADS", "2"), module)
}

/// The binary form of a text.
pub(crate) fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}
