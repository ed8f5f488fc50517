//! A bundle, a place for sockets, and the shim's binary to call on them. Everything that was
//! started for a scene carries its directory in the environment; the end of the scene ends it.

use hull_sys::pidfd;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Variable that keeps the shim's own state apart and marks its processes.
const MARK: &str = "HULL_STATE_DIR";

/// Where the shim puts sockets unless containerd names a directory.
pub(crate) const DEFAULT_SOCKET_DIR: &str = "/run/containerd/s";

/// How long any process of a scene may take to end.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Scene {
    dir: TempDir,
    sockets: BTreeSet<PathBuf>,
}

/// One call of the shim.
pub(crate) struct Call<'a> {
    pub(crate) args: &'a [&'a str],
    pub(crate) env: &'a [(&'a str, &'a str)],
    pub(crate) stdin: &'a [u8],
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let scene = Self {
            dir,
            sockets: BTreeSet::new(),
        };
        scene.bundle("c1", "{}");
        scene
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// containerd's address; nobody is there, which must not matter.
    pub(crate) fn address(&self) -> String {
        format!("{}/containerd.sock", self.dir().display())
    }

    /// Makes a bundle with these annotations.
    pub(crate) fn bundle(&self, id: &str, annotations: &str) -> PathBuf {
        let bundle = self.dir().join("bundles").join(id);
        fs::create_dir_all(&bundle).unwrap();
        let config = format!(r#"{{"ociVersion": "1.0.2", "annotations": {annotations}}}"#);
        fs::write(bundle.join("config.json"), config).unwrap();
        bundle
    }

    /// The socket of a group by containerd's rule, as sha256sum computes it.
    pub(crate) fn socket(&mut self, dir: &Path, group: &str) -> PathBuf {
        let text = format!("{}/default/{group}", self.address());
        let sum = run(Command::new("sha256sum"), text.as_bytes());
        let sum = String::from_utf8(sum.stdout).unwrap();
        let path = dir.join(sum.split(' ').next().unwrap());
        self.sockets.insert(path.clone());
        path
    }

    /// Calls the shim with the bundle of `id` as working directory.
    pub(crate) fn call(&self, id: &str, call: &Call<'_>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_containerd-shim-hull-v1"));
        command
            .args(call.args)
            .envs(call.env.iter().copied())
            .env(MARK, self.dir().join("state"))
            .current_dir(self.dir().join("bundles").join(id));
        run(command, call.stdin)
    }

    /// Calls an action as containerd 1.6 does.
    pub(crate) fn action(&self, id: &str, action: &str, stdin: &[u8]) -> Output {
        let address = self.address();
        let args = [
            "-namespace",
            "default",
            "-address",
            &address,
            "-id",
            id,
            action,
        ];
        self.call(
            id,
            &Call {
                args: &args,
                env: &[],
                stdin,
            },
        )
    }

    /// Calls `start` and takes the plain address from its success.
    pub(crate) fn start(&self, id: &str) -> String {
        let output = self.action(id, "start", b"");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The daemons that were started here and live.
    pub(crate) fn daemons(&self) -> Vec<i32> {
        let is_daemon = |pid: &i32| {
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.ends_with(b"\0daemon\0")
        };
        self.processes().into_iter().filter(is_daemon).collect()
    }

    /// Every process that was started here and lives.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("{MARK}={}", self.dir().join("state").display());
        let marked = |pid: &i32| {
            let variables = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(marked).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for pid in self.processes() {
            end(pid, 9);
        }
        for socket in &self.sockets {
            let _gone = fs::remove_file(socket);
        }
    }
}

/// Sends a signal and waits until the process has ended.
pub(crate) fn end(pid: i32, signal: i32) {
    // It may have ended by itself.
    let Ok(process) = pidfd::open(pid) else {
        return;
    };
    let _ended = pidfd::send_signal(&process, signal);
    assert!(
        pidfd::wait_ended(&process, DEADLINE).unwrap(),
        "process {pid} stays"
    );
}

/// Runs a command to its end with this standard input. As for containerd, the end is where the last
/// holder of its standard output and error closes them.
pub(crate) fn run(mut command: Command, stdin: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    // A program that wants no input may have closed it.
    let _written = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}
