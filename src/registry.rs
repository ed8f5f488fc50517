//! The containers of this daemon by id; the only map of them.

use crate::container::ContainerHandle;
use crate::error::Error;
use hull_abi::ContainerId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared by all connections. Its lock is held for single operations only, never across an await.
#[derive(Debug, Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<HashMap<ContainerId, Entry>>>);

#[derive(Debug)]
enum Entry {
    /// Create is under way; to everybody else the container does not exist yet.
    Reserved,
    Present(ContainerHandle),
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
    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Entry>> {
        // Every change is a single insert or remove, so a panic elsewhere leaves the map whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an id for a container that is about to be made.
    ///
    /// # Errors
    /// [`Error::InUse`] when it is taken.
    pub(crate) fn reserve(&self, id: &ContainerId) -> Result<Reservation, Error> {
        let mut map = self.lock();
        if map.contains_key(id) {
            return Err(Error::InUse(format!("container {id} already exists")));
        }
        map.insert(id.clone(), Entry::Reserved);
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
        match self.lock().get(&id) {
            Some(Entry::Present(handle)) => Ok(handle.clone()),
            Some(Entry::Reserved) | None => Err(Error::NoContainer),
        }
    }

    /// Forgets a container.
    pub(crate) fn remove(&self, id: &ContainerId) {
        self.lock().remove(id);
    }

    /// Whether there is neither a container nor one on its way.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

// === impl Reservation ===

impl Reservation {
    /// The container is there.
    pub(crate) fn fill(mut self, handle: ContainerHandle) {
        self.filled = true;
        self.registry
            .lock()
            .insert(self.id.clone(), Entry::Present(handle));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.filled {
            self.registry.remove(&self.id);
        }
    }
}
