//! The containers of this daemon by id; the only map of them.

use crate::container::ContainerHandle;
use crate::error::Error;
use hull_abi::ContainerId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by all connections. Its lock is held for single operations only, never across an await.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<ContainerId, Entry>,
    /// The daemon leaves: no more containers.
    closed: bool,
}

#[derive(Debug)]
enum Entry {
    /// Create is under way; to everybody else the container does not exist yet.
    Reserved {
        /// Somebody wanted to delete it all the same.
        unwanted: bool,
    },
    Present(ContainerHandle),
    /// Nothing is left of it, but whoever deleted it went away without having heard so. It answers as a
    /// stopped one until somebody deletes it again (<https://github.com/containerd/containerd/issues/11392>).
    Untold(ContainerHandle),
}

/// An id that Create holds. Dropped without [`Reservation::fill`], the id is free again.
#[derive(Debug)]
pub(crate) struct Reservation {
    registry: Registry,
    id: ContainerId,
    filled: bool,
}

// === impl Registry ===

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Every change is a single insert or remove, so a panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id for a container that is about to be made.
    ///
    /// # Errors
    /// [`Error::InUse`] when it is taken, [`Error::Unavailable`] when the daemon leaves.
    pub(crate) fn reserve(&self, id: &ContainerId) -> Result<Reservation, Error> {
        let mut entries = self.lock();
        if entries.closed {
            return Err(Error::Unavailable("the shim is leaving".to_owned()));
        }
        if let Some(Entry::Reserved { .. } | Entry::Present(_)) = entries.by_id.get(id) {
            return Err(Error::InUse(format!("container {id} already exists")));
        }
        let entry = Entry::Reserved { unwanted: false };
        entries.by_id.insert(id.clone(), entry);
        Ok(Reservation {
            registry: self.clone(),
            id: id.clone(),
            filled: false,
        })
    }

    /// Finds a container.
    ///
    /// # Errors
    /// [`Error::NoContainer`].
    pub(crate) fn get(&self, id: &str) -> Result<ContainerHandle, Error> {
        let id = ContainerId::parse(id).map_err(|_| Error::NoContainer)?;
        match self.lock().by_id.get(&id) {
            Some(Entry::Present(handle) | Entry::Untold(handle)) => Ok(handle.clone()),
            Some(Entry::Reserved { .. }) | None => Err(Error::NoContainer),
        }
    }

    /// Every container; `None` for one that is being made.
    pub(crate) fn all(&self) -> Vec<(ContainerId, Option<ContainerHandle>)> {
        let entries = self.lock();
        let all = entries.by_id.iter().map(|(id, entry)| match entry {
            Entry::Present(handle) | Entry::Untold(handle) => (id.clone(), Some(handle.clone())),
            Entry::Reserved { .. } => (id.clone(), None),
        });
        all.collect()
    }

    /// Somebody tried to delete a container that may be on its way.
    pub(crate) fn give_up(&self, id: &str) {
        let Ok(id) = ContainerId::parse(id) else {
            return;
        };
        if let Some(Entry::Reserved { unwanted }) = self.lock().by_id.get_mut(&id) {
            *unwanted = true;
        }
    }

    /// From here on nothing is reserved any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// The container is gone, and nobody knows. Its id can be used.
    pub(crate) fn keep_untold(&self, id: &ContainerId) {
        let mut entries = self.lock();
        if let Some(Entry::Present(handle)) = entries.by_id.get(id) {
            let handle = handle.clone();
            entries.by_id.insert(id.clone(), Entry::Untold(handle));
        }
    }

    /// Forgets what [`Registry::keep_untold`] has kept, unless there is another one of that id by now.
    pub(crate) fn remove_untold(&self, id: &ContainerId) {
        let mut entries = self.lock();
        if let Some(Entry::Untold(_)) = entries.by_id.get(id) {
            entries.by_id.remove(id);
        }
    }

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &ContainerId) {
        self.lock().by_id.remove(id);
    }

    /// Whether there is a container of which nobody knows that it is gone.
    pub(crate) fn has_untold(&self) -> bool {
        let entries = self.lock();
        let mut all = entries.by_id.values();
        all.any(|entry| matches!(entry, Entry::Untold(_)))
    }

    /// Whether there is neither a container nor one on its way.
    pub(crate) fn is_empty(&self) -> bool {
        let entries = self.lock();
        let mut all = entries.by_id.values();
        all.all(|entry| matches!(entry, Entry::Untold(_)))
    }
}

// === impl Reservation ===

impl Reservation {
    /// The container is there.
    pub(crate) fn fill(mut self, handle: ContainerHandle) {
        self.filled = true;
        let entry = Entry::Present(handle);
        self.registry.lock().by_id.insert(self.id.clone(), entry);
    }

    /// Whether somebody tried to delete it meanwhile.
    pub(crate) fn is_unwanted(&self) -> bool {
        matches!(
            self.registry.lock().by_id.get(&self.id),
            Some(Entry::Reserved { unwanted: true })
        )
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.registry.remove(&self.id);
        }
    }
}
