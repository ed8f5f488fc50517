//! Network devices of the host that become a container's.

use serde::{Deserialize, Serialize};

/// One device to move into the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevice {
    /// Its name in the runtime's network namespace.
    pub host: String,
    /// Its name inside. `%d` in it stands for the lowest number that makes a free name.
    pub name: String,
}

impl NetDevice {
    /// Whether `name` is a template and not yet a name.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.name.contains('%')
    }
}
