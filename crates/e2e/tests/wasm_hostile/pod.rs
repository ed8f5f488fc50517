//! A pod with a native container that is spoken to all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hull_e2e::pulse::Pulse;
use hull_e2e::{Container, FifoReader, Lab, POD, Spec, Streams, cgroup, limit, procfs, slowed};

/// How long neighbour and daemon may take to answer: less than a probe waits, and far more than they need on
/// a machine that others use as well.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two words to the neighbour.
const PAUSE: Duration = Duration::from_millis(10);
/// By how much the daemon may grow, in KiB: for one container more, and its streams.
const GROWTH: u64 = 3 << 10;

/// A pod with a neighbour that says back what it is told.
pub(super) struct Pod<'lab> {
    lab: &'lab Lab,
    neighbour: Container<'lab>,
}

impl<'lab> Pod<'lab> {
    pub(super) fn new(lab: &'lab Lab) -> Self {
        let says_back = "while read -r line; do echo \"$line\"; done";
        let spec = Spec::new(["sh", "-c", says_back]).annotation(POD, "pod");
        let neighbour = lab.container_with(&spec, Streams::ALL);
        neighbour.run();
        Self { lab, neighbour }
    }

    /// Another container of the pod.
    pub(super) fn container(&self, spec: &Spec) -> Container<'lab> {
        let c = self.lab.container(&spec.clone().annotation(POD, "pod"));
        assert_eq!(c.shim_pid(), self.neighbour.shim_pid());
        c
    }

    /// Does something while neighbour and daemon are spoken to, and checks that both answered at once all the
    /// time and that the daemon did not grow.
    pub(super) fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let daemon = self.neighbour.shim_pid();
        let before = kibibytes(daemon, "VmRSS");
        let pulse = Pulse::of(&self.neighbour.address, self.lab.tag(), daemon);
        let stop = AtomicBool::new(false);
        let mut input = self.neighbour.stdio.open_stdin(limit()).unwrap();
        let out = self.neighbour.stdio.out.as_mut().unwrap();
        let (done, longest) = thread::scope(|scope| {
            let talk = scope.spawn(|| talk(&stop, &mut input, out));
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            stop.store(true, Ordering::Relaxed);
            (done, talk.join().unwrap())
        });
        let stalls = pulse.stop();
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let most = kibibytes(daemon, "VmHWM");
        println!("neighbour {longest:?}, daemon {stalls:?}, {before} to {most} KiB");
        assert!(longest < slowed(PATIENCE), "the neighbour took {longest:?}");
        let slowest = stalls.slowest;
        assert!(slowest < slowed(PATIENCE), "the daemon took {slowest:?}");
        assert!(most < before + GROWTH, "{before} KiB became {most} KiB");
        assert_eq!(self.neighbour.exec("e", ["echo", "fine"]).stdout, "fine\n");
        done
    }
}

/// Says something to the neighbour again and again; gives the longest that an answer took.
fn talk(stop: &AtomicBool, input: &mut hull_e2e::FifoWriter, out: &mut FifoReader) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        input.write_all(b"there?\n", limit()).unwrap();
        out.read_until(b"there?\n", limit()).unwrap();
        longest = longest.max(asked.elapsed());
        thread::sleep(PAUSE);
    }
    longest
}

/// Memory of a process in KiB: what it has now, or the most it had.
fn kibibytes(pid: u32, key: &str) -> u64 {
    let text = procfs::field(pid, key).unwrap();
    text.trim_end_matches(" kB").parse().unwrap()
}

/// The most memory that a container was charged, in MiB.
pub(super) fn peak(c: &Container<'_>) -> u64 {
    let file = if cgroup::is_unified("memory") {
        "memory.peak"
    } else {
        "memory.max_usage_in_bytes"
    };
    let bytes: u64 = cgroup::read("memory", &c.cgroup(), file).parse().unwrap();
    bytes >> 20
}
