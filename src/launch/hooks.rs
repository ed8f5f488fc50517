//! The hooks that run in the runtime's namespaces, as jobs.

use super::{HOOKS_DEADLINE, Place};
use crate::daemon::Shared;
use crate::error::Error;
use hull_abi::{Hook, HostJob, Plan};

async fn run(
    shared: &Shared,
    place: &Place,
    kind: &str,
    hooks: &[Hook],
    state: &str,
) -> Result<(), Error> {
    if hooks.is_empty() {
        return Ok(());
    }
    let job = HostJob::Hooks {
        kind: kind.to_owned(),
        hooks: hooks.to_vec(),
        state: state.to_owned(),
        cwd: place.bundle.to_string_lossy().into_owned(),
        stop_at_failure: kind != "poststop",
    };
    Ok(shared.launcher.run(&job, HOOKS_DEADLINE).await?)
}

/// Runs the hooks that find the namespaces made and the root file system not yet entered.
///
/// # Errors
/// The first hook that failed.
pub(super) async fn before_create(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    state: &str,
) -> Result<(), Error> {
    let hooks = &plan.hooks;
    run(shared, place, "prestart", &hooks.prestart, state).await?;
    run(shared, place, "createRuntime", &hooks.create_runtime, state).await
}

/// Runs the poststart hooks; a failing one is the caller's to act on.
///
/// # Errors
/// The first hook that failed.
pub(crate) async fn poststart(
    shared: &Shared,
    plan: &Plan,
    place: &Place,
    pid: i32,
) -> Result<(), Error> {
    let state = plan.state.render("running", Some(pid));
    run(shared, place, "poststart", &plan.hooks.poststart, &state).await
}

/// Runs the poststop hooks. Failures are logged: the container is gone whatever they say.
pub(crate) async fn poststop(shared: &Shared, plan: &Plan, place: &Place) {
    let state = plan.state.render("stopped", None);
    if let Err(e) = run(shared, place, "poststop", &plan.hooks.poststop, &state).await {
        log::warn!("container {}: {}", place.id, e.line());
    }
}
