//! A component of 18 MB, an interpreter of Python with its program: its first start on a machine, every later
//! one, and its memory.

use std::fs;

use super::cold::whole;
use super::memory;
use crate::artifacts;
use crate::bench::account;
use crate::bench::bed::Bed;
use crate::bench::cell::{Cell, runtime};
use crate::bench::pod::Pod;
use crate::bench::report::{Figure, Line, Table};
use crate::bench::sample::Series;
use crate::bench::task::progress;
use crate::bench::{Plan, Result};
use crate::rootfs::Image;
use crate::target;

const PYTHON: &str = "/wasm/python.wasm";
/// Idle containers at the end, besides the one that holds the pod.
const MANY: u16 = 10;

/// Both tables; none without the image.
pub(in crate::bench) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    if !target::images().join("wasm-full.tar").exists() {
        plan.miss("wasm-large: no large guests (make images-full)");
        return Ok(Vec::new());
    }
    let rounds = plan.rounds(10);
    let cost = memory::cost(plan, Image::WasmFull, &[PYTHON, "idle"], MANY)?;
    let usage = cost.one;
    let mut figures: Vec<Figure> = [usage.pss, usage.private_dirty].map(Into::into).to_vec();
    figures.extend(cost.further.map(Figure::from));
    Ok(vec![
        Table {
            row: "wasm-large",
            id: "wasm-large",
            title: "A container of Python as a component, in a shim that runs".to_owned(),
            how: format!(
                "ms, and MB (10^6 bytes), median of {rounds}. It prints a line. CPU is of shim, \
                 compiler and container from Create to Delete."
            ),
            columns: vec!["Create", "Start", "exit", "CPU", "module", "artifact"],
            lines: starts(plan, rounds)?,
            comparison: None,
        },
        Table {
            row: "wasm-large",
            id: "wasm-large-memory",
            title: "Memory of idle containers of Python as a component in one pod".to_owned(),
            how: format!(
                "KiB, of the first one's init and of each further one of {MANY}, as in `wasm-memory`."
            ),
            columns: vec![
                "PSS of the first",
                "private dirty",
                "PSS of each further",
                "private dirty of it",
                "charged for it",
            ],
            lines: vec![("python.wasm".to_owned(), figures)],
            comparison: None,
        },
    ])
}

/// Without its artifact and, right after that, with it.
fn starts(plan: &Plan, rounds: usize) -> Result<Vec<Line>> {
    let bed = Bed::make()?.with_image(Image::WasmFull);
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    let account = whole(&bed)?;
    let cases = [("compiled", true), ("from the store", false)];
    let mut series: [[Series; 4]; 2] = Default::default();
    let mut artifact = 0.0;
    for round in 0..rounds {
        progress("large component", round, rounds);
        for ((_, is_cold), [creates, starts, exits, cpus]) in cases.iter().zip(&mut series) {
            if *is_cold {
                for stored in artifacts::list(&bed.artifacts()) {
                    fs::remove_file(stored.path)?;
                }
            }
            let cell = Cell::make(&bed, pod.peer, &[PYTHON])?;
            let used = account.used();
            let times = client.block_on(cell.run(&pod.task))?;
            account::rest(std::slice::from_ref(&account));
            creates.push_time(times.create);
            starts.push_time(times.start);
            exits.push_time(times.exit);
            cpus.push_time(account.used().saturating_sub(used));
            artifact = megabytes(&artifacts::single(&bed.artifacts()).path)?;
            cell.remove()?;
        }
    }
    pod.end(&client)?;
    let module = Image::WasmFull
        .rootfs()
        .join(PYTHON.trim_start_matches('/'));
    let sizes = [megabytes(&module)?, artifact].map(Figure::from);
    let lines = cases.iter().zip(&series);
    Ok(lines
        .map(|((name, _), series)| {
            let mut figures: Vec<Figure> = series.iter().map(Figure::from).collect();
            figures.extend(sizes);
            (format!("python.wasm, {name}"), figures)
        })
        .collect())
}

fn megabytes(path: &std::path::Path) -> Result<f64> {
    let size = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(f64::from(u32::try_from(size.len())?) / 1e6)
}
