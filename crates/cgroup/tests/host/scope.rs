//! A cgroup for one test, and processes in it.

use hull_abi::{CgroupPaths, CgroupSetup, Resources};
use hull_cgroup::{Error, Layout, create, join_self, kill, remove};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// More than any of the awaited events takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A cgroup below a parent of its own; both are removed in the end.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) paths: CgroupPaths,
    parent: CgroupPaths,
}

impl Scope {
    /// Names one with directories in v1 hierarchies and in the unified tree.
    pub(crate) fn new(test: &str) -> Self {
        let scope = Self::named(test);
        let both = scope.paths.unified.is_some() && !scope.paths.v1.is_empty();
        assert!(
            both,
            "this test needs a hybrid host: v1 controllers and a unified tree"
        );
        scope
    }

    /// Only names it.
    fn named(test: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make cgroups: run them as root"
        );
        let layout = Layout::detect().unwrap();
        let parent = format!("/hull-test-{}-{test}", std::process::id());
        let paths = layout.resolve(&format!("{parent}/c")).unwrap();
        Self {
            paths,
            parent: layout.resolve(&parent).unwrap(),
        }
    }

    /// The same without the unified tree, as on a pure v1 host.
    pub(crate) fn v1_only(test: &str) -> Self {
        let mut scope = Self::new(test);
        assert!(
            !scope.paths.v1.is_empty(),
            "this test needs a host with cgroup v1"
        );
        scope.paths.unified = None;
        scope.parent.unified = None;
        scope
    }

    /// The same without the v1 hierarchies.
    pub(crate) fn unified_only(test: &str) -> Self {
        let mut scope = Self::new(test);
        assert!(
            scope.paths.unified.is_some(),
            "this test needs a host with cgroup v2"
        );
        scope.paths.v1.clear();
        scope.parent.v1.clear();
        scope
    }

    pub(crate) fn create(&self, resources: Resources) -> Result<(), Error> {
        create(&CgroupSetup {
            paths: self.paths.clone(),
            resources,
            owner: None,
        })
    }

    /// Every directory of the cgroup.
    pub(crate) fn dirs(&self) -> Vec<String> {
        let v1 = self.paths.v1.iter().map(|v1| v1.path.clone());
        self.paths.unified.clone().into_iter().chain(v1).collect()
    }

    /// Every directory of the cgroup's parent.
    pub(crate) fn parent_dirs(&self) -> Vec<String> {
        let v1 = self.parent.v1.iter().map(|v1| v1.path.clone());
        self.parent.unified.clone().into_iter().chain(v1).collect()
    }

    /// The directory with the files of a controller.
    pub(crate) fn dir_of(&self, controller: &str) -> &str {
        let holds = |names: &[String]| names.iter().any(|name| name == controller);
        match self.paths.v1.iter().find(|v1| holds(&v1.controllers)) {
            Some(v1) => &v1.path,
            None => self.paths.unified.as_deref().unwrap(),
        }
    }

    /// Content of a controller's file without the line break.
    pub(crate) fn file(&self, controller: &str, file: &str) -> String {
        let path = format!("{}/{file}", self.dir_of(controller));
        std::fs::read_to_string(&path)
            .expect(&path)
            .trim()
            .to_owned()
    }

    /// Starts a program in the cgroup: from a thread that has joined the v1 hierarchies, by way of
    /// a shell that joins the unified one.
    pub(crate) fn spawn(&self, program: &str) -> Child {
        let v1: Vec<String> = self.paths.v1.iter().map(|v1| v1.path.clone()).collect();
        let script = match &self.paths.unified {
            Some(unified) => format!("echo 0 > {unified}/cgroup.procs && exec {program}"),
            None => format!("exec {program}"),
        };
        let spawn = move || {
            join_self(&v1).unwrap();
            let mut command = Command::new("/bin/sh");
            command
                .args(["-c", &script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            command.stderr(Stdio::piped()).spawn().unwrap()
        };
        std::thread::spawn(spawn).join().unwrap()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let ends = [kill(&self.paths), remove(&self.paths), remove(&self.parent)];
        if !std::thread::panicking() {
            assert_eq!(ends, [Ok(()), Ok(()), Ok(())]);
        }
    }
}

/// Waits for the end of a child and returns the signal that ended it.
pub(crate) fn signal_of(mut child: Child) -> Option<i32> {
    let pidfd = hull_sys::pidfd::open(i32::try_from(child.id()).unwrap()).unwrap();
    assert!(
        hull_sys::fd::wait_readable(&pidfd, DEADLINE).unwrap(),
        "the process has not ended"
    );
    child.wait().unwrap().signal()
}

/// The first line that a child writes: by then it has joined.
pub(crate) fn first_line(child: &mut Child) -> String {
    use std::io::BufRead;
    let mut line = String::new();
    std::io::BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim().to_owned()
}
