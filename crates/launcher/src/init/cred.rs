//! Who the process becomes: bounding set, groups, user, capability sets.

use crate::failure::{At, because};
use crate::fault;
use hull_abi::{Blame, Process, SetupError, Step};
use hull_sys::Errno;
use hull_sys::cred::{self, ThreadCapabilities};
use nix::sys::stat::{Mode, SFlag, fstat, umask};
use std::os::fd::AsFd;

/// Changes the credentials. Groups before the user, which takes the right to change groups away; the
/// final sets last.
pub(super) fn assume(process: &Process) -> Result<(), SetupError> {
    let step = Step::Credentials;
    let (user, caps) = (&process.user, &process.capabilities);
    if !fault::leaves_out("bounding set") {
        cred::limit_bounding_set(caps.bounding).at(step, || "limit the bounding set".to_owned())?;
    }
    cred::keep_capabilities().at(step, || "keep capabilities".to_owned())?;
    own_stdio(user.uid)?;
    if !fault::leaves_out("groups") {
        mapped(cred::set_groups(&user.additional_gids), || {
            format!("set groups {:?}", user.additional_gids)
        })?;
    }
    if !fault::leaves_out("gid") {
        mapped(cred::set_gid(user.gid), || format!("set gid {}", user.gid))?;
    }
    if !fault::leaves_out("uid") {
        mapped(cred::set_uid(user.uid), || format!("set uid {}", user.uid))?;
    }
    if !fault::leaves_out("umask") {
        umask(Mode::from_bits_truncate(user.umask));
    }
    Ok(())
}

/// Only a joined user namespace is not known before: the plan has looked at all others.
fn mapped(result: Result<(), Errno>, action: impl Fn() -> String) -> Result<(), SetupError> {
    match result {
        Err(Errno::EINVAL) => {
            let cause = "the user namespace does not map it";
            Err(because(Step::Credentials, Blame::Caller, action(), cause))
        }
        other => other.at(Step::Credentials, action),
    }
}

/// The final capability sets; ambient ones must be permitted and inheritable before.
pub(super) fn limit(process: &Process) -> Result<(), SetupError> {
    let step = Step::Credentials;
    if fault::leaves_out("capability sets") {
        return Ok(());
    }
    let caps = &process.capabilities;
    cred::set_capabilities(ThreadCapabilities {
        effective: caps.effective,
        permitted: caps.permitted,
        inheritable: caps.inheritable,
    })
    .at(step, || "set capabilities".to_owned())?;
    if fault::leaves_out("ambient set") {
        return Ok(());
    }
    let ambient = caps.ambient & caps.permitted & caps.inheritable;
    cred::set_ambient(ambient).at(step, || "set ambient capabilities".to_owned())
}

/// Programs reopen /dev/stdout: pipes and terminals must belong to the user for that.
fn own_stdio(uid: u32) -> Result<(), SetupError> {
    if fault::leaves_out("owner of the streams") {
        return Ok(());
    }
    let streams = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for stream in [streams.0.as_fd(), streams.1.as_fd(), streams.2.as_fd()] {
        let Ok(stat) = fstat(stream) else { continue };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        let null = kind == SFlag::S_IFCHR && stat.st_rdev == nix::sys::stat::makedev(1, 3);
        if null || stat.st_uid == uid || kind == SFlag::S_IFREG || kind == SFlag::S_IFDIR {
            continue;
        }
        match nix::unistd::fchown(stream, Some(uid.into()), None) {
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(errno) => {
                return Err(errno).at(Step::Credentials, || {
                    "give the standard streams to the user".to_owned()
                });
            }
        }
    }
    Ok(())
}
