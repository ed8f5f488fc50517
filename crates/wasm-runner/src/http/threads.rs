//! The threads that guests run on. All of them are there before system calls are filtered.

use super::settings::OVERTIME;
use crate::failure::Failure;
use hull_sys::last_call;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How long threads may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);
/// What a thread that is not one of these has for a number.
const OTHER: usize = usize::MAX;

thread_local! {
    /// The number of this thread, from 0.
    static NUMBER: Cell<usize> = const { Cell::new(OTHER) };
}

/// How often a thread is woken.
const NUDGE: Duration = Duration::from_millis(100);
/// Who does that.
static WAITING: OnceLock<Thread> = OnceLock::new();

/// How long a thread may show no sign of life, in milliseconds.
static SILENCE_MS: AtomicU64 = AtomicU64::new(0);

/// Threads that can be had of those that are wanted: the limits of processes may allow fewer.
pub(crate) fn available(wanted: u32) -> usize {
    let cpus = hull_sys::sched::affinity()
        .map_or(1, |mask| mask.iter().map(|word| word.count_ones()).sum());
    let wanted = wanted.min(cpus).max(1);
    if wanted == 1 {
        return 1;
    }
    // All at once, as they will be.
    let held = Arc::new(Mutex::new(()));
    let hold = held.lock().unwrap_or_else(PoisonError::into_inner);
    let wait = || {
        let held = Arc::clone(&held);
        thread::Builder::new().spawn(move || drop(held.lock())).ok()
    };
    let threads: Vec<_> = (0..wanted).map_while(|_| wait()).collect();
    drop(hold);
    let had = threads.len();
    for thread in threads {
        // They do nothing that could fail.
        _ = thread.join();
    }
    had.max(1)
}

/// The event loop of a server on so many threads; on one it is the calling thread. A guest that computes for
/// longer than `request_timeout` and some is seen by [`last_call`].
pub(crate) fn event_loop(threads: usize, request_timeout: Duration) -> Result<Runtime, Failure> {
    let silence = request_timeout.saturating_add(OVERTIME);
    let silence = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
    SILENCE_MS.store(silence, Ordering::Relaxed);
    // There is one server in a process.
    _ = WAITING.set(thread::current());
    let failed = |error| Failure::internal("cannot make the event loop", error);
    if threads == 1 {
        NUMBER.set(0);
        let mut builder = Builder::new_current_thread();
        return watched(&mut builder).build().map_err(failed);
    }
    let started = Arc::new((Mutex::new(0), Condvar::new()));
    let count = Arc::clone(&started);
    let next = AtomicUsize::new(0);
    let runtime = watched(&mut Builder::new_multi_thread())
        .worker_threads(threads)
        .max_blocking_threads(1)
        .thread_name("hull-http")
        .on_thread_start(move || {
            NUMBER.set(next.fetch_add(1, Ordering::Relaxed));
            *count.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            count.1.notify_one();
        })
        .build()
        .map_err(failed)?;
    // A thread that starts makes system calls that it makes never again.
    let counted = started.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = started
        .1
        .wait_timeout_while(counted, START_LIMIT, |count| *count < threads);
    let (counted, result) = waited.unwrap_or_else(PoisonError::into_inner);
    drop(counted);
    if result.timed_out() {
        let late = format_args!("not after {} seconds", START_LIMIT.as_secs()).to_string();
        return Err(Failure::internal("cannot start all threads", late));
    }
    Ok(runtime)
}

/// Waits for the server. Wherever it has several threads, this one wakes one of them now and then as long as
/// there are requests, of which `in_flight` tells: tokio has one thread wait for sockets and timers, and when
/// a guest computes on that one, the others may be asleep with nobody to wake them. While there are none it sleeps
/// until [`look`].
pub(crate) fn wait<T>(
    runtime: &Runtime,
    threads: usize,
    in_flight: &AtomicUsize,
    server: JoinHandle<T>,
) -> Result<T, Failure> {
    while threads > 1 && !server.is_finished() {
        if in_flight.load(Ordering::Relaxed) == 0 {
            thread::park();
        }
        thread::sleep(NUDGE);
        drop(runtime.spawn(async {}));
    }
    let ended = runtime.block_on(server);
    ended.map_err(|error| Failure::internal("cannot serve", error))
}

/// There is a first request, or the server has ended: [`wait`] looks.
pub(crate) fn look() {
    if let Some(thread) = WAITING.get() {
        thread.unpark();
    }
}

fn watched(builder: &mut Builder) -> &mut Builder {
    builder
        .enable_io()
        .enable_time()
        .on_thread_park(|| last_call::finish(NUMBER.get()))
        .on_thread_unpark(sign_of_life)
}

/// This thread is not caught in a guest.
pub(crate) fn sign_of_life() {
    let silence = Duration::from_millis(SILENCE_MS.load(Ordering::Relaxed));
    last_call::begin(NUMBER.get(), silence);
}
