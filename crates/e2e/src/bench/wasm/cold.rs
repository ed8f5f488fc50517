//! Create of a module whose artifact is not in the store: it is compiled first.

use std::fs;
use std::time::Duration;

use super::HELLO;
use crate::artifacts;
use crate::bench::account::{self, Account};
use crate::bench::bed::Bed;
use crate::bench::cell::{Cell, runtime};
use crate::bench::pod::Pod;
use crate::bench::report::{Figure, Line, Table};
use crate::bench::sample::Series;
use crate::bench::task::progress;
use crate::bench::{Plan, Result};
use crate::rootfs::Image;

const WARM_UP: usize = 1;
/// The largest of the image's guests in C.
const LARGEST: &str = "/wasm/files.wasm";

/// What is in the store before a Create.
#[derive(Debug, Clone, Copy)]
enum Before {
    /// Nothing; it does not exist.
    Nothing,
    /// Only the engine id.
    EngineId,
    /// What the container before has left.
    Artifact,
}

impl Before {
    fn arrange(self, bed: &Bed) -> Result<()> {
        let store = bed.artifacts();
        match self {
            Self::Nothing if store.exists() => fs::remove_dir_all(store)?,
            Self::EngineId => {
                for artifact in artifacts::list(&store) {
                    fs::remove_file(artifact.path)?;
                }
            }
            Self::Nothing | Self::Artifact => {}
        }
        Ok(())
    }
}

/// Both tables.
pub(in crate::bench) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let rounds = plan.rounds(30);
    let how = "CPU is of shim, compiler and container from the first call to the last.";
    Ok(vec![
        Table {
            row: "wasm-cold",
            id: "wasm-cold",
            title: "Create of a module that must be compiled, in a shim that runs".to_owned(),
            how: format!("ms, and KB (10^3 bytes), median of {rounds}. {how}"),
            columns: vec!["Create", "CPU", "module", "artifact"],
            lines: in_pod(plan, rounds)?,
            comparison: None,
        },
        Table {
            row: "wasm-cold",
            id: "wasm-cold-first",
            title: "The first Create of a fresh shim, hello.wasm".to_owned(),
            how: format!(
                "ms, median of {rounds}. With nothing in the store, the compiler is asked for its \
                 engine id first. {how}"
            ),
            columns: vec!["`start`", "Create", "CPU"],
            lines: alone(plan, rounds)?,
            comparison: None,
        },
    ])
}

/// Each module without its artifact, and right after that with it.
fn in_pod(plan: &Plan, rounds: usize) -> Result<Vec<Line>> {
    let bed = Bed::make()?.with_image(Image::Wasm);
    let client = runtime()?;
    let pod = Pod::start(&bed, plan.hull()?, &client)?;
    let account = whole(&bed)?;
    let cases = [
        ("hello.wasm, compiled", HELLO, Before::EngineId),
        ("hello.wasm, from the store", HELLO, Before::Artifact),
        ("largest in C, compiled", LARGEST, Before::EngineId),
        ("largest in C, from the store", LARGEST, Before::Artifact),
    ];
    let mut series: [(Series, Series, f64); 4] = Default::default();
    for round in 0..WARM_UP + rounds {
        progress("modules to compile", round, WARM_UP + rounds);
        for ((_, module, before), (creates, cpus, size)) in cases.iter().zip(&mut series) {
            before.arrange(&bed)?;
            let cell = Cell::make(&bed, pod.peer, &[module])?;
            let used = account.used();
            let create = client.block_on(async {
                let create = cell.create(&pod.task).await?;
                cell.end(&pod.task).await?;
                Result::Ok(create)
            })?;
            account::rest(std::slice::from_ref(&account));
            if round >= WARM_UP {
                creates.push_time(create);
                cpus.push_time(account.used().saturating_sub(used));
            }
            *size = kilobytes(&artifacts::single(&bed.artifacts()).path)?;
            cell.remove()?;
        }
    }
    pod.end(&client)?;
    let rootfs = Image::Wasm.rootfs();
    let lines = cases.iter().zip(&series);
    lines
        .map(|((name, module, _), (creates, cpus, artifact))| {
            let module = kilobytes(&rootfs.join(module.trim_start_matches('/')))?;
            let mut figures: Vec<Figure> = [creates, cpus].map(Figure::from).to_vec();
            figures.extend([module, *artifact].map(Figure::from));
            Ok(((*name).to_owned(), figures))
        })
        .collect()
}

fn alone(plan: &Plan, rounds: usize) -> Result<Vec<Line>> {
    let bed = Bed::make()?.with_image(Image::Wasm);
    let client = runtime()?;
    let account = whole(&bed)?;
    let cases = [
        ("nothing in the store", Before::Nothing),
        ("engine id in the store", Before::EngineId),
        ("artifact in the store", Before::Artifact),
    ];
    let mut series: [[Series; 3]; 3] = Default::default();
    for round in 0..WARM_UP + rounds {
        progress("first modules", round, WARM_UP + rounds);
        for ((_, before), [starts, creates, cpus]) in cases.iter().zip(&mut series) {
            before.arrange(&bed)?;
            let cell = Cell::make(&bed, plan.hull()?, &[HELLO])?;
            let used = account.used();
            let (address, start) = cell.start_shim()?;
            let create: Duration = client.block_on(async {
                let task = cell.connect(&address).await?;
                let create = cell.create(&task).await?;
                cell.end(&task).await?;
                cell.retire(&task).await?;
                Result::Ok(create)
            })?;
            account::rest(std::slice::from_ref(&account));
            if round >= WARM_UP {
                starts.push_time(start);
                creates.push_time(create);
                cpus.push_time(account.used().saturating_sub(used));
            }
        }
    }
    let lines = cases.iter().zip(&series);
    Ok(lines
        .map(|((name, _), series)| {
            (
                (*name).to_owned(),
                series.iter().map(Figure::from).collect(),
            )
        })
        .collect())
}

/// The group of the whole bed: the compiler's is beside the peer's.
pub(super) fn whole(bed: &Bed) -> Result<Account> {
    Account::open(&format!("/{}", bed.tag()))
}

fn kilobytes(path: &std::path::Path) -> Result<f64> {
    let size = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(f64::from(u32::try_from(size.len())?) / 1e3)
}
