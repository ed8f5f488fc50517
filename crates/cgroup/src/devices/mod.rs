//! The device filter: the v1 controller where it is mounted, else an eBPF program on the unified
//! cgroup.

mod bpf;
mod v1;

use crate::Error;
use crate::error::Absence;
use crate::files::CgroupDir;
use crate::routes::Routes;
use hull_abi::DeviceRule;
use hull_sys::Errno;
use hull_sys::bpf::DeviceProgram;
use std::os::fd::AsFd;

const LIMIT: &str = "devices";

/// Name of our programs in the kernel, by which an update finds the one that it replaces. Those
/// that systemd or others attach stay.
const PROGRAM: &str = "hull_devices";

/// Makes the rules, of which the last match wins, the filter of the cgroup.
pub(crate) fn apply(routes: &Routes, rules: &[DeviceRule]) -> Result<(), Error> {
    if let Some(dir) = routes.v1("devices") {
        return apply_v1(dir, rules);
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

fn apply_v1(dir: &CgroupDir, rules: &[DeviceRule]) -> Result<(), Error> {
    let wanted = v1::Filter::of_rules(rules)?;
    let list = dir.read("devices.list")?;
    let present = v1::Filter::of_list(&list).map_err(|line| Error::Content {
        path: dir.path_of("devices.list"),
        content: line,
    })?;
    for (file, value) in v1::transition(&present, &wanted) {
        dir.write(file, &value)?;
    }
    Ok(())
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
