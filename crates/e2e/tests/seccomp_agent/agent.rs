//! A seccomp agent: the program in `agent.c`; what it does is written there.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use hull_e2e::eventually;

/// A running agent. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Agent {
    socket: PathBuf,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Agent {
    /// Builds one in a private directory and starts it; it listens.
    pub(crate) fn start(dir: &Path) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seccomp_agent/agent.c");
        let program = dir.join("seccomp-agent");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-static", "-Wall", "-Werror", "-o"]);
        let built = compiler.arg(&program).arg(source).output().unwrap();
        let text = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "cc: {text}");
        let socket = dir.join("agent.sock");
        let mut child = Command::new(program)
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let written = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let mut written = written.lock().unwrap_or_else(PoisonError::into_inner);
                written.push(line);
            }
        });
        let agent = Self {
            socket,
            child,
            lines,
            reader: Some(reader),
        };
        eventually("the agent listens", || agent.lines("listening").pop());
        agent
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// The container process states that it was sent so far, in order.
    pub(crate) fn states(&self) -> Vec<Value> {
        let states = self.lines("state ");
        let parsed = states.iter().map(|line| serde_json::from_str(line));
        parsed.collect::<Result<_, _>>().unwrap()
    }

    /// What it was asked so far, in order: process id, number of the call, path.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.lines("asked ")
    }

    /// What it wrote after this word.
    fn lines(&self, word: &str) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let rests = lines.iter().filter_map(|line| line.strip_prefix(word));
        rests.map(str::to_owned).collect()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        // Its children end with it, and its output with them.
        drop(self.reader.take().map(JoinHandle::join));
    }
}
