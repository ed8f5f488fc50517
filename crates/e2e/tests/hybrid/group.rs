//! A container's cgroup in every hierarchy, as a test sees it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use hull_e2e::{Container, cgroup};

/// A cgroup by its path from the root of each hierarchy. It need not exist.
#[derive(Debug, Clone)]
pub(crate) struct Group(String);

/// A file: the controller in whose hierarchy it is (`unified` for the v2 tree), its name, its value.
pub(crate) type Files<'a> = &'a [(&'a str, &'a str, &'a str)];

impl Group {
    pub(crate) fn at(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The one of a container.
    pub(crate) fn of(c: &Container<'_>) -> Self {
        Self(c.cgroup())
    }

    /// Its directory in one hierarchy.
    pub(crate) fn dir(&self, controller: &str) -> PathBuf {
        let hierarchy = match controller {
            "unified" => cgroup::hierarchies().into_iter().find(|one| one.unified),
            name => Some(cgroup::of_controller(name)),
        };
        let mount = hierarchy.expect("a unified tree").mount_point;
        mount.join(self.0.trim_start_matches('/'))
    }

    /// Whether it is there in any hierarchy.
    pub(crate) fn exists(&self) -> bool {
        cgroup::hierarchies().iter().any(|one| {
            one.mount_point
                .join(self.0.trim_start_matches('/'))
                .exists()
        })
    }

    #[track_caller]
    pub(crate) fn read(&self, controller: &str, file: &str) -> String {
        let path = self.dir(controller).join(file);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned()
    }

    #[track_caller]
    pub(crate) fn write(&self, controller: &str, file: &str, value: &str) {
        fs::write(self.dir(controller).join(file), value)
            .unwrap_or_else(|error| panic!("{value:?} to {file} of {self:?}: {error}"));
    }

    /// Fails the test unless each file has the value.
    #[track_caller]
    pub(crate) fn expect(&self, values: Files<'_>) {
        let line = |file: &str, value: &str| format!("{file}={value}");
        let found: Vec<String> = values
            .iter()
            .map(|(controller, file, _)| line(file, &self.read(controller, file)))
            .collect();
        let expected: Vec<String> = values
            .iter()
            .map(|(_, file, value)| line(file, value))
            .collect();
        assert_eq!(found, expected);
    }
}

/// A process in a cgroup of one hierarchy, which dies with this.
pub(crate) struct Inhabitant(pub(crate) Child);

impl Inhabitant {
    pub(crate) fn of(group: &Group, controller: &str) -> Self {
        let child = Command::new("sleep")
            .arg("600")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let inhabitant = Self(child);
        let pid = inhabitant.0.id().to_string();
        group.write(controller, "cgroup.procs", &pid);
        inhabitant
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
