//! Points at which the fault tests have the daemon die. Compiled to nothing without the feature
//! `fault-points`, which no installed build has.

/// Ends the daemon as abruptly as SIGKILL would if `HULL_FAULT` is `daemon <what>:kill`.
#[cfg(feature = "fault-points")]
pub(crate) fn point(what: &str) {
    if std::env::var("HULL_FAULT").is_ok_and(|wanted| wanted == format!("daemon {what}:kill")) {
        hull_sys::process::exit_now(137);
    }
}

/// Nothing, in every build but those of the fault tests.
#[cfg(not(feature = "fault-points"))]
pub(crate) const fn point(_what: &str) {}
