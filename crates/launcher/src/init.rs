//! Inside a new process of a container: the straight list of steps, in the order of
//! [`hull_abi::Step`], each with the reason why it stands where it stands.

mod cgroups;
mod console;
mod cred;
mod devices;
mod exec;
mod masks;
mod mounts;
mod namespaces;
mod procfs;
mod root;
mod session;

use crate::failure::{At, because};
use crate::sync::Sync;
use crate::{fault, hook};
use hull_abi::{Blame, CgroupPaths, ExecPlan, FromInit, Plan, Process, SetupError, Step, ToInit};
use std::os::fd::OwnedFd;

/// Largest encoded plan.
const MAX_PLAN: u64 = 64 << 20;

/// Makes this process the init process of a container and becomes its program. Returns only with
/// the reason why that failed.
pub(crate) fn run(
    sync: &Sync,
    body: OwnedFd,
    cgroup: &CgroupPaths,
    keyring: Option<String>,
) -> Result<(), SetupError> {
    fault::point(Step::Plan)?;
    let plan: Plan = read_plan(body)?;
    let process = &plan.process;

    // The cgroup before the cgroup namespace, whose root is wherever we are then.
    fault::point(Step::JoinCgroup)?;
    cgroups::join(&cgroup.v1.iter().map(|h| h.path.clone()).collect::<Vec<_>>())?;
    fault::point(Step::Namespaces)?;
    namespaces::enter(&plan)?;
    session::begin()?;
    session::set_oom_score(process.oom_score_adj)?;
    // Before the credentials change: the keyring belongs to whoever makes it.
    session::join_keyring(keyring.as_deref())?;
    namespaces::loopback(&plan)?;

    fault::point(Step::RootfsPrepare)?;
    let root = root::prepare(&plan.root)?;
    fault::point(Step::Mounts)?;
    let late = mounts::make(&root, &plan.mounts, cgroup)?;
    fault::point(Step::Devices)?;
    devices::make(&root, &plan)?;
    // The host's tree can still be seen: last chance for hooks to bring something in.
    let state = runtime_hooks(sync, &plan)?;
    create_container_hooks(&plan, state.as_deref())?;
    fault::point(Step::PivotRoot)?;
    root::pivot(root, &plan)?;

    // From here on every path is the container's.
    devices::reopen_null_stdio()?;
    console::working_directory(&process.cwd)?;
    console::attach_for_init(sync, process)?;
    namespaces::set_names(&plan)?;
    // Our own view of /proc: the container may have covered or replaced its own.
    let procfs = procfs::Procfs::open_if_needed(process, &plan.sysctls)?;
    procfs::apply_sysctls(procfs.as_ref(), &plan.sysctls)?;
    // After everything that writes to them.
    mounts::make_read_only(late)?;
    root::make_read_only(&plan.root)?;
    masks::read_only(&plan.readonly_paths)?;
    masks::hide(&plan.masked_paths)?;
    exec::prepare(sync, process, procfs)?;

    fault::point(Step::Gate)?;
    sync.send(Step::Gate, &FromInit::Ready)?;
    let ToInit::Start { state } = sync.receive(Step::Gate)? else {
        return Err(out_of_order(Step::Gate));
    };
    if let Some(state) = state {
        hook::run_all(hook::Batch {
            step: Step::StartContainerHooks,
            kind: "startContainer",
            hooks: &plan.hooks.start_container,
            state: &state,
            cwd: "/",
            default_env: &process.env,
        })?;
    }
    exec::execute(sync, process)
}

/// Makes this process a further process of a container and becomes its program. Returns only with
/// the reason why that failed.
pub(crate) fn run_exec(
    sync: &Sync,
    body: OwnedFd,
    init: OwnedFd,
    cgroup: &CgroupPaths,
    keyring: Option<String>,
) -> Result<(), SetupError> {
    fault::point(Step::Plan)?;
    let plan: ExecPlan = read_plan(body)?;
    let process = &plan.process;
    fault::point(Step::JoinCgroup)?;
    cgroups::join(&cgroup.v1.iter().map(|h| h.path.clone()).collect::<Vec<_>>())?;
    session::set_oom_score(process.oom_score_adj)?;
    fault::point(Step::Namespaces)?;
    namespaces::join_container(&init, &plan.namespaces)?;
    drop(init);
    session::begin()?;
    session::join_keyring(keyring.as_deref())?;
    console::attach_for_exec(sync, process)?;
    let procfs = procfs::Procfs::open_if_needed(process, &[])?;
    exec::prepare(sync, process, procfs)?;
    fault::point(Step::Exec)?;
    exec::execute(sync, process)
}

fn read_plan<T: serde::de::DeserializeOwned>(body: OwnedFd) -> Result<T, SetupError> {
    let action = || "read the plan".to_owned();
    let bytes = hull_sys::fd::read_to_end(body, MAX_PLAN).at(Step::Plan, action)?;
    hull_abi::decode(&bytes).map_err(|e| because(Step::Plan, Blame::Hull, action(), &e.to_string()))
}

/// Lets the daemon run the hooks of the runtime namespace; returns the container's state for the
/// hooks that we run ourselves.
fn runtime_hooks(sync: &Sync, plan: &Plan) -> Result<Option<String>, SetupError> {
    let hooks = &plan.hooks;
    if hooks.prestart.is_empty()
        && hooks.create_runtime.is_empty()
        && hooks.create_container.is_empty()
    {
        return Ok(None);
    }
    fault::point(Step::RuntimeHooks)?;
    sync.send(Step::RuntimeHooks, &FromInit::Hooks)?;
    match sync.receive(Step::RuntimeHooks)? {
        ToInit::Proceed { state } => Ok(state),
        ToInit::Start { .. } => Err(out_of_order(Step::RuntimeHooks)),
    }
}

/// Container namespaces, but programs of the runtime's file system.
fn create_container_hooks(plan: &Plan, state: Option<&str>) -> Result<(), SetupError> {
    fault::point(Step::CreateContainerHooks)?;
    hook::run_all(hook::Batch {
        step: Step::CreateContainerHooks,
        kind: "createContainer",
        hooks: &plan.hooks.create_container,
        state: state.unwrap_or("{}"),
        cwd: "/",
        default_env: &[],
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
