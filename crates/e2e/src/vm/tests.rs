//! The test executables, built by cargo. They are static: they run wherever the kernel does.

use super::Result;
use super::suite::Part;
use crate::executables;
use std::path::PathBuf;

/// A file of tests, built, and what of it is to run.
#[derive(Debug)]
pub(super) struct Executable {
    pub(super) part: Part,
    pub(super) path: PathBuf,
}

/// Builds the files. The order stays.
pub(super) fn build(parts: &[Part]) -> Result<Vec<Executable>> {
    let names: Vec<&str> = parts.iter().map(|part| part.file.name).collect();
    let paths = executables::build(&names).map_err(|error| error.to_string())?;
    let both = parts.iter().zip(paths);
    Ok(both
        .map(|(&part, path)| Executable { part, path })
        .collect())
}
