//! How fast a container's output reaches a client that reads all the time.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::account;
use super::bed::Bed;
use super::cell::{Cell, runtime};
use super::report::{Comparison, Figure, Table};
use super::sample::Series;
use super::task::progress;
use super::{Plan, Result};

/// How much a container writes, in MB (10^6 bytes).
const MEGABYTES: u32 = 200;
const DD: &str = "exec dd if=/dev/zero bs=64000 count=3125 2>/dev/null";
/// How long nothing may come.
const LIMIT_MS: u16 = 30_000;

/// The table.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(7);
    let bed = Bed::make()?;
    let client = runtime()?;
    let mut series: Vec<(Series, Series)> = Vec::new();
    series.resize_with(plan.rivals().count(), Default::default);
    for round in 0..rounds {
        progress("stdout", round, rounds);
        for (peer, (speeds, cpus)) in plan.rivals().zip(&mut series) {
            let mut cell = Cell::make(&bed, peer, &["sh", "-c", DD])?;
            // The reader below is the only one.
            cell.stdio.out = None;
            let account = bed.account(peer)?;
            let (address, _) = cell.start_shim()?;
            let path = cell.stdio.stdout_path().to_owned();
            let fifo = File::options()
                .read(true)
                .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
                .open(&path)?;
            let reading = thread::spawn(move || drain(fifo, &path));
            let task = client.block_on(cell.connect(&address))?;
            client.block_on(task.create(&cell.request))?;
            let before = account.used();
            let began = Instant::now();
            client.block_on(task.start(&cell.id, ""))?;
            let read = reading.join().map_err(|_panic| "the reader panicked")?;
            let took = read?.duration_since(began);
            let used = account.used().saturating_sub(before);
            client.block_on(async {
                task.wait(&cell.id, "").await?;
                task.delete(&cell.id, "").await?;
                cell.retire(&task).await
            })?;
            account::rest(std::slice::from_ref(&account));
            speeds.push(f64::from(MEGABYTES) / took.as_secs_f64());
            cpus.push_time(used);
        }
    }
    let lines = plan.rivals().zip(&series);
    Ok(vec![Table {
        row: "stdout",
        id: "stdout",
        title: format!("{MEGABYTES} MB of stdout through the FIFO"),
        how: format!(
            "Median of {rounds}; p99 is the greatest. `dd` in blocks of 64 kB, from Start to the \
             end of file, read by a client in pieces of up to 64 KiB. CPU in ms is of shim and \
             container together."
        ),
        columns: vec!["MB/s", "CPU"],
        lines: lines
            .map(|(peer, (speeds, cpus))| {
                let figures = vec![Figure::from(speeds), Figure::from(cpus)];
                (peer.name.clone(), figures)
            })
            .collect(),
        comparison: Some(Comparison::Ratio),
    }])
}

/// Reads to the end of file; gives the moment of it. Fails unless all bytes came.
fn drain(mut fifo: File, path: &Path) -> std::result::Result<Instant, String> {
    let fail = |what: String| format!("{}: {what}", path.display());
    let mut chunk = [0_u8; 64 * 1024];
    let mut count = 0_u64;
    loop {
        let mut fds = [PollFd::new(fifo.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::from(LIMIT_MS));
        if ready.map_err(|errno| fail(errno.to_string()))? == 0 {
            return Err(fail(format!("nothing more after {count} bytes")));
        }
        match fifo.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => count += u64::try_from(read).unwrap_or(0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(fail(error.to_string())),
        }
    }
    let end = Instant::now();
    if count == u64::from(MEGABYTES) * 1_000_000 {
        Ok(end)
    } else {
        Err(fail(format!("ended after {count} bytes")))
    }
}
