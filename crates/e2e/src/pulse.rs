//! Whether a daemon answers at once all the time: asked again and again over a connection of its own
//! while a test keeps it busy.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use hull_client::{Task, Version};

/// Between two questions.
const BEAT: Duration = Duration::from_millis(2);

/// Asks a daemon until it is stopped.
#[derive(Debug)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Answer>>,
}

/// One question and its answer.
#[derive(Debug, Clone, Copy)]
struct Answer {
    /// What the asker waited.
    took: Duration,
    /// As long as that, without the time for which daemon or asker could have run and had no processor: what
    /// the daemon's event loop did before it came to this question.
    stalled: Duration,
}

/// What was seen of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalls {
    /// How often it was asked.
    pub asked: usize,
    /// The longest that a question waited for the event loop.
    pub longest: Duration,
    /// Of a thousand questions, one waited longer.
    pub rarely: Duration,
    /// The longest that an answer took, waiting for a processor included.
    pub slowest: Duration,
}

impl Pulse {
    /// Begins to call Connect, which waits for no container.
    pub fn of(address: &str, namespace: &str, daemon: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asking = thread::spawn({
            let (stop, address) = (Arc::clone(&stop), address.to_owned());
            let namespace = namespace.to_owned();
            move || ask(&stop, &address, &namespace, daemon)
        });
        Self { stop, asking }
    }

    /// Ends it and tells what it has seen.
    ///
    /// # Panics
    /// When the daemon did not answer.
    pub fn stop(self) -> Stalls {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.asking.join().unwrap();
        let mut stalls: Vec<Duration> = answers.iter().map(|answer| answer.stalled).collect();
        stalls.sort_unstable();
        let rank = |above: usize| {
            let at = stalls.len().saturating_sub(1 + above);
            stalls.get(at).copied().unwrap_or_default()
        };
        Stalls {
            asked: answers.len(),
            longest: rank(0),
            rarely: rank(stalls.len() / 1000),
            slowest: answers.iter().map(|answer| answer.took).max().unwrap(),
        }
    }
}

/// A runtime of its own: that of the tests is busy.
fn ask(stop: &AtomicBool, address: &str, namespace: &str, daemon: u32) -> Vec<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // The client's own tasks run where it was made.
    let task = runtime
        .block_on(Task::connect(address, namespace, Version::V2))
        .unwrap();
    let me = "/proc/thread-self/schedstat".to_owned();
    let them = format!("/proc/{daemon}/schedstat");
    let mut answers = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let waited = waiting(&me) + waiting(&them);
        let began = Instant::now();
        runtime.block_on(task.connect_task("")).unwrap();
        let took = began.elapsed();
        let waited = waiting(&me) + waiting(&them) - waited;
        let stalled = took.saturating_sub(waited);
        answers.push(Answer { took, stalled });
        thread::sleep(BEAT);
    }
    answers
}

/// For how long a thread was runnable and did not run
/// ([schedstat](https://docs.kernel.org/scheduler/sched-stats.html)). Zero of one that is gone.
fn waiting(schedstat: &str) -> Duration {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    let nanoseconds = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// Whether long runs of what is short in `make test` are wanted: `make test-soak`.
pub fn is_soak() -> bool {
    std::env::var_os("HULL_SOAK").is_some_and(|value| !value.is_empty())
}

/// How many times to do something: so often in `make test`, so often in `make test-soak`.
pub fn times(usually: u32, in_soak: u32) -> u32 {
    if is_soak() { in_soak } else { usually }
}

/// Calls something with every number below `count`, on so many threads.
pub fn in_parallel(threads: u32, count: u32, work: impl Fn(u32) + Sync) {
    let next = std::sync::atomic::AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < count);
                while let Some(number) = take() {
                    work(number);
                }
            });
        }
    });
}
