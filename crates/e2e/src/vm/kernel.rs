//! Debian's stock kernel: fetched once, unpacked, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Result;

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
    let dir = cache.join("kernel");
    if !dir.exists() && download(work, &dir).is_err() {
        // apt's lists may be absent, or older than the mirror.
        super::output(Command::new("apt-get").args(["-qq", "update"]))?;
        download(work, &dir)?;
    }
    let modules = only_entry(&dir.join("lib/modules"))?;
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

/// Fetches and unpacks it. Complete or absent: the directory gets its name last.
fn download(work: &Path, dir: &Path) -> Result<()> {
    let package = package()?;
    eprintln!("hull-vm: fetching {package} (27 MB)");
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

/// The package that the metapackage stands for.
fn package() -> Result<String> {
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

fn only_entry(dir: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    match (entries.next(), entries.next()) {
        (Some(entry), None) => Ok(entry?.path()),
        _ => Err(format!(
            "{}: expected one entry; remove it to fetch the kernel anew",
            dir.display()
        )
        .into()),
    }
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
