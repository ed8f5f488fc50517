//! Deadlines, and the runtime that drives the asynchronous clients for blocking tests.

use std::env;
use std::future::Future;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

/// The variable that says how many times slower than usual this machine is. Every deadline of the
/// tests grows by it.
pub const SLOWER: &str = "HULL_E2E_SLOWER";

/// The deadline of everything that should come at once, on a usual machine. Long, because four test
/// processes may share two cores.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Between two looks at something that sends no event, such as a process of somebody else.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// How long something may take here that takes `usual` on a usual machine.
pub fn slowed(usual: Duration) -> Duration {
    static TIMES: OnceLock<u32> = OnceLock::new();
    let times = TIMES.get_or_init(|| env::var(SLOWER).map_or(1, |times| times.parse().unwrap()));
    usual * *times
}

/// The deadline of everything that should come at once.
pub fn limit() -> Duration {
    slowed(LIMIT)
}

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

/// Runs a future to its end or to the [`limit`].
pub fn within_limit<F: Future>(what: &str, future: F) -> F::Output {
    block(async { tokio::time::timeout(limit(), future).await })
        .unwrap_or_else(|_elapsed| panic!("{what}: not within {:?}", limit()))
}

/// Looks until there is something to give, or fails the test at the [`limit`].
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    look_until(LIMIT, look).unwrap_or_else(|| panic!("{what}: not within {:?}", limit()))
}

/// Looks until there is something to give, or gives nothing at the deadline: `limit` on a usual machine.
pub fn look_until<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + slowed(limit);
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
