//! Debian's stock kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Result, package};

/// It depends on the package of the newest kernel for virtual machines.
const METAPACKAGE: &str = "linux-image-cloud-amd64";

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As `uname -r` says it.
    pub(super) version: String,
    /// What boots.
    pub(super) image: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
}

/// Finds the kernel in the cache, or fetches it with apt, which checks its signature. `work` is a
/// directory for what is on the way, beside the cache.
pub(super) fn fetch(cache: &Path, work: &Path) -> Result<Kernel> {
    let dir = package::fetch(cache.join("kernel"), work, newest)?;
    let modules = package::only_entry(&dir.join("lib/modules"))?;
    let version = modules
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let image = dir.join("boot").join(format!("vmlinuz-{version}"));
    Ok(Kernel {
        version,
        image,
        modules,
    })
}

/// The package that the metapackage stands for.
fn newest() -> Result<String> {
    let text = super::output(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .args(["depends", METAPACKAGE]),
    )?;
    text.lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .map(str::to_owned)
        .ok_or_else(|| format!("apt knows no {METAPACKAGE}: run apt-get update").into())
}

impl Kernel {
    /// The file of a module.
    pub(super) fn module(&self, name: &str) -> Result<PathBuf> {
        find(&self.modules, &format!("{name}.ko"))
            .ok_or_else(|| format!("Linux {} has no module {name}", self.version).into())
    }
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name)
        } else {
            (entry.file_name() == name).then_some(path)
        }
    })
}
