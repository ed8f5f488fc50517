//! Inside a new process of a container: the straight list of steps, in the order of
//! [`hull_abi::Step`], each with the reason why it stands where it stands.

mod attributes;
mod between;
mod cgroups;
mod console;
mod copy_up;
mod cred;
mod devices;
mod exec;
mod host_files;
mod masks;
mod mounts;
mod namespaces;
mod procfs;
mod program;
mod root;
mod session;
mod user_namespace;
mod wasm;

use between::{Onward, Side, clone_onward};
use host_files::HostFiles;

use crate::failure::{At, because};
use crate::sync::Sync;
use crate::{fault, hook, step};
use hull_abi::{
    Blame, CgroupPaths, ExecPlan, FromInit, NamespaceKind, Plan, Process, SetupError, Step, ToInit,
};
use hull_sys::fs::InRoot;
use hull_sys::single::SingleThreaded;
use procfs::Procfs;
use std::os::fd::OwnedFd;

/// Largest encoded plan.
const MAX_PLAN: u64 = 64 << 20;

/// What a process of a container is a member of from its first moments on.
#[derive(Debug)]
pub(crate) struct Membership {
    /// The container's cgroup; its v1 part is joined by the process itself.
    pub(crate) cgroup: CgroupPaths,
    /// Name of the session keyring, if the container has one of its own.
    pub(crate) keyring: Option<String>,
}

/// An init process that is in all of its namespaces but has done nothing in them yet.
struct Newborn<'a> {
    sync: &'a Sync,
    plan: &'a Plan,
    /// A program of ours that comes with the request.
    own_program: Option<OwnedFd>,
    membership: &'a Membership,
    /// What a process in between has opened.
    host: Option<FromHost>,
}

/// What was opened while that was still allowed.
struct FromHost {
    files: HostFiles,
    root: InRoot,
}

/// Makes this process the init process of a container and becomes its program. Returns only with
/// the reason why that failed.
pub(crate) fn run(
    sync: &Sync,
    body: OwnedFd,
    own_program: Option<OwnedFd>,
    membership: &Membership,
) -> Result<(), SetupError> {
    step::begin(Step::Plan)?;
    let plan: Plan = read_plan(body)?;
    // The cgroup before the cgroup namespace, whose root is wherever we are then.
    step::begin(Step::JoinCgroup)?;
    cgroups::join(&membership.cgroup)?;
    step::begin(Step::Namespaces)?;
    namespaces::enter(&plan)?;
    inside(Newborn {
        sync,
        plan: &plan,
        own_program,
        membership,
        host: None,
    })
}

/// As [`run`], by way of a process in between: this one, which ends when the init process goes on.
pub(crate) fn run_between(
    single: &SingleThreaded,
    sync: &Sync,
    body: OwnedFd,
    own_program: Option<OwnedFd>,
    membership: &Membership,
) -> Result<(), SetupError> {
    between::run(single, sync, body, own_program, membership)
}

/// From the namespaces to the program.
fn inside(newborn: Newborn<'_>) -> Result<(), SetupError> {
    let Newborn {
        sync,
        plan,
        own_program,
        membership,
        host,
    } = newborn;
    let Membership { cgroup, keyring } = membership;
    let process = &plan.process;
    let (files, opened) = host.map(|host| (host.files, host.root)).unzip();
    let mut files = files;
    step::begin(Step::Session)?;
    session::begin()?;
    session::use_every_cpu()?;
    if files.is_none() {
        session::set_oom_score(process.oom_score_adj)?;
    }
    step::note(Step::Keyring);
    // Before the credentials change: the keyring belongs to whoever makes it.
    session::join_keyring(keyring.as_deref())?;
    step::note(Step::Loopback);
    namespaces::loopback(plan)?;
    // Our own view of /proc: the container may cover or replace its own. While the host's is still
    // there: the root of a user namespace may mount only what it sees already.
    let procfs = Procfs::open_if_needed(process, &plan.sysctls)?;

    step::begin(Step::RootfsPrepare)?;
    let root = root::prepare(&plan.root, opened)?;
    step::begin(Step::Mounts)?;
    let late = mounts::make(&root, &plan.mounts, cgroup, files.as_mut())?;
    step::begin(Step::Devices)?;
    devices::make(&root, plan, files.as_mut())?;
    drop(files);
    // The host's tree can still be seen: last chance for hooks to bring something in.
    if let Some(pid) = runtime_hooks(sync, plan)? {
        create_container_hooks(plan, pid)?;
    }
    step::begin(Step::PivotRoot)?;
    root::pivot(root, plan)?;

    // From here on every path is the container's.
    devices::reopen_null_stdio()?;
    console::working_directory(&process.cwd)?;
    step::begin(Step::Console)?;
    console::attach_for_init(sync, process)?;
    namespaces::set_names(plan)?;
    step::begin(Step::Sysctl)?;
    procfs::apply_sysctls(procfs.as_ref(), &plan.sysctls)?;
    // After everything that writes to them.
    step::note(Step::ReadonlyMounts);
    mounts::make_read_only(late)?;
    root::make_read_only(&plan.root)?;
    step::note(Step::ReadonlyPaths);
    masks::read_only(&plan.readonly_paths)?;
    step::begin(Step::MaskedPaths)?;
    masks::hide(&plan.masked_paths)?;
    let program = exec::prepare(sync, process, procfs, own_program)?;

    step::begin(Step::Gate)?;
    let moments = step::moments();
    sync.send(Step::Gate, &FromInit::Ready { moments })?;
    let ToInit::Start { pid } = sync.receive(Step::Gate)? else {
        return Err(out_of_order(Step::Gate));
    };
    step::begin(Step::StartContainerHooks)?;
    hook::run_all(hook::Batch {
        step: Step::StartContainerHooks,
        kind: "startContainer",
        hooks: &plan.hooks.start_container,
        state: &plan.state.render("created", Some(pid)),
        cwd: "/",
        default_env: &process.env,
        daemon: None,
    })?;
    step::begin(Step::Exec)?;
    exec::execute(sync, process, program)
}

/// Makes a further process of a container. This process, still a stranger to the container, joins
/// its cgroups and namespaces and clones the one that goes on: nothing that the container can see in
/// /proc ever has the host's root, directory or descriptors (CVE-2016-9962).
///
/// Returns in this process when that is done, in the new one only with the reason why it failed.
pub(crate) fn run_exec(
    single: &SingleThreaded,
    sync: &Sync,
    body: OwnedFd,
    init: OwnedFd,
    membership: &Membership,
) -> Result<(), SetupError> {
    let Membership { cgroup, keyring } = membership;
    fault::exec_point(Step::Plan)?;
    let plan: ExecPlan = read_plan(body)?;
    fault::exec_point(Step::JoinCgroup)?;
    cgroups::join(cgroup)?;
    session::set_oom_score(plan.process.oom_score_adj)?;
    fault::exec_point(Step::Namespaces)?;
    let in_user_namespace = plan.namespaces.contains(&NamespaceKind::User);
    let procfs = if in_user_namespace {
        // From inside, where only masked ones are to be seen, it could not be made. It shows the host's
        // processes, and is closed before the program runs.
        Procfs::open_if_needed(&plan.process, &[])?
    } else {
        None
    };
    namespaces::join_container(&init, &plan.namespaces)?;
    drop(init);
    if in_user_namespace {
        user_namespace::become_root()?;
    }
    let side = clone_onward(Onward {
        single,
        sync,
        namespaces: 0,
        id_maps: None,
        fault: fault::exec_point,
    })?;
    match side {
        Side::Between => Ok(()),
        Side::GoesOn => become_exec(sync, &plan, keyring.as_deref(), procfs),
    }
}

fn become_exec(
    sync: &Sync,
    plan: &ExecPlan,
    keyring: Option<&str>,
    procfs: Option<Procfs>,
) -> Result<(), SetupError> {
    fault::exec_point(Step::Session)?;
    session::begin()?;
    session::use_cpus_of_exec(&plan.process.attributes.exec_affinity)?;
    session::join_keyring(keyring)?;
    let process = &plan.process;
    console::attach_for_exec(sync, process)?;
    let procfs = match procfs {
        Some(made) => Some(made),
        None => Procfs::open_if_needed(process, &[])?,
    };
    let program = exec::prepare(sync, process, procfs, None)?;
    fault::exec_point(Step::Exec)?;
    exec::execute(sync, process, program)
}

fn read_plan<T: serde::de::DeserializeOwned>(body: OwnedFd) -> Result<T, SetupError> {
    let action = || "read the plan".to_owned();
    let bytes = hull_sys::fd::read_to_end(body, MAX_PLAN).at(Step::Plan, action)?;
    hull_abi::decode(&bytes).map_err(|e| because(Step::Plan, Blame::Hull, action(), &e.to_string()))
}

/// Lets the daemon move network devices and run the hooks of the runtime namespace; returns our process
/// id on the host for the hooks that we run ourselves.
fn runtime_hooks(sync: &Sync, plan: &Plan) -> Result<Option<i32>, SetupError> {
    let hooks = &plan.hooks;
    if hooks.prestart.is_empty()
        && hooks.create_runtime.is_empty()
        && hooks.create_container.is_empty()
        && plan.net_devices.is_empty()
    {
        return Ok(None);
    }
    step::begin(Step::RuntimeHooks)?;
    sync.send(Step::RuntimeHooks, &FromInit::Hooks)?;
    match sync.receive(Step::RuntimeHooks)? {
        ToInit::Proceed { pid } => Ok(Some(pid)),
        ToInit::Start { .. }
        | ToInit::Runner { .. }
        | ToInit::Digest
        | ToInit::Notified
        | ToInit::Limited
        | ToInit::Leave
        | ToInit::Keep => Err(out_of_order(Step::RuntimeHooks)),
    }
}

/// Container namespaces, but programs of the runtime's file system.
fn create_container_hooks(plan: &Plan, pid: i32) -> Result<(), SetupError> {
    step::begin(Step::CreateContainerHooks)?;
    hook::run_all(hook::Batch {
        step: Step::CreateContainerHooks,
        kind: "createContainer",
        hooks: &plan.hooks.create_container,
        state: &plan.state.render("creating", Some(pid)),
        cwd: &plan.bundle,
        default_env: &[],
        daemon: None,
    })
}

fn out_of_order(step: Step) -> SetupError {
    because(
        step,
        Blame::Hull,
        "wait for the shim".to_owned(),
        "a message out of order",
    )
}

/// Whether the process needs a filter that must be loaded before the credentials change: without
/// no_new_privs loading one takes CAP_SYS_ADMIN.
fn filter_comes_early(process: &Process) -> bool {
    !process.no_new_privileges
}
