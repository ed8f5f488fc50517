//! Points where the fault tests kill, stall or fail a process. Compiled to nothing without the
//! feature `fault-points`, which no installed build has.

use hull_abi::{SetupError, Step};

/// Acts on `HULL_FAULT=<step name>:<kill|stall|fail>` when this is the step it names.
///
/// # Errors
/// The made-up failure, if that is what was asked for.
#[cfg(feature = "fault-points")]
pub(crate) fn point(step: Step) -> Result<(), SetupError> {
    act(step, step.name())
}

/// The same on the way of an exec process: `HULL_FAULT="exec <step name>:…"`.
///
/// # Errors
/// As [`point`].
#[cfg(feature = "fault-points")]
pub(crate) fn exec_point(step: Step) -> Result<(), SetupError> {
    act(step, &format!("exec {}", step.name()))
}

/// The name of a process that stalls.
#[cfg(feature = "fault-points")]
const STALLED: &std::ffi::CStr = c"hull-stalled";

#[cfg(feature = "fault-points")]
fn act(step: Step, here: &str) -> Result<(), SetupError> {
    let Ok(wanted) = std::env::var("HULL_FAULT") else {
        return Ok(());
    };
    let Some((name, what)) = wanted.rsplit_once(':') else {
        return Ok(());
    };
    if name != here {
        return Ok(());
    }
    match what {
        "kill" => hull_sys::process::exit_now(137),
        "stall" => {
            // Where the tests look for it. It is best effort there, too.
            hull_sys::process::set_name(STALLED).ok();
            loop {
                std::thread::park();
            }
        }
        _ => Err(crate::failure::because(
            step,
            hull_abi::Blame::Hull,
            "fault point".to_owned(),
            "asked to fail",
        )),
    }
}

/// Whether a part of the way into a container is left out: `HULL_LEAVE_OUT=<part>`. So it is found out
/// whether any test would notice.
#[cfg(feature = "fault-points")]
pub(crate) fn leaves_out(part: &str) -> bool {
    std::env::var("HULL_LEAVE_OUT").is_ok_and(|wanted| wanted == part)
}

/// Nothing is, in every build but those of the fault tests.
#[cfg(not(feature = "fault-points"))]
pub(crate) const fn leaves_out(_part: &str) -> bool {
    false
}

/// Nothing, in every build but those of the fault tests.
#[cfg(not(feature = "fault-points"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "same signature as with fault points"
)]
pub(crate) fn point(_step: Step) -> Result<(), SetupError> {
    Ok(())
}

/// Nothing, in every build but those of the fault tests.
#[cfg(not(feature = "fault-points"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "same signature as with fault points"
)]
pub(crate) fn exec_point(_step: Step) -> Result<(), SetupError> {
    Ok(())
}
