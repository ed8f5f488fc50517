//! How long one task holds the event loop in one go, its turn: everything else waits meanwhile, so a turn
//! must be short. Our tasks are spawned through here, so that none goes unseen but those that only wait for the end
//! of a process.
//!
//! Told only where `HULL_WATCH_TURNS` is in the environment of the daemon: each turn costs system calls then.

use hull_sys::clock;
use std::fs::File;
use std::future::poll_fn;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// The variable.
const SWITCH: &str = "HULL_WATCH_TURNS";

/// What the kernel counts for the thread of the event loop, if turns are watched.
static WATCH: OnceLock<Option<File>> = OnceLock::new();

/// The longest turn so far, in nanoseconds.
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Spawns a task; `what` is what it is called where its turns are told.
pub(crate) fn spawn<F>(what: &'static str, task: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(watched(what, task))
}

/// A future whose turns are watched.
pub(crate) async fn watched<F: Future>(what: &'static str, task: F) -> F::Output {
    let mut task = pin!(task);
    let Some(schedstat) = WATCH.get_or_init(watch) else {
        return task.await;
    };
    poll_fn(|context| {
        let before = Moment::now(schedstat);
        let polled: Poll<F::Output> = task.as_mut().poll(context);
        note(what, before, Moment::now(schedstat));
        polled
    })
    .await
}

/// What the kernel has counted for a thread.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    /// For how long it was ready to run and others did.
    ready: Duration,
    /// For how long it ran.
    ran: Duration,
    /// How often it waited for something.
    waits: i64,
}

impl Moment {
    fn now(schedstat: &File) -> Self {
        Self {
            at: Instant::now(),
            ready: waiting(schedstat),
            ran: Duration::from_nanos(clock::thread_ns()),
            waits: clock::thread_waits(),
        }
    }

    /// For how long the thread was held since then: not while others had the processor, other threads or,
    /// which only shows where it waited for nothing, other machines of the same host.
    fn since(&self, before: &Self) -> Duration {
        let elsewhere = self.ready.saturating_sub(before.ready);
        let held = (self.at - before.at).saturating_sub(elsewhere);
        if self.waits == before.waits {
            held.min(self.ran.saturating_sub(before.ran))
        } else {
            held
        }
    }
}

fn watch() -> Option<File> {
    std::env::var_os(SWITCH)?;
    File::open("/proc/thread-self/schedstat").ok()
}

/// For how long the thread could have run and had no processor
/// ([schedstat](https://docs.kernel.org/scheduler/sched-stats.html)).
fn waiting(schedstat: &File) -> Duration {
    let mut text = [0; 96];
    let read = schedstat.read_at(&mut text, 0).unwrap_or_default();
    let text = text.get(..read).unwrap_or_default();
    let nanoseconds = text
        .split(|byte| *byte == b' ')
        .nth(1)
        .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

fn note(what: &str, before: Moment, after: Moment) {
    let held = after.since(&before);
    let nanoseconds = u64::try_from(held.as_nanos()).unwrap_or(u64::MAX);
    if LONGEST.fetch_max(nanoseconds, Ordering::Relaxed) < nanoseconds {
        let ran = after.ran.saturating_sub(before.ran);
        log::info!(
            "longest turn: {} µs, {what}, which ran for {} µs and waited {} times",
            held.as_micros(),
            ran.as_micros(),
            after.waits - before.waits
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watched_task_gives_what_it_would() {
        assert_eq!(watched("test", async { 7 }).await, 7);
        assert_eq!(spawn("test", async { 8 }).await.unwrap(), 8);
    }

    #[test]
    fn who_waits_is_held_and_who_computes_too() {
        let schedstat = File::open("/proc/thread-self/schedstat").unwrap();
        let long = Duration::from_millis(20);
        let before = Moment::now(&schedstat);
        std::thread::sleep(long);
        let slept = Moment::now(&schedstat);
        assert!(slept.since(&before) >= long);
        while Moment::now(&schedstat).ran < slept.ran + long {}
        let computed = Moment::now(&schedstat).since(&slept);
        assert!(computed >= long, "{computed:?}");
    }

    #[test]
    fn the_kernel_counts_how_long_this_thread_waited() {
        let schedstat = File::open("/proc/thread-self/schedstat").unwrap();
        let before = waiting(&schedstat);
        assert!(waiting(&schedstat) >= before);
    }
}
