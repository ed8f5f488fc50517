//! The process that holds a scope until the container's first is born there.

use super::{HOST, properties, refused};
use crate::absence::unified_mount;
use crate::create::{enable_controllers_above, refuse_frozen};
use crate::delegate::delegate;
use crate::files::CgroupDir;
use crate::processes::is_populated;
use crate::routes::Routes;
use crate::update::apply;
use crate::{Error, pids};
use hull_abi::{CgroupSetup, Scope};
use std::time::Duration;

/// How long undoing may take.
const UNDO: Duration = Duration::from_secs(10);

/// The file that says which cgroup this process is in.
const OWN: &str = "/proc/self/cgroup";

const PIDS_MAX: &str = "pids.max";

/// This process in the unit that it has made. It has to leave before the container's limit of
/// processes counts; should it die, systemd removes the unit as soon as nobody is in it.
#[derive(Debug)]
pub struct Placeholder {
    /// Where it came from.
    home: CgroupDir,
    dir: CgroupDir,
    /// The limit of processes, which is one more while we are there.
    limit: Option<u64>,
}

/// Makes the unit of a container, writes the limits that systemd does not know, or not exactly, and gives
/// the cgroup to its owner if it is to have one.
/// This process is in it then, and must end or leave. Only for a process with a single thread.
///
/// # Errors
/// [`Error::Systemd`] when systemd is not there, does not answer in time or refuses, otherwise the limit
/// that cannot be applied. Nothing is left of the unit then.
pub fn create_scope(setup: &CgroupSetup, scope: &Scope) -> Result<Placeholder, Error> {
    let action = || format!("make unit {}", scope.unit);
    let Some(path) = setup.paths.unified.as_deref() else {
        return Err(refused(action(), "it needs a host with unified cgroups"));
    };
    if is_populated(&setup.paths)? {
        return Err(Error::NotEmpty {
            path: path.to_owned(),
            count: pids(&setup.paths)?.len(),
        });
    }
    let limits = properties::properties(&setup.resources, &|_| None)?;
    let mount = unified_mount(path)?;
    let home = CgroupDir::open(&format!("{mount}{}", own_cgroup()?))?;
    HOST.start(scope, limits)?;
    let made = settle(setup, &mount, path);
    match made {
        Ok((dir, limit)) => Ok(Placeholder { home, dir, limit }),
        Err(error) => {
            // The first failure is the one to report. systemd would end us with the unit.
            home.write("cgroup.procs", "0")
                .and_then(|()| super::stop(scope, UNDO))
                .ok();
            Err(error)
        }
    }
}

/// What remains to be done in a unit that was made.
fn settle(setup: &CgroupSetup, mount: &str, path: &str) -> Result<(CgroupDir, Option<u64>), Error> {
    let own = format!("{mount}{}", own_cgroup()?);
    if own != path {
        let action = format!("find the unit's cgroup at {path}");
        return Err(refused(action, &format!("systemd has put it at {own}")));
    }
    enable_controllers_above(mount, path)?;
    let routes = Routes::open(&setup.paths)?;
    refuse_frozen(&routes)?;
    apply(&routes, &setup.resources, None)?;
    if let Some(owner) = setup.owner {
        delegate(&routes, owner)?;
    }
    let dir = CgroupDir::open(path)?;
    // We count too, and must not take anybody's place.
    let limit: Option<u64> = dir
        .read_if_present(PIDS_MAX)?
        .and_then(|limit| limit.trim().parse().ok());
    if let Some(limit) = limit {
        dir.write(PIDS_MAX, &limit.saturating_add(1).to_string())?;
    }
    Ok((dir, limit))
}

/// The v2 cgroup of this process, from the root of the hierarchy; empty for the root itself.
fn own_cgroup() -> Result<String, Error> {
    let text = crate::layout::read_bounded(OWN)?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    path.map(|path| path.trim_end_matches('/').to_owned())
        .ok_or_else(|| Error::Content {
            path: OWN.to_owned(),
            content: text.clone(),
        })
}

impl Placeholder {
    /// Goes back to where the process came from. Another process must be in the unit.
    ///
    /// # Errors
    /// [`Error::Write`] when a file of the cgroup cannot be written.
    pub fn leave(self) -> Result<(), Error> {
        self.home.write("cgroup.procs", "0")?;
        match self.limit {
            Some(limit) => match self.dir.write(PIDS_MAX, &limit.to_string()) {
                // The container's first has ended already, and the unit with it: that says why.
                Err(error) if error.is_absent() => Ok(()),
                written => written,
            },
            None => Ok(()),
        }
    }
}
