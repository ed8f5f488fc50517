//! From a `cgroupsPath` to a directory in every hierarchy.

use crate::Error;
use crate::layout::{Hierarchy, Layout, below};
use hull_abi::{CgroupPaths, Scope, V1Path};

/// Longest name of a directory (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// Longest `cgroupsPath`, so that mount point and file name still fit into `PATH_MAX`.
const MAX_PATH: usize = 3072;

impl Layout {
    /// Where the container's cgroup lies in each hierarchy. An absolute path counts from each mount
    /// point; a relative one from the parent of our own cgroup
    /// (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#cgroups-path>).
    ///
    /// # Errors
    /// [`Error::Path`] for a path that is empty or the root, has a `..` component or characters
    /// that no cgroup may have.
    pub fn resolve(&self, cgroups_path: &str) -> Result<CgroupPaths, Error> {
        let refused = |reason| Error::Path {
            path: cgroups_path.to_owned(),
            reason,
        };
        if cgroups_path.len() > MAX_PATH {
            return Err(refused("is too long"));
        }
        let mut parts = Vec::new();
        for part in cgroups_path.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(refused("has a \"..\" component")),
                // The kernel refuses a line break; a NUL would end the path early.
                _ if part.contains(['\0', '\n']) => {
                    return Err(refused("has a line break or a NUL"));
                }
                _ if part.len() > MAX_NAME => return Err(refused("has too long a component")),
                _ => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Err(refused("names no directory"));
        }
        let name = parts.join("/");
        let place = |hierarchy: &Hierarchy| {
            if cgroups_path.starts_with('/') {
                join(&hierarchy.mount, &name)
            } else {
                join(&hierarchy.own_parent(), &name)
            }
        };
        let v1 = self.v1.iter().map(|hierarchy| V1Path {
            controllers: hierarchy.controllers.clone(),
            path: place(hierarchy),
            mount: hierarchy.mount.clone(),
        });
        Ok(CgroupPaths {
            unified: self.unified.as_ref().map(place),
            v1: v1.collect(),
            scope: None,
        })
    }

    /// The same for a cgroup that systemd may make: then `cgroups_path` is where it puts the unit.
    ///
    /// # Errors
    /// As [`Layout::resolve`], and [`Error::Path`] where cgroups are not unified: systemd would make the
    /// unit in hierarchies that it does not know all of.
    pub fn place(&self, cgroups_path: &str, scope: Option<&Scope>) -> Result<CgroupPaths, Error> {
        let Some(scope) = scope else {
            return self.resolve(cgroups_path);
        };
        if !self.is_unified() {
            return Err(Error::Path {
                path: cgroups_path.to_owned(),
                reason: "is a unit of systemd, which needs unified cgroups, and this host has those of version 1",
            });
        }
        let CgroupPaths { unified, .. } = self.resolve(cgroups_path)?;
        Ok(CgroupPaths {
            unified,
            v1: Vec::new(),
            scope: Some(scope.clone()),
        })
    }
}

impl Hierarchy {
    /// The directory that our own cgroup lies in; the mount point where that cannot be seen.
    fn own_parent(&self) -> String {
        // In a cgroup namespace, cgroups outside of it read as `/../…`.
        let own = below(&self.root, &self.own).filter(|own| !own.split('/').any(|p| p == ".."));
        match own.and_then(|own| own.rsplit_once('/')) {
            Some((parent, _)) => join(&self.mount, parent),
            None => self.mount.clone(),
        }
    }
}

fn join(dir: &str, name: &str) -> String {
    format!("{}/{name}", dir.trim_end_matches('/'))
}
