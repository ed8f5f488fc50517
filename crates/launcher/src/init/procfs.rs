//! A procfs of our own, attached nowhere: nothing that the container mounted over its /proc can
//! redirect what is written here (CVE-2025-52881, CVE-2019-16884).

use crate::failure::{At, Blamed, because};
use crate::fault;
use hull_abi::{Blame, Process, SetupError, Step, Sysctl};
use hull_sys::mount::FsContext;
use hull_sys::{Errno, fd};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use std::io::Write as _;
use std::os::fd::OwnedFd;

/// A private view of this process's PID namespace.
#[derive(Debug)]
pub(super) struct Procfs(OwnedFd);

impl Procfs {
    /// Makes one if anything has to be written to it.
    pub(super) fn open_if_needed(
        process: &Process,
        sysctls: &[Sysctl],
    ) -> Result<Option<Self>, SetupError> {
        let labelled = process.apparmor_profile.is_some() || process.selinux_label.is_some();
        if sysctls.is_empty() && !labelled {
            return Ok(None);
        }
        let action = || "make a private procfs".to_owned();
        let context = FsContext::open("proc").at(Step::Sysctl, action)?;
        let attributes = nix::libc::MOUNT_ATTR_NOSUID
            | nix::libc::MOUNT_ATTR_NODEV
            | nix::libc::MOUNT_ATTR_NOEXEC;
        context
            .mount(attributes)
            .map(|fd| Some(Self(fd)))
            .at(Step::Sysctl, action)
    }

    fn write(&self, path: &str, value: &str) -> Result<(), Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_XDEV
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        let file = openat2(&self.0, path, how)?;
        // One write call: the kernel takes the value as a whole.
        std::fs::File::from(file)
            .write_all(value.as_bytes())
            .map_err(|e| fd::errno(&e))
    }

    /// Writes an attribute that takes effect at the next execve.
    fn write_label(&self, files: &[&str], value: &str) -> Result<(), Errno> {
        let mut last = Err(Errno::ENOENT);
        for file in files {
            last = self.write(file, value);
            if last.is_ok() {
                return Ok(());
            }
        }
        last
    }
}

/// Sets kernel parameters, which the plan has limited to the container's own namespaces.
pub(super) fn apply_sysctls(procfs: Option<&Procfs>, sysctls: &[Sysctl]) -> Result<(), SetupError> {
    if fault::leaves_out("sysctl") {
        return Ok(());
    }
    let Some(procfs) = procfs else { return Ok(()) };
    for Sysctl { path, value } in sysctls {
        procfs
            .write(&format!("sys/{path}"), value)
            .at(Step::Sysctl, || {
                format!("write {value:?} to sysctl {path:?}")
            })
            .blame(Blame::Caller)?;
    }
    Ok(())
}

/// Arranges for the AppArmor profile or SELinux label to be taken at execve.
pub(super) fn label_on_exec(procfs: Option<&Procfs>, process: &Process) -> Result<(), SetupError> {
    let Some(procfs) = procfs else { return Ok(()) };
    if let Some(profile) = &process.apparmor_profile {
        let files = ["thread-self/attr/apparmor/exec", "thread-self/attr/exec"];
        let action = || format!("set apparmor profile {profile:?}");
        match procfs.write_label(&files, &format!("exec {profile}")) {
            Err(Errno::ENOENT) => {
                let cause = "no such profile is loaded";
                return Err(because(Step::LsmLabel, Blame::Caller, action(), cause));
            }
            other => other.at(Step::LsmLabel, action).blame(Blame::Caller)?,
        }
    }
    if let Some(label) = &process.selinux_label {
        procfs
            .write_label(&["thread-self/attr/exec"], label)
            .at(Step::LsmLabel, || format!("set selinux label {label:?}"))
            .blame(Blame::Caller)?;
    }
    Ok(())
}
