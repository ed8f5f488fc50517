//! The device filter: the v1 controller where it is mounted, else an eBPF program on the unified
//! cgroup.

mod bpf;
mod v1;

use crate::Error;
use crate::error::Absence;
use crate::files::CgroupDir;
use crate::freezer::while_frozen;
use crate::routes::Routes;
use hull_abi::{CgroupPaths, DeviceRule};
use hull_sys::Errno;
use hull_sys::bpf::DeviceProgram;
use std::os::fd::AsFd;

const LIMIT: &str = "devices";

/// Name of our programs in the kernel, by which an update finds the one that it replaces. Those
/// that systemd or others attach stay.
const PROGRAM: &str = "hull_devices";

/// Makes the rules, of which the last match wins, the filter of the cgroup. No process in it ever
/// sees anything but the old filter or the new one; `inhabited` says where there may be some.
pub(crate) fn apply(
    routes: &Routes,
    rules: &[DeviceRule],
    inhabited: Option<&CgroupPaths>,
) -> Result<(), Error> {
    if let Some(dir) = routes.v1("devices") {
        return apply_v1(dir, rules, inhabited);
    }
    match routes.unified() {
        Some(dir) => apply_bpf(dir, rules),
        None => Err(Error::NoController {
            limit: LIMIT,
            controller: "devices".to_owned(),
            absence: Absence::Host,
        }),
    }
}

fn apply_v1(
    dir: &CgroupDir,
    rules: &[DeviceRule],
    inhabited: Option<&CgroupPaths>,
) -> Result<(), Error> {
    let wanted = v1::Filter::of_rules(rules)?;
    let list = dir.read("devices.list")?;
    let present = v1::Filter::of_list(&list).map_err(|line| Error::Content {
        path: dir.path_of("devices.list"),
        content: line,
    })?;
    let v1::Transition { writes, has_gap } = v1::transition(&present, &wanted);
    let write_all = || {
        let mut writes = writes.iter();
        writes.try_for_each(|(file, value)| dir.write(file, value))
    };
    match inhabited.filter(|_| has_gap) {
        // The kernel has no way to change the default and its exceptions at once.
        Some(paths) => while_frozen(paths, write_all),
        None => write_all(),
    }
}

fn apply_bpf(dir: &CgroupDir, rules: &[DeviceRule]) -> Result<(), Error> {
    let failed = |operation| {
        move |errno: Errno| Error::Io {
            operation,
            path: dir.path().to_owned(),
            errno,
        }
    };
    let program = bpf::program(rules)
        .map(|instructions| DeviceProgram::load(&instructions, PROGRAM))
        .transpose()
        .map_err(failed("load the device filter for"))?;
    let cgroup = dir.as_fd();
    let attached = DeviceProgram::attached(cgroup).map_err(failed("list the device filters of"))?;
    let old: Vec<DeviceProgram> = attached
        .into_iter()
        .filter(|(name, _)| name == PROGRAM)
        .map(|(_, old)| old)
        .collect();
    if let Some(program) = &program {
        if let [old] = old.as_slice() {
            match program.replace(cgroup, old) {
                Ok(()) => return Ok(()),
                // Linux before 5.6: attach and detach, which is never more permissive.
                Err(Errno::EINVAL) => {}
                Err(errno) => return Err(failed("replace the device filter of")(errno)),
            }
        }
        program
            .attach(cgroup)
            .map_err(failed("attach the device filter to"))?;
    }
    for old in old {
        old.detach(cgroup)
            .map_err(failed("detach the old device filter of"))?;
    }
    Ok(())
}
