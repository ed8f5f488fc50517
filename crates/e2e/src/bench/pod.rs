//! A shim that runs, as that of a pod: other containers come and go beside the first.

use tokio::runtime::Runtime;

use super::Result;
use super::account::Account;
use super::bed::Bed;
use super::cell::Cell;
use super::peer::Peer;

/// A shim with a native container that stays, and a client of it.
pub(super) struct Pod<'bed> {
    pub(super) peer: &'bed Peer,
    pub(super) cell: Cell<'bed>,
    pub(super) task: hull_client::Task,
    pub(super) account: Account,
    pub(super) address: String,
    /// The init's pid.
    pub(super) init: u32,
    /// The shim's pid.
    pub(super) shim: u32,
}

impl<'bed> Pod<'bed> {
    pub(super) fn start(bed: &'bed Bed, peer: &'bed Peer, client: &Runtime) -> Result<Self> {
        let cell = Cell::make(bed, peer, &["sleep", "1000000"])?;
        let (address, _) = cell.start_shim()?;
        let (task, init, shim) = client.block_on(async {
            let task = cell.connect(&address).await?;
            let init = cell.launch(&task).await?;
            let shim = task.connect_task(&cell.id).await?.shim_pid;
            Result::Ok((task, init, shim))
        })?;
        Ok(Self {
            peer,
            account: bed.account(peer)?,
            cell,
            task,
            address,
            init,
            shim,
        })
    }

    pub(super) fn end(self, client: &Runtime) -> Result<()> {
        client.block_on(async {
            self.cell.end(&self.task).await?;
            self.cell.retire(&self.task).await?;
            Ok(())
        })
    }
}
