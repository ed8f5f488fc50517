//! Which directory holds the files of a controller.

use crate::Error;
use crate::files::CgroupDir;
use hull_abi::{CgroupPaths, V1Path};

/// The cgroup version whose file names and values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The open directories of one cgroup, and the controllers in each.
#[derive(Debug)]
pub(crate) struct Routes {
    unified: Option<CgroupDir>,
    unified_controllers: Vec<String>,
    v1: Vec<(Vec<String>, CgroupDir)>,
}

impl Routes {
    /// Opens every directory. All must be there.
    pub(crate) fn open(paths: &CgroupPaths) -> Result<Self, Error> {
        let unified = paths.unified.as_deref().map(CgroupDir::open).transpose()?;
        let unified_controllers = match &unified {
            Some(dir) => controllers(dir)?,
            None => Vec::new(),
        };
        let v1 = paths
            .v1
            .iter()
            .map(|v1| Ok((v1.controllers.clone(), CgroupDir::open(&v1.path)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            unified,
            unified_controllers,
            v1,
        })
    }

    /// The directory of a controller; v1 first, because a controller that is bound there is in no
    /// other hierarchy.
    pub(crate) fn find(&self, controller: &str) -> Option<(Version, &CgroupDir)> {
        if let Some(dir) = self.v1(controller) {
            return Some((Version::V1, dir));
        }
        let unified = self.unified.as_ref()?;
        let here = self
            .unified_controllers
            .iter()
            .any(|name| name == controller);
        here.then_some((Version::V2, unified))
    }

    /// The v1 directory of a controller.
    pub(crate) fn v1(&self, controller: &str) -> Option<&CgroupDir> {
        let holds = |names: &[String]| names.iter().any(|name| name == controller);
        self.v1
            .iter()
            .find(|(names, _)| holds(names))
            .map(|(_, dir)| dir)
    }

    pub(crate) fn unified(&self) -> Option<&CgroupDir> {
        self.unified.as_ref()
    }

    /// Whether the v2 cgroup has a controller that is not one of these.
    pub(crate) fn has_unified_controller_but(&self, these: &[&str]) -> bool {
        self.unified_controllers
            .iter()
            .any(|name| !these.contains(&name.as_str()))
    }

    /// Whether there is no v1 controller: the host is unified.
    pub(crate) fn is_unified(&self) -> bool {
        let named = |names: &[String]| names.iter().all(|name| name.starts_with("name="));
        self.unified.is_some() && self.v1.iter().all(|(names, _)| named(names))
    }
}

/// The directory of a v1 controller.
pub(crate) fn v1_of<'a>(paths: &'a CgroupPaths, controller: &str) -> Option<&'a V1Path> {
    let mut v1 = paths.v1.iter();
    v1.find(|v1| v1.controllers.iter().any(|name| name == controller))
}

/// The directory of one controller, as [`Routes::find`] gives it, without opening the others.
pub(crate) fn find(
    paths: &CgroupPaths,
    controller: &str,
) -> Result<Option<(Version, CgroupDir)>, Error> {
    if let Some(v1) = v1_of(paths, controller) {
        return Ok(Some((Version::V1, CgroupDir::open(&v1.path)?)));
    }
    let Some(path) = &paths.unified else {
        return Ok(None);
    };
    let unified = CgroupDir::open(path)?;
    let here = controllers(&unified)?.iter().any(|name| name == controller);
    Ok(here.then_some((Version::V2, unified)))
}

/// The controllers that a v2 cgroup has.
pub(crate) fn controllers(dir: &CgroupDir) -> Result<Vec<String>, Error> {
    Ok(dir
        .read("cgroup.controllers")?
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}
