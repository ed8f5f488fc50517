//! A package of Debian: fetched once, unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

/// Finds what is in a package in the directory `dir` of the cache, or fetches it with apt, which checks
/// its signature. `work` is a directory for what is on the way, beside the cache. `name` gives the
/// package's name once it is needed.
pub(super) fn fetch(
    dir: PathBuf,
    work: &Path,
    name: impl Fn() -> Result<String>,
) -> Result<PathBuf> {
    if !dir.exists() && download(work, &dir, &name).is_err() {
        // apt's lists may be absent, or older than the mirror.
        super::output(Command::new("apt-get").args(["-qq", "update"]))?;
        download(work, &dir, &name)?;
    }
    Ok(dir)
}

/// Fetches and unpacks it. Complete or absent: the directory gets its name last.
fn download(work: &Path, dir: &Path, name: impl Fn() -> Result<String>) -> Result<()> {
    let package = name()?;
    eprintln!("hull-vm: fetching {package}");
    let part = work.join("package");
    drop(fs::remove_dir_all(&part));
    fs::create_dir_all(&part)?;
    super::output(
        Command::new("apt-get")
            .args(["-qq", "download", &package])
            .current_dir(&part),
    )?;
    let archive = only_entry(&part)?;
    super::output(
        Command::new("dpkg")
            .arg("-x")
            .arg(archive)
            .arg(part.join("root")),
    )?;
    if fs::rename(part.join("root"), dir).is_err() && !dir.exists() {
        return Err(format!("{} cannot be made", dir.display()).into());
    }
    Ok(())
}

/// The one entry of a directory.
pub(super) fn only_entry(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => Err(format!(
            "{}: expected one entry; remove it to fetch the package anew",
            dir.display()
        )
        .into()),
    }
}
