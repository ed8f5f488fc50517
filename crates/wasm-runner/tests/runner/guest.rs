//! A guest for one test: WebAssembly text, compiled, and what the runner is told of it.

use hull_abi::{Preopen, RunnerConfig};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The runner under test.
pub(crate) const RUNNER: &str = env!("CARGO_BIN_EXE_hull-wasm");

/// Hands over config (`$1`) and artifact (`$2`) as descriptors 3 and 4, with nothing else in the
/// environment; `$0` is the runner.
const HAND_OVER: &str = r#"exec env -i HULL_WASM_FDS=3:4 "$0" 3<"$1" 4<"$2""#;

pub(crate) struct Guest {
    /// Everything that belongs to the guest; preopen it as you like.
    pub(crate) directory: TempDir,
    pub(crate) config: RunnerConfig,
    /// Command line before the shell that hands over.
    pub(crate) prefix: Vec<String>,
    pub(crate) runner: PathBuf,
}

/// A preview 1 module that exports its memory and whose `_start` is `body`, with what the tests use
/// of preview 1 imported. The first 64 KiB of memory are its own.
pub(crate) fn command(body: &str) -> Guest {
    Guest::new(&module(body, "(func (export \"_start\") (call $main))"))
}

/// As [`command`], but the text decides what is exported; `body` is the function `$main`.
pub(crate) fn module(body: &str, rest: &str) -> String {
    let imports: String = [
        ("fd_write", "i32 i32 i32 i32", true),
        ("fd_read", "i32 i32 i32 i32", true),
        ("fd_close", "i32", true),
        ("fd_fdstat_get", "i32 i32", true),
        ("poll_oneoff", "i32 i32 i32 i32", true),
        ("path_open", "i32 i32 i32 i32 i32 i64 i64 i32 i32", true),
        ("path_unlink_file", "i32 i32 i32", true),
        ("environ_get", "i32 i32", true),
        ("proc_exit", "i32", false),
    ]
    .iter()
    .map(|(name, params, result)| {
        let result = if *result { "(result i32)" } else { "" };
        format!(
            "(import \"wasi_snapshot_preview1\" \"{name}\" \
             (func ${name} (param {params}) {result}))\n"
        )
    })
    .collect();
    format!("(module {imports} (memory (export \"memory\") 1) (func $main {body}) {rest})")
}

/// Text that writes `bytes` of memory from `at` to a descriptor with one call and leaves the errno on
/// the stack.
pub(crate) fn write(descriptor: u32, at: u32, bytes: u32) -> String {
    format!(
        "(i32.store (i32.const 1000) (i32.const {at}))
         (i32.store (i32.const 1004) (i32.const {bytes}))
         (call $fd_write (i32.const {descriptor}) (i32.const 1000) (i32.const 1) (i32.const 1008))"
    )
}

impl Guest {
    pub(crate) fn new(text: &str) -> Self {
        let module = wat::parse_str(text).unwrap();
        let artifact = compile(&module);
        Self::of_artifact(&artifact)
    }

    pub(crate) fn of_artifact(artifact: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("artifact"), artifact).unwrap();
        Self {
            directory,
            config: RunnerConfig {
                program: "/guest.wasm".to_owned(),
                args: vec!["/guest.wasm".to_owned()],
                cwd: "/".to_owned(),
                ..RunnerConfig::default()
            },
            prefix: Vec::new(),
            runner: PathBuf::from(RUNNER),
        }
    }

    pub(crate) fn preopen(mut self, path: &Path, readonly: bool) -> Self {
        let path = path.to_str().unwrap().to_owned();
        let guest = path.clone();
        self.config.preopens.push(Preopen {
            path,
            guest,
            readonly,
        });
        self
    }

    /// The command that starts the guest, streams not yet set.
    pub(crate) fn command(&self) -> Command {
        let config = self.directory.path().join("config");
        std::fs::write(&config, self.config.encode().unwrap()).unwrap();
        let mut words = self.prefix.clone();
        words.extend(["sh".to_owned(), "-c".to_owned(), HAND_OVER.to_owned()]);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(&self.runner)
            .arg(config)
            .arg(self.directory.path().join("artifact"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Runs it with this input and then the end of it.
    pub(crate) fn run_with_input(&self, input: &[u8]) -> Output {
        let mut child = self.piped();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    fn piped(&self) -> Child {
        self.command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Starts it with three pipes.
    pub(crate) fn spawn(self) -> Running {
        Running {
            child: self.piped(),
            _guest: self,
        }
    }
}

/// A guest that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    _guest: Guest,
}

impl std::ops::Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl std::ops::DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn compile(module: &[u8]) -> Vec<u8> {
    let compiler = std::env::var("HULL_WASMC")
        .expect("HULL_WASMC must be the path of the hull-wasmc binary that makes the artifacts");
    let mut child = Command::new(compiler)
        .arg("compile")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(module).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the compiler refused the module");
    output.stdout
}

pub(crate) fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A line of /proc/<pid>/status.
pub(crate) fn status(pid: u32, key: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

/// Waits until the guest itself runs: from then on the filter is loaded.
pub(crate) fn wait_until_confined(pid: u32) {
    wait_until("the guest runs", || {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "guest.wasm") && status(pid, "Seccomp") == "2"
    });
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
