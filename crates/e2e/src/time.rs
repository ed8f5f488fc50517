//! Deadlines, and the runtime that drives the asynchronous clients for blocking tests.

use std::future::Future;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

/// The deadline of everything that should come at once. Long, because four test processes may
/// share two cores.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at something that sends no event, such as a process of somebody else.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}

/// The runtime, to spawn a request that waits while the test does something else.
pub fn handle() -> &'static Handle {
    runtime().handle()
}

/// Runs a future to its end, from a test's thread.
pub fn block<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

/// Runs a future to its end or to the [`LIMIT`].
pub fn within_limit<F: Future>(what: &str, future: F) -> F::Output {
    block(async { tokio::time::timeout(LIMIT, future).await })
        .unwrap_or_else(|_elapsed| panic!("{what}: not within {LIMIT:?}"))
}

/// Looks until there is something to give, or fails the test at the [`LIMIT`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_until(LIMIT, look).unwrap_or_else(|| panic!("{what}: not within {LIMIT:?}"))
}

/// Looks until there is something to give, or gives nothing at the deadline.
pub fn look_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(LOOK_AGAIN);
    }
}
