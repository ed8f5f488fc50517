//! Writing limits to where their controllers live.

use crate::absence::no_controller;
use crate::convert::{AFTER_DEVICES, BEFORE_DEVICES, Controller, Missing, Step, Write};
use crate::files::CgroupDir;
use crate::routes::{Routes, Version};
use crate::{Error, devices, systemd};
use hull_abi::{CgroupPaths, Resources};
use hull_sys::Errno;

/// Changes the limits of a cgroup that exists; what `resources` leaves out stays as it is. systemd is told
/// of those of its units.
///
/// # Errors
/// The first limit that cannot be applied: its value, its controller or its file is named. Limits
/// before it in the order pids, memory, block I/O, CPU, devices, cpuset, huge pages, RDMA, network,
/// unified have been applied then.
pub fn update(paths: &CgroupPaths, resources: &Resources) -> Result<(), Error> {
    let routes = Routes::open(paths)?;
    if let (Some(scope), Some(dir)) = (&paths.scope, routes.unified()) {
        systemd::change(scope, resources, &|file| dir.read(file).ok())?;
    }
    apply(&routes, resources, Some(paths))
}

/// The order is runc's: the device filter before the cpuset, and the verbatim files of the v2 tree
/// last so that they win. `inhabited` is where processes may be that must not see anything between
/// the old and the new limits.
pub(crate) fn apply(
    routes: &Routes,
    resources: &Resources,
    inhabited: Option<&CgroupPaths>,
) -> Result<(), Error> {
    for controller in &BEFORE_DEVICES {
        limit(routes, controller, resources)?;
    }
    if let Some(rules) = &resources.devices {
        devices::apply(routes, rules, inhabited)?;
    }
    for controller in &AFTER_DEVICES {
        limit(routes, controller, resources)?;
    }
    verbatim(routes, &resources.unified)
}

fn limit(routes: &Routes, controller: &Controller, resources: &Resources) -> Result<(), Error> {
    let found = routes
        .find(controller.v1)
        .filter(|(version, _)| *version == Version::V1);
    let Some((version, dir)) = found.or_else(|| routes.find(controller.v2)) else {
        return match controller.needed_for(resources)? {
            Some(limit) => Err(no_controller(limit, controller.v2, routes)),
            None => Ok(()),
        };
    };
    let present = |file: &str| dir.read(file).ok();
    for step in (controller.steps)(resources, version, &present)? {
        match step {
            Step::One(one) => write(dir, &one)?,
            Step::Together(writes) => write_together(dir, writes)?,
        }
    }
    Ok(())
}

fn write(dir: &CgroupDir, write: &Write) -> Result<(), Error> {
    let failed = match dir.write(&write.file, &write.value) {
        Err(error) if error.errno() == Errno::ENOENT as i32 => error,
        result => return result,
    };
    match &write.missing {
        Missing::Skip => Ok(()),
        Missing::Use { file, value } if dir.has(file) => dir.write(file, value),
        Missing::Use { .. } | Missing::Fail if !dir.has("cgroup.procs") => Err(failed),
        Missing::Use { .. } | Missing::Fail => Err(Error::NoFile {
            limit: write.limit,
            path: dir.path_of(&write.file),
        }),
    }
}

/// Goes over the writes until all are done or none of the rest is accepted any more.
fn write_together(dir: &CgroupDir, mut writes: Vec<Write>) -> Result<(), Error> {
    loop {
        let before = writes.len();
        let mut first_refusal = None;
        let mut refused = Vec::new();
        for one in writes {
            match write(dir, &one) {
                Ok(()) => {}
                Err(error) if error.errno() == Errno::EINVAL as i32 => {
                    first_refusal.get_or_insert(error);
                    refused.push(one);
                }
                Err(error) => return Err(error),
            }
        }
        match first_refusal {
            None => return Ok(()),
            Some(error) if refused.len() == before => return Err(error),
            Some(_) => writes = refused,
        }
    }
}

/// Files that do something to processes: a pid in them would be one of the host's.
const COMMANDS: [&str; 5] = [
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.type",
];

/// `linux.resources.unified`: file by file, and line by line because files such as `io.max` take
/// one line a write.
fn verbatim(routes: &Routes, files: &[(String, String)]) -> Result<(), Error> {
    const LIMIT: &str = "unified";
    for (file, value) in files {
        if COMMANDS.contains(&file.as_str()) {
            return Err(Error::Value {
                limit: LIMIT,
                reason: format!("{file:?} is not a limit"),
            });
        }
        let controller = match file.split_once('.') {
            Some((controller, rest)) if !rest.is_empty() && !file.contains(['/', '\0']) => {
                controller
            }
            _ => {
                let reason = format!("{file:?} is not the name of a cgroup file");
                return Err(Error::Value {
                    limit: LIMIT,
                    reason,
                });
            }
        };
        let dir = routes.unified().filter(|_| {
            controller == "cgroup"
                || routes
                    .find(controller)
                    .is_some_and(|(version, _)| version == Version::V2)
        });
        let Some(dir) = dir else {
            return Err(no_controller(LIMIT, controller, routes));
        };
        for line in value.lines() {
            write(dir, &Write::new(LIMIT, file, line))?;
        }
    }
    Ok(())
}
