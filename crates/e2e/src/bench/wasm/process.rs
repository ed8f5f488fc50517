//! hello.wasm as a bare process, without a container: our runner beside wasmtime's own command.
//!
//! Our runner is executed as the init of a container does it, from the descriptors that one which
//! was created and not started holds: the very binary, config and artifact.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::HELLO;
use crate::artifacts;
use crate::bench::account::{self, Account};
use crate::bench::bed::Bed;
use crate::bench::cell::{Cell, runtime};
use crate::bench::peer;
use crate::bench::pod::Pod;
use crate::bench::report::{Comparison, Figure, Line, Table};
use crate::bench::sample::Series;
use crate::bench::task::progress;
use crate::bench::{Plan, Result};
use crate::rootfs::Image;

const WARM_UP: usize = 3;
/// How the runner is told its descriptors: `hull_abi::RUNNER_FDS`.
const RUNNER_FDS: &str = "HULL_WASM_FDS";

/// The table; none without a wasmtime.
pub(in crate::bench) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let Some(wasmtime) = peer::wasmtime() else {
        eprintln!("hull-bench: wasm-process: no wasmtime");
        return Ok(Vec::new());
    };
    let rounds = plan.rounds(100);
    let bed = Bed::make()?.with_image(Image::Wasm);
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    let cell = Cell::make(&bed, pod.peer, &[HELLO])?;
    client.block_on(cell.create(&pod.task))?;
    let init = client.block_on(pod.task.state(&cell.id, ""))?.pid;
    let lines = compare(&bed, init, &wasmtime, rounds)?;
    client.block_on(cell.end(&pod.task))?;
    cell.remove()?;
    pod.end(&client)?;
    Ok(vec![Table {
        row: "wasm-process",
        title: "hello.wasm as a process, without a container".to_owned(),
        how: format!("ms, median of {rounds}. From fork to the end of the process."),
        columns: vec!["wall", "CPU"],
        lines,
        comparison: Some(Comparison::Ratio),
    }])
}
