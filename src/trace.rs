//! The trace of one Create: when the daemon, its job and the init process began each step.

use hull_abi::{Mark, Moments, TRACE_FILE, Trace, Who};
use std::borrow::Cow;
use std::path::Path;

/// Collects marks. It costs some forty looks at the clock, so that every Create does it.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Vec<Mark>);

impl Recorder {
    /// The daemon begins something.
    pub(crate) fn note(&mut self, what: &'static str) {
        crate::fault::point(what);
        self.0.push(Mark {
            who: Who::Daemon,
            what: Cow::Borrowed(what),
            at_ns: hull_sys::clock::monotonic_ns(),
        });
    }

    /// What another process has noted.
    pub(crate) fn add(&mut self, who: Who, moments: Moments) {
        self.0.extend(moments.into_iter().map(|(step, at_ns)| Mark {
            who,
            what: Cow::Borrowed(step.name()),
            at_ns,
        }));
    }

    /// Writes the trace into the bundle. A trace that cannot be written fails no container.
    pub(crate) fn write(mut self, bundle: &Path) {
        self.0.sort_by_key(|mark| mark.at_ns);
        let trace = Trace { marks: self.0 };
        let written = serde_json::to_vec(&trace)
            .map_err(std::io::Error::other)
            .and_then(|json| crate::bundle::write(bundle, TRACE_FILE, &json));
        if let Err(error) = written {
            log::warn!("write the trace into {bundle:?}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_abi::Step;

    #[test]
    fn marks_of_all_processes_come_in_the_order_of_time() {
        let mut recorder = Recorder::default();
        recorder.note("read");
        let moment = |offset: u64| hull_sys::clock::monotonic_ns() + offset;
        recorder.add(Who::Init, vec![(Step::Mounts, moment(2_000_000_000))]);
        recorder.add(Who::Job, vec![(Step::Cgroup, moment(1_000_000_000))]);
        let bundle = tempfile::tempdir().unwrap();
        recorder.write(bundle.path());
        let json = std::fs::read(bundle.path().join(TRACE_FILE)).unwrap();
        let trace: Trace = serde_json::from_slice(&json).unwrap();
        let what: Vec<_> = trace.marks.iter().map(|m| (m.who, &*m.what)).collect();
        assert_eq!(
            what,
            [
                (Who::Daemon, "read"),
                (Who::Job, "cgroup"),
                (Who::Init, "mounts")
            ]
        );
    }
}
