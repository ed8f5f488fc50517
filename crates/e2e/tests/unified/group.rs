//! A cgroup of the unified hierarchy, as a test sees it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hull_e2e::{Container, Lab};

/// Where the hierarchy is mounted.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup, which need not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group(PathBuf);

impl Group {
    /// By its path from the root of the hierarchy.
    pub(crate) fn at(path: &str) -> Self {
        Self(Path::new(ROOT).join(path.trim_start_matches('/')))
    }

    /// The one of a container.
    pub(crate) fn of(c: &Container<'_>) -> Self {
        Self::at(&c.cgroup())
    }

    /// A new one below a lab's, with every controller that the hierarchy has. The lab removes it.
    pub(crate) fn make(lab: &Lab, name: &str) -> Self {
        let root = Self::at("/");
        root.enable_all();
        let parent = Self::at(&lab.cgroup());
        fs::create_dir_all(&parent.0).unwrap();
        parent.enable_all();
        let made = parent.child(name);
        fs::create_dir(&made.0).unwrap();
        made
    }

    pub(crate) fn child(&self, name: &str) -> Self {
        Self(self.0.join(name))
    }

    /// Gives its children every controller that it has.
    pub(crate) fn enable_all(&self) {
        for name in self.read("cgroup.controllers").split(' ') {
            self.write("cgroup.subtree_control", &format!("+{name}"));
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.0
    }

    /// Its path from the root of the hierarchy, as `cgroupsPath` has it.
    pub(crate) fn path(&self) -> String {
        let below = self.0.strip_prefix(ROOT).unwrap();
        format!("/{}", below.display())
    }

    pub(crate) fn exists(&self) -> bool {
        self.0.exists()
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.0.join(file).exists()
    }

    /// A file's content, trimmed.
    #[track_caller]
    pub(crate) fn read(&self, file: &str) -> String {
        let path = self.0.join(file);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn write(&self, file: &str, value: &str) {
        self.try_write(file, value)
            .unwrap_or_else(|error| panic!("{value:?} to {file} of {self:?}: {error}"));
    }

    pub(crate) fn try_write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.0.join(file), value)
    }

    /// The number after a key of a flat keyed file.
    #[track_caller]
    pub(crate) fn counter(&self, file: &str, key: &str) -> u64 {
        let content = self.read(file);
        content
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("no {key} in {file}: {content}"))
            .parse()
            .unwrap()
    }

    /// Fails the test unless each file has the value.
    #[track_caller]
    pub(crate) fn expect(&self, values: &[(&str, &str)]) {
        let found: Vec<(&str, String)> = values
            .iter()
            .map(|(file, _)| (*file, self.read(file)))
            .collect();
        let expected: Vec<(&str, String)> = values
            .iter()
            .map(|(file, value)| (*file, (*value).to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    /// The processes in it, not those below.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let list = self.read("cgroup.procs");
        list.lines().map(|pid| pid.parse().unwrap()).collect()
    }
}

/// The group that a process is in.
pub(crate) fn of_process(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.trim().strip_prefix("0::").unwrap().to_owned()
}
