//! The bench's programs in C: built when they are needed, then asked line by line.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::{Result, report};
use crate::cc;

/// Builds `crates/e2e/floor/NAME.c`; gives the program.
pub(super) fn build(name: &str) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("floor/{name}.c"));
    let dir = report::dir().join("tools");
    fs::create_dir_all(&dir)?;
    let program = dir.join(name);
    cc::build_static(&source, &program)?;
    Ok(program)
}

/// A program that answers each line on its stdin with a line of numbers.
#[derive(Debug)]
pub(super) struct Tool {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Tool {
    /// Starts it.
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{name}: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = BufReader::new(stdout.ok_or("no stdout")?);
        Ok(Self {
            name,
            child,
            stdin,
            stdout,
        })
    }

    /// Asks once; gives the `N` numbers of the answer.
    pub(super) fn ask<const N: usize>(&mut self) -> Result<[u64; N]> {
        if let Some(stdin) = &mut self.stdin {
            stdin
                .write_all(b"\n")
                .map_err(|error| format!("{}: {error}", self.name))?;
        }
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let numbers = <[u64; N]>::try_from(numbers);
        Ok(numbers.map_err(|_| format!("{}: answered {line:?}; see stderr", self.name))?)
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // The end of its stdin ends it.
        drop(self.stdin.take());
        drop(self.child.wait());
    }
}
