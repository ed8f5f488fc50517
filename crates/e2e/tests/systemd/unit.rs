//! A unit of systemd, as a test sees it.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use hull_e2e::{Lab, Spec, eventually};

/// Where the hierarchy is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A scope, which need not exist.
#[derive(Debug)]
pub(crate) struct Unit {
    /// The slice, of which `a-b.slice` lies in `a.slice`.
    slice: String,
    prefix: String,
    name: String,
}

impl Unit {
    /// One in a slice, with a name that no other test has.
    pub(crate) fn new(lab: &Lab, slice: &str) -> Self {
        Self {
            slice: slice.to_owned(),
            prefix: lab.tag().to_owned(),
            name: lab.id("unit"),
        }
    }

    /// One in `system.slice`.
    pub(crate) fn of(lab: &Lab) -> Self {
        Self::new(lab, "system.slice")
    }

    /// As `cgroupsPath` has it.
    pub(crate) fn cgroups_path(&self) -> String {
        format!("{}:{}:{}", self.slice, self.prefix, self.name)
    }

    /// The spec with its cgroup in this unit.
    pub(crate) fn around(&self, spec: Spec) -> Spec {
        spec.cgroup(&self.cgroups_path())
    }

    /// As systemd has it.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}.scope", self.prefix, self.name)
    }

    /// Its cgroup, from the root of the hierarchy.
    pub(crate) fn group(&self) -> String {
        let mut path = String::new();
        let stem = self.slice.strip_suffix(".slice").unwrap();
        for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
            path.push_str(&format!("/{}.slice", &stem[..end]));
        }
        format!("{path}/{}", self.name())
    }

    pub(crate) fn dir(&self) -> PathBuf {
        PathBuf::from(format!("{ROOT}{}", self.group()))
    }

    /// A file of its cgroup, trimmed.
    #[track_caller]
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.dir().join(name);
        let content = fs::read_to_string(&path);
        content
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    /// Fails the test unless each file has the value.
    #[track_caller]
    pub(crate) fn expect_files(&self, values: &[(&str, &str)]) {
        let found: Vec<_> = values.iter().map(|(name, _)| self.file(name)).collect();
        let expected: Vec<_> = values
            .iter()
            .map(|(_, value)| (*value).to_owned())
            .collect();
        assert_eq!(found, expected, "{values:?}");
    }

    /// What systemd knows of it.
    pub(crate) fn properties(&self) -> HashMap<String, String> {
        let text = systemctl(&["show", "--all", &self.name()]);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Fails the test unless each property has the value.
    #[track_caller]
    pub(crate) fn expect(&self, values: &[(&str, &str)]) {
        let properties = self.properties();
        let found: Vec<_> = values
            .iter()
            .map(|(name, _)| (*name, properties.get(*name).map_or("", String::as_str)))
            .collect();
        assert_eq!(found, values);
    }

    /// Fails the test unless nothing is left of it.
    #[track_caller]
    pub(crate) fn expect_gone(&self) {
        let mut state = String::new();
        eventually("systemd has forgotten the unit", || {
            state = self.properties()["LoadState"].clone();
            (state == "not-found" && !self.dir().exists()).then_some(())
        });
    }
}

/// The group that a process is in.
pub(crate) fn group_of(pid: u32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.trim().strip_prefix("0::").unwrap().to_owned()
}

/// Runs systemctl; gives what it prints.
#[track_caller]
pub(crate) fn systemctl(args: &[&str]) -> String {
    let output = Command::new("systemctl").args(args).output().unwrap();
    assert!(output.status.success(), "systemctl {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}
