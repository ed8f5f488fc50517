//! A private world for the command line tool: no containerd, and state, store and names of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::leaks::Search;
use crate::rootfs::Image;
use crate::{Output, artifacts, ctr, janitor, leaks, target, time};

/// Runs of `hull`. Dropping it fails the test if anything is left of them.
#[derive(Debug)]
pub struct Cli {
    tag: String,
    dir: PathBuf,
    next: AtomicU32,
}

impl Default for Cli {
    fn default() -> Self {
        Self::new()
    }
}

impl Cli {
    /// A new world with an empty store.
    pub fn new() -> Self {
        janitor::employ();
        let tag = target::unique_tag();
        let dir = target::private_dir(&tag);
        fs::create_dir_all(dir.join("work")).unwrap();
        Self {
            tag,
            dir,
            next: AtomicU32::new(0),
        }
    }

    /// A directory for files of the test.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// A name for a container that no other test has.
    pub fn name(&self) -> String {
        format!("{}-{}", self.tag, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// The directory in which `hull` keeps a container of this name.
    pub fn run_dir(&self, name: &str) -> PathBuf {
        self.dir.join("state/run").join(name)
    }

    /// The store of compiled Wasm.
    pub fn artifacts(&self) -> PathBuf {
        artifacts::store(&self.dir)
    }

    /// The directory that the containers of [`Cli::native`] have as their root.
    pub fn rootfs(&self) -> &'static Path {
        Image::Busybox.rootfs()
    }

    /// A Wasm file of the test images.
    pub fn guest(&self, name: &str) -> PathBuf {
        let path = Image::Wasm.rootfs().join("wasm").join(name);
        assert!(path.exists(), "{} is missing", path.display());
        path
    }

    /// `hull`, with nothing of the caller's environment but what finds binaries.
    pub fn command(&self) -> Command {
        let hull = target::bin_dir().join("hull");
        assert!(
            hull.exists(),
            "{} is missing: run make build",
            hull.display()
        );
        self.command_of(&hull)
    }

    /// The same with another program, which is to run `hull` in the end.
    pub fn command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", target::search_path())
            .env("HULL_STATE_DIR", self.dir.join("state"))
            .env(artifacts::VARIABLE, self.artifacts())
            .current_dir(self.work());
        command
    }

    /// Runs `hull` with these arguments.
    pub fn hull<I, S>(&self, args: I) -> Output
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut command = self.command();
        command.args(args);
        ctr::run(command, &[])
    }

    /// `hull run FLAGS --rootfs DIR -- ARGS`.
    pub fn native(&self, flags: &[&str], args: &[&str]) -> Output {
        self.native_with_input(flags, args, &[])
    }

    /// The same with bytes on standard input.
    pub fn native_with_input(&self, flags: &[&str], args: &[&str], input: &[u8]) -> Output {
        ctr::run(self.native_command(flags, args), input)
    }

    /// The command of [`Cli::native`].
    pub fn native_command(&self, flags: &[&str], args: &[&str]) -> Command {
        let mut command = self.command();
        command.arg("run");
        if !flags.contains(&"--name") {
            command.args(["--name", &self.name()]);
        }
        command
            .args(flags)
            .arg("--rootfs")
            .arg(self.rootfs())
            .arg("--")
            .args(args);
        command
    }

    /// `hull run FLAGS GUEST -- ARGS`.
    pub fn wasm(&self, flags: &[&str], guest: &str, args: &[&str]) -> Output {
        let mut command = self.command();
        command
            .args(["run", "--name", &self.name()])
            .args(flags)
            .arg(self.guest(guest))
            .arg("--")
            .args(args);
        ctr::run(command, &[])
    }

    /// Starts a `hull` that the test goes on beside, its streams piped.
    pub fn spawn(&self, mut command: Command) -> Child {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn search(&self) -> Search {
        Search {
            token: self.tag.clone(),
            spared: vec![janitor::employ()],
            gone: Vec::new(),
            dirs: vec![
                self.dir.join("state"),
                PathBuf::from("/run/hull"),
                PathBuf::from("/run/containerd/s"),
            ],
            store: Some(self.artifacts()),
            sockets: Vec::new(),
            own_cgroup: None,
        }
    }

    /// Sockets bear no name.
    fn sockets(&self) -> Vec<String> {
        fs::read_dir(self.dir.join("state/s"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| format!("socket: {}", entry.path().display()))
            .collect()
    }
}

impl Drop for Cli {
    fn drop(&mut self) {
        let search = self.search();
        let mut left = Vec::new();
        if !thread::panicking() {
            left = leaks::find(&search);
            left.extend(self.sockets());
        }
        leaks::sweep(&search);
        drop(fs::remove_dir_all(&self.dir));
        assert!(
            left.is_empty(),
            "left after the test:\n  {}",
            left.join("\n  ")
        );
    }
}

/// Waits for the end of a `hull`, or kills it and fails the test; gives its exit code, 128 + n if it
/// died of signal n.
pub fn exit_code(child: &mut Child) -> i32 {
    let ended = time::look_until(time::LIMIT, || child.try_wait().unwrap());
    if ended.is_none() {
        leaks::kill(child.id());
    }
    let status = child.wait().unwrap();
    assert!(ended.is_some(), "hull did not end");
    let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
    status.code().unwrap_or(128 + signal)
}
