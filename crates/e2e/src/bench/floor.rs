//! The floor: what the kernel alone takes for a container of ctr's default spec.
//!
//! What it does and what it leaves out stands at the top of `crates/e2e/floor/floor.c`.

use std::process::Command;
use std::time::Duration;

use super::Result;
use super::account::Account;
use super::bed::Bed;
use super::cell::Times;
use super::tool::{self, Tool};
use crate::cgroup;

/// The program, ready to run containers.
#[derive(Debug)]
pub(super) struct Floor {
    tool: Tool,
    /// What it and its containers use.
    pub(super) account: Account,
}

impl Floor {
    /// Builds and starts it.
    pub(super) fn start(bed: &Bed) -> Result<Self> {
        let group = bed.floor_group();
        let account = Account::open(&group)?;
        let dir = bed.dir().join("floor");
        std::fs::create_dir_all(&dir)?;
        let mut command = Command::new(tool::build("floor")?);
        command.arg(bed.image().rootfs()).arg(dir).arg(&group);
        let mut hierarchies = cgroup::hierarchies();
        hierarchies.sort_by_key(|hierarchy| !hierarchy.unified);
        command.args(
            hierarchies
                .into_iter()
                .map(|hierarchy| hierarchy.mount_point),
        );
        let tool = account.inside(|| Tool::start(command))??;
        Ok(Self { tool, account })
    }

    /// Runs one container.
    pub(super) fn run(&mut self) -> Result<Times> {
        let [create, start, exit, delete] = self.tool.ask()?.map(Duration::from_nanos);
        Ok(Times {
            create,
            start,
            exit,
            delete,
        })
    }
}
