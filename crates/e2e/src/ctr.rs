//! Running a client with a deadline.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::{leaks, time};

/// The deadline of one ctr command.
const LIMIT: Duration = Duration::from_secs(60);

/// How a command ended and what it wrote.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its exit code; 128 + n if it died of signal n.
    pub code: i32,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: String,
    command: String,
}

impl Output {
    /// Its stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test unless it exited with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(
            self.code == code,
            "{} exited with {}, not {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            self.text(),
            self.stderr
        );
        self
    }

    /// Fails the test unless it exited with 0; gives its stdout.
    #[track_caller]
    pub fn ok(self) -> String {
        self.expect(0).text()
    }
}

/// Runs a command with this input to its end, or kills it at the deadline and fails the test.
pub fn run(mut command: Command, input: &[u8]) -> Output {
    let text = describe(&command);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let stdin = child.stdin.take().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (writer, input) = (stdin, input.to_vec());
    let writing = thread::spawn(move || {
        let mut writer = writer;
        // A command that ends without reading its input is right to do so.
        drop(writer.write_all(&input));
    });
    let (reading, reading_errors) = (drain(stdout), drain(stderr));
    let ended = time::look_until(LIMIT, || child.try_wait().unwrap());
    if ended.is_none() {
        leaks::kill(child.id());
    }
    let status = child.wait().unwrap();
    writing.join().unwrap();
    let (stdout, stderr) = (reading.join().unwrap(), reading_errors.join().unwrap());
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(
        ended.is_some(),
        "{text}: did not end within {:?}\nstdout: {}\nstderr: {stderr}",
        time::slowed(LIMIT),
        String::from_utf8_lossy(&stdout)
    );
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
    Output {
        code: status.code().unwrap_or(128 + signal),
        stdout,
        stderr,
        command: text,
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
