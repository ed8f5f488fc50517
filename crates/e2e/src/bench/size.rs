//! Sizes of the binaries as they are installed: stripped.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::report::{Comparison, Table};
use super::{Plan, Result};
use crate::target;

const MEGABYTE: f64 = 1e6;
/// What is installed beside the shim.
const MORE: [&str; 3] = ["hull-wasm", "hull-wasmc", "hull"];

/// Both tables.
pub(super) fn measure(plan: &Plan) -> Result<Vec<Table>> {
    let dir = target::private_dir(&target::unique_tag());
    fs::create_dir_all(&dir)?;
    let lines = plan.rivals().map(|peer| {
        let shim = stripped(&peer.shim, &dir)?;
        let runc = peer
            .runc
            .as_deref()
            .map_or(Ok(0.0), |runc| stripped(runc, &dir))?;
        let figures = vec![shim.into(), runc.into(), (shim + runc).into()];
        Ok((peer.name.clone(), figures))
    });
    let lines: Result<Vec<_>> = lines.collect();
    let (present, absent): (Vec<_>, Vec<_>) = MORE
        .into_iter()
        .partition(|name| target::bin_dir().join(name).exists());
    for name in absent {
        let dir = target::bin_dir();
        plan.miss(format!("size: no {name} in {}; make build", dir.display()));
    }
    let more = present.into_iter().map(|name| {
        let size = stripped(&target::bin_dir().join(name), &dir)?;
        Ok((name.to_owned(), vec![size.into()]))
    });
    let more: Result<Vec<_>> = more.collect();
    fs::remove_dir_all(&dir)?;
    Ok(vec![
        Table {
            row: "size",
            id: "size",
            title: "Binaries".to_owned(),
            how: "MB (10^6 bytes) after strip(1), as `make install` does.".to_owned(),
            columns: vec!["shim", "runc", "together"],
            lines: lines?,
            comparison: Some(Comparison::Ratio),
        },
        Table {
            row: "size",
            id: "size-more",
            title: "hull's other binaries".to_owned(),
            how: "MB after strip(1): the Wasm runner, its compiler, and the command line."
                .to_owned(),
            columns: vec!["size"],
            lines: more?,
            comparison: None,
        },
    ])
}

/// The size of a stripped copy, in MB.
fn stripped(binary: &Path, dir: &Path) -> Result<f64> {
    let copy = dir.join("binary");
    fs::copy(binary, &copy).map_err(|error| format!("{}: {error}", binary.display()))?;
    let status = Command::new("strip").arg(&copy).status()?;
    if !status.success() {
        return Err(format!("strip {}: {status}", binary.display()).into());
    }
    // Sizes of files are far below 2^52.
    Ok(u32::try_from(fs::metadata(&copy)?.len()).map_or(f64::NAN, f64::from) / MEGABYTE)
}
