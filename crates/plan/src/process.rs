//! `process`: of a config, or of an Exec request
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#process>).

use crate::{Host, Invalid, capabilities, paths};
use hull_abi::{Attributes, ConsoleSize, Payload, Process, Rlimit, Seccomp, User};
use oci_spec::runtime as oci;
use oci_spec::runtime::PosixRlimitType;

/// File mode creation mask of a process whose config has none; runc's and crun's default.
const DEFAULT_UMASK: u32 = 0o022;

/// The largest number of supplementary groups, `NGROUPS_MAX` of the kernel.
const MAX_GROUPS: usize = 65_536;

/// `(uid_t)-1` tells setresuid(2) to change nothing, so it can be nobody's id.
const NO_ID: u32 = u32::MAX;

/// What a process takes from elsewhere than its own config.
pub(crate) struct Context<'a> {
    /// What the host offers.
    pub(crate) host: &'a Host,
    /// Whether the request asks for a terminal.
    pub(crate) terminal: bool,
    /// What it may become.
    pub(crate) payload: Payload,
    /// The filter of the container.
    pub(crate) seccomp: Option<Seccomp>,
    /// Its scheduling and NUMA policy.
    pub(crate) attributes: Attributes,
    /// The init process, for an exec: what the exec leaves open is as there.
    pub(crate) init: Option<&'a Process>,
}

/// Lowers a process.
pub(crate) fn lower(
    process: &oci::Process,
    context: Context<'_>,
    warnings: &mut Vec<String>,
) -> Result<Process, Invalid> {
    let init = context.init;
    if init.is_none() {
        check_terminal(process, context.terminal)?;
    }
    Ok(Process {
        payload: context.payload,
        args: args(process)?,
        env: env(process)?,
        cwd: cwd(process)?,
        terminal: context.terminal,
        console_size: console_size(process)?,
        user: user(process.user(), init.map(|init| init.user.umask))?,
        capabilities: capabilities::lower(process, context.host, warnings)?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits(process, init)?,
        oom_score_adj: oom_score_adj(process, init)?,
        attributes: context.attributes,
        apparmor_profile: apparmor_profile(process, context.host, init)?,
        selinux_label: selinux_label(process, context.host, init)?,
        seccomp: context.seccomp,
    })
}

/// runc refuses both mismatches too: a program that expects a terminal would get pipes, or the
/// other way round. For an exec the request alone decides, as in the runc shim.
fn check_terminal(process: &oci::Process, requested: bool) -> Result<(), Invalid> {
    let configured = process.terminal().unwrap_or(false);
    if configured == requested {
        return Ok(());
    }
    let why = format!("it is {configured}, but the request says {requested}");
    Err(Invalid::new("process.terminal", why))
}

fn args(process: &oci::Process) -> Result<Vec<String>, Invalid> {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        return Err(Invalid::new("process.args", "it is empty"));
    }
    Ok(args)
}

/// Each variable once with its last value, as runc does: programs read the first of two.
fn env(process: &oci::Process) -> Result<Vec<String>, Invalid> {
    let mut env: Vec<String> = Vec::new();
    for (i, entry) in process.env().iter().flatten().enumerate() {
        let name = match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() => name,
            _ => {
                let field = format!("process.env[{i}]");
                return Err(Invalid::new(field, "it is not NAME=value"));
            }
        };
        env.retain(|other| other.split_once('=').is_none_or(|(other, _)| other != name));
        env.push(entry.clone());
    }
    Ok(env)
}

fn cwd(process: &oci::Process) -> Result<String, Invalid> {
    let cwd = paths::text(process.cwd());
    if !cwd.starts_with('/') {
        return Err(Invalid::new(
            "process.cwd",
            format!("{cwd:?} is not absolute"),
        ));
    }
    Ok(cwd)
}

fn console_size(process: &oci::Process) -> Result<Option<ConsoleSize>, Invalid> {
    let Some(size) = process.console_size() else {
        return Ok(None);
    };
    let cells = |count: u64, name: &str| {
        u16::try_from(count).map_err(|_| {
            let why = format!("{count} is more than {}", u16::MAX);
            Invalid::new(format!("process.consoleSize.{name}"), why)
        })
    };
    let size = ConsoleSize {
        width: cells(size.width(), "width")?,
        height: cells(size.height(), "height")?,
    };
    // Go writes the absent size as two zeros.
    Ok(Some(size).filter(|size| *size != ConsoleSize::default()))
}

fn user(user: &oci::User, init_umask: Option<u32>) -> Result<User, Invalid> {
    let umask = user.umask().or(init_umask).unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(Invalid::new(
            "process.user.umask",
            format!("{umask:#o} is more than 0o777"),
        ));
    }
    let additional_gids = user.additional_gids().clone().unwrap_or_default();
    if additional_gids.len() > MAX_GROUPS {
        let why = format!("it lists more than {MAX_GROUPS} groups");
        return Err(Invalid::new("process.user.additionalGids", why));
    }
    for (i, gid) in additional_gids.iter().enumerate() {
        check_id(*gid, || format!("process.user.additionalGids[{i}]"))?;
    }
    check_id(user.uid(), || "process.user.uid".to_owned())?;
    check_id(user.gid(), || "process.user.gid".to_owned())?;
    Ok(User {
        uid: user.uid(),
        gid: user.gid(),
        additional_gids,
        umask,
    })
}

fn check_id(id: u32, field: impl Fn() -> String) -> Result<(), Invalid> {
    if id == NO_ID {
        return Err(Invalid::new(field(), format!("{id} is not a valid id")));
    }
    Ok(())
}

fn rlimits(process: &oci::Process, init: Option<&Process>) -> Result<Vec<Rlimit>, Invalid> {
    let given = process.rlimits().as_deref().unwrap_or_default();
    if let (true, Some(init)) = (given.is_empty(), init) {
        return Ok(init.rlimits.clone());
    }
    let mut rlimits: Vec<Rlimit> = Vec::new();
    for (i, rlimit) in given.iter().enumerate() {
        let field = || format!("process.rlimits[{i}]");
        let resource = resource(rlimit.typ());
        if rlimits.iter().any(|earlier| earlier.resource == resource) {
            return Err(Invalid::new(
                field(),
                format!("{} is listed twice", rlimit.typ()),
            ));
        }
        let (soft, hard) = (rlimit.soft(), rlimit.hard());
        if soft > hard {
            let why = format!("the soft limit {soft} is above the hard limit {hard}");
            return Err(Invalid::new(field(), why));
        }
        rlimits.push(Rlimit {
            resource,
            soft,
            hard,
        });
    }
    Ok(rlimits)
}

/// Numbers of `asm-generic/resource.h`, which x86 and arm use.
fn resource(typ: PosixRlimitType) -> u32 {
    match typ {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

fn oom_score_adj(process: &oci::Process, init: Option<&Process>) -> Result<Option<i32>, Invalid> {
    let Some(score) = process.oom_score_adj() else {
        return Ok(init.and_then(|init| init.oom_score_adj));
    };
    if !(-1000..=1000).contains(&score) {
        let why = format!("{score} is not between -1000 and 1000");
        return Err(Invalid::new("process.oomScoreAdj", why));
    }
    Ok(Some(score))
}

fn apparmor_profile(
    process: &oci::Process,
    host: &Host,
    init: Option<&Process>,
) -> Result<Option<String>, Invalid> {
    let given = process
        .apparmor_profile()
        .clone()
        .filter(|profile| !profile.is_empty());
    if given.is_some() && !host.default_apparmor {
        let why = "a profile is given, but AppArmor is not enabled on this host";
        return Err(Invalid::new("process.apparmorProfile", why));
    }
    Ok(given.or_else(|| init.and_then(|init| init.apparmor_profile.clone())))
}

fn selinux_label(
    process: &oci::Process,
    host: &Host,
    init: Option<&Process>,
) -> Result<Option<String>, Invalid> {
    let given = process
        .selinux_label()
        .clone()
        .filter(|label| !label.is_empty());
    if given.is_some() && !host.selinux {
        let why = "a label is given, but SELinux is not enabled on this host";
        return Err(Invalid::new("process.selinuxLabel", why));
    }
    Ok(given.or_else(|| init.and_then(|init| init.selinux_label.clone())))
}
