//! Whether a shim grows with the processes that it has had: resident memory over many execs.

use std::fs;
use std::time::Instant;

use super::bed::Bed;
use super::cell::runtime;
use super::memory::number;
use super::pod::Pod;
use super::report::Table;
use super::sample::milliseconds;
use super::task::progress;
use super::{Plan, Result};
use crate::procfs;
use crate::pulse::Pulse;

const EXECS: u32 = 200_000;
/// Looks at the memory, at even distances.
const LOOKS: u32 = 100;
/// Looks that do not count: by then every pool and cache has its size.
const WARM_UP: u32 = 10;

/// The table.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let percent = u32::try_from(plan.percent).unwrap_or(100);
    let step = (EXECS / LOOKS * percent / 100).max(1);
    let bed = Bed::make()?;
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    let launcher = procfs::children(pod.shim)
        .into_iter()
        .find(|pid| *pid != pod.init)
        .ok_or("the daemon has no launcher")?;
    let (mut daemon, mut launched) = (Vec::new(), Vec::new());
    let pulse = Pulse::of(&pod.address, bed.tag(), pod.shim);
    let began = Instant::now();
    for look in 0..LOOKS {
        progress(
            "soak of execs",
            usize::try_from(look)?,
            usize::try_from(LOOKS)?,
        );
        for number in 0..step {
            let exec = format!("e{number}");
            client.block_on(pod.cell.exec(&pod.task, &exec))?;
            // The FIFOs of the next exec have the same names.
            for stream in ["stdout", "stderr"] {
                let fifo = format!("{}-{exec}-{stream}", pod.cell.id);
                fs::remove_file(bed.dir().join("stdio").join(fifo))?;
            }
        }
        if look >= WARM_UP {
            let execs = f64::from(look) * f64::from(step);
            daemon.push((execs, resident(pod.shim)));
            launched.push((execs, resident(launcher)));
        }
    }
    let per_second = f64::from(step * LOOKS) / began.elapsed().as_secs_f64();
    let (first, last) = (daemon.first().copied(), daemon.last().copied());
    let grown = last.unwrap_or_default().1 - first.unwrap_or_default().1;
    let stalls = pulse.stop();
    pod.end(&client)?;
    let figures = [
        slope(&daemon),
        slope(&launched),
        grown / 1024.0,
        last.unwrap_or_default().1 / 1024.0,
        milliseconds(stalls.rarely),
        milliseconds(stalls.longest),
        per_second,
    ];
    Ok(vec![Table {
        row: "execs-soak",
        id: "execs-soak",
        title: format!("Growth over {} execs of `true`", step * LOOKS),
        how: format!(
            "Bytes of resident memory an exec, slope of {} looks by least squares; the first tenth \
             of the execs is left out. Growth in KiB is from the first of these looks to the last. \
             Meanwhile the daemon is asked every 2 ms over another connection; a stall is what a \
             question waits for its event loop, in ms: of a thousand one waits longer, and the longest.",
            LOOKS - WARM_UP
        ),
        columns: vec![
            "daemon",
            "launcher",
            "growth of the daemon",
            "daemon at the end, KiB",
            "stall, 99.9 %",
            "longest stall",
            "execs per second",
        ],
        lines: vec![("hull".to_owned(), figures.map(Into::into).to_vec())],
        comparison: None,
    }])
}

/// Resident memory in bytes; NaN of a process that is gone.
fn resident(pid: u32) -> f64 {
    procfs::field(pid, "VmRSS").map_or(f64::NAN, |text| number(&text) * 1024.0)
}

/// The slope of the line that fits the points best by
/// [least squares](https://en.wikipedia.org/wiki/Simple_linear_regression).
fn slope(points: &[(f64, f64)]) -> f64 {
    let count: f64 = points.iter().map(|_| 1.0).sum();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let shared: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    shared / spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slope_is_that_of_the_line() {
        assert_eq!(slope(&[(0.0, 5.0), (10.0, 25.0), (20.0, 45.0)]), 2.0);
        assert_eq!(slope(&[(0.0, 7.0), (10.0, 7.0), (20.0, 7.0)]), 0.0);
        assert!((slope(&[(0.0, 0.0), (1.0, 4.0), (2.0, 2.0)]) - 1.0).abs() < 1e-9);
    }
}
