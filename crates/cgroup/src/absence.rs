//! Why a controller did not come down to a v2 cgroup. Looked into only when it is missing.

use crate::Error;
use crate::error::Absence;
use crate::files::CgroupDir;
use crate::layout::below;
use crate::routes::{Routes, controllers};

/// Controllers that also work inside of a process
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html#threads>). A cgroup that has any other is
/// not threaded.
const THREADED: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];

/// The error for a limit whose controller the cgroup does not have.
pub(crate) fn no_controller(limit: &'static str, controller: &str, routes: &Routes) -> Error {
    // A failure to find out more is no better than what is known already.
    let absence = routes
        .unified()
        .and_then(|dir| missing_at(dir.path(), controller).ok().flatten())
        .unwrap_or(Absence::Host);
    Error::NoController {
        limit,
        controller: controller.to_owned(),
        absence,
    }
}

/// The first directory on the way down that has the controller and does not hand it down; `None`
/// where the root of the hierarchy does not have it.
fn missing_at(path: &str, controller: &str) -> Result<Option<Absence>, Error> {
    let mount = unified_mount(path)?;
    let mut dir = CgroupDir::open(&mount)?;
    if !controllers(&dir)?.iter().any(|name| name == controller) {
        return Ok(None);
    }
    for name in below(&mount, path).unwrap_or_default().split('/') {
        let enabled = dir.read("cgroup.subtree_control")?;
        if !enabled.split_whitespace().any(|name| name == controller) {
            let place = dir.path().to_owned();
            // The root, which has no type, may hold processes and hand controllers down all the same.
            let is_inhabited = kind(&dir)?.is_some()
                && dir
                    .read("cgroup.procs")
                    .is_ok_and(|list| !list.trim().is_empty());
            return Ok(Some(if is_inhabited {
                Absence::Processes(place)
            } else {
                Absence::Disabled(place)
            }));
        }
        dir = dir.child(name)?;
    }
    Ok(None)
}

/// The mount point of the unified tree: the highest directory on the path that is a v2 cgroup.
pub(crate) fn unified_mount(path: &str) -> Result<String, Error> {
    let slashes = path.char_indices().filter(|(at, c)| *c == '/' && *at > 0);
    slashes
        .filter_map(|(at, _)| path.get(..at))
        .find(|dir| std::fs::exists(format!("{dir}/cgroup.controllers")).unwrap_or(false))
        .map(str::to_owned)
        .ok_or_else(|| Error::Path {
            path: path.to_owned(),
            reason: "is not below a v2 cgroup",
        })
}

/// Refuses a cgroup for threads: clone3(2) would, in part with an error that says nothing, and
/// neither killing nor listing works there.
pub(crate) fn refuse_threaded(routes: &Routes) -> Result<(), Error> {
    let Some(dir) = routes.unified() else {
        return Ok(());
    };
    if routes.has_unified_controller_but(&THREADED) {
        return Ok(());
    }
    let refused = |culprit: &CgroupDir| Error::Threaded {
        path: dir.path().to_owned(),
        culprit: culprit.path().to_owned(),
    };
    match kind(dir)?.as_deref() {
        Some("threaded") => return Err(refused(dir)),
        // Something above it is.
        Some("domain invalid") => {}
        _ => return Ok(()),
    }
    let mut above = dir.parent()?;
    while let Some(kind) = kind(&above)? {
        if kind.ends_with("threaded") {
            return Err(refused(&above));
        }
        above = above.parent()?;
    }
    Err(refused(dir))
}

/// `cgroup.type`; the root has none, nor had any cgroup before Linux 4.14. A domain with cgroups for
/// threads below it is a `domain threaded`.
fn kind(dir: &CgroupDir) -> Result<Option<String>, Error> {
    let kind = dir.read_if_present("cgroup.type")?;
    Ok(kind.map(|kind| kind.trim().to_owned()))
}
