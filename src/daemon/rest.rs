//! Giving memory back when there has been nothing to do for a while: the free heap, and the mappings of
//! code that only runs when containers come and go. Doing it at once would cost the next request, which
//! tends to follow soon.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// After this long without a change the daemon rests.
const QUIET: Duration = Duration::from_secs(1);

/// A daemon that is never quiet rests all the same, this long after the first change.
const LONGEST: Duration = Duration::from_secs(10);

/// Tells when something was made or removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rest(Arc<Notify>);

impl Rest {
    /// Something was made or removed, which left memory behind.
    pub(crate) fn put_off(&self) {
        self.0.notify_one();
    }

    /// Rests after each time of work, for ever.
    pub(super) async fn watch(self) {
        // Making the daemon was work, too.
        self.put_off();
        loop {
            self.0.notified().await;
            let latest = Instant::now() + LONGEST;
            while Instant::now() < latest && timeout(QUIET, self.0.notified()).await.is_ok() {}
            hull_sys::memory::trim_heap();
            if let Err(errno) = hull_sys::memory::unmap_code() {
                log::debug!("unmap code: {errno}");
            }
        }
    }
}
