//! `hooks`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks>).

use crate::{Invalid, paths};
use hull_abi::{Hook, Hooks};
use oci_spec::runtime as oci;

/// All six kinds, each in the order of the config.
pub(crate) fn lower(spec: &oci::Spec) -> Result<Hooks, Invalid> {
    let Some(hooks) = spec.hooks() else {
        return Ok(Hooks::default());
    };
    Ok(Hooks {
        prestart: list(hooks.prestart(), "hooks.prestart")?,
        create_runtime: list(hooks.create_runtime(), "hooks.createRuntime")?,
        create_container: list(hooks.create_container(), "hooks.createContainer")?,
        start_container: list(hooks.start_container(), "hooks.startContainer")?,
        poststart: list(hooks.poststart(), "hooks.poststart")?,
        poststop: list(hooks.poststop(), "hooks.poststop")?,
    })
}

fn list(hooks: &Option<Vec<oci::Hook>>, field: &str) -> Result<Vec<Hook>, Invalid> {
    let hooks = hooks.iter().flatten().enumerate();
    hooks
        .map(|(i, hook)| one(hook, &format!("{field}[{i}]")))
        .collect()
}

fn one(hook: &oci::Hook, field: &str) -> Result<Hook, Invalid> {
    let path = paths::text(hook.path());
    if !path.starts_with('/') {
        return Err(Invalid::new(
            format!("{field}.path"),
            format!("{path:?} is not absolute"),
        ));
    }
    Ok(Hook {
        path,
        args: hook.args().clone().unwrap_or_default(),
        env: env(hook, field)?,
        timeout_seconds: hook
            .timeout()
            .map(|seconds| timeout(seconds, field))
            .transpose()?,
    })
}

/// As the spec has it: a hook gets nothing but that.
fn env(hook: &oci::Hook, field: &str) -> Result<Vec<String>, Invalid> {
    let env = hook.env().clone().unwrap_or_default();
    match env.iter().position(|entry| !entry.contains('=')) {
        Some(at) => {
            let field = format!("{field}.env[{at}]");
            Err(Invalid::new(field, "it is not NAME=value"))
        }
        None => Ok(env),
    }
}

fn timeout(seconds: i64, field: &str) -> Result<u32, Invalid> {
    let in_range = u32::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    in_range.ok_or_else(|| {
        Invalid::new(
            format!("{field}.timeout"),
            format!("{seconds} is not a number of seconds"),
        )
    })
}
