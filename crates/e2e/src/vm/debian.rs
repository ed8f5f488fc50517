//! The second image's root file system: Debian packages around systemd, unpacked and never configured.
//! Nothing of them is run to make it, and systemd makes what is missing (users, machine id) at boot.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Result;

/// What apt is asked for; it adds what these depend on. `usr-is-merged` keeps Perl out.
const PACKAGES: &[&str] = &[
    "systemd",
    "systemd-sysv",
    "dbus",
    "usr-is-merged",
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "mount",
    "procps",
    "sed",
    "util-linux",
];

/// What no test looks at: a third of it.
const UNREAD: &[&str] = &["doc", "info", "locale", "man"];

/// Finds the tree in the cache, or fetches the packages with apt, which checks their signatures. `work`
/// is a directory for what is on the way, beside the cache.
pub(super) fn fetch(cache: &Path, work: &Path) -> Result<PathBuf> {
    let dir = cache.join("debian");
    if !dir.exists() && make(work, &dir).is_err() {
        // apt's lists may be absent, or older than the mirror.
        super::output(Command::new("apt-get").args(["-qq", "update"]))?;
        make(work, &dir)?;
    }
    Ok(dir)
}

/// Complete or absent: the directory gets its name last.
fn make(work: &Path, dir: &Path) -> Result<()> {
    eprintln!("hull-vm: fetching systemd and what it needs (30 MB)");
    let (archives, root) = (work.join("archives"), work.join("debian"));
    for made in [&archives, &root] {
        drop(fs::remove_dir_all(made));
    }
    download(&archives)?;
    merged_usr(&root)?;
    for entry in fs::read_dir(&archives)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            unpack(&path, &root)?;
        }
    }
    for name in UNREAD {
        fs::remove_dir_all(root.join("usr/share").join(name))?;
    }
    if fs::rename(&root, dir).is_err() && !dir.exists() {
        return Err(format!("{} cannot be made", dir.display()).into());
    }
    Ok(())
}

/// Fetches the packages and everything that they depend on, as for a machine on which nothing is
/// installed.
fn download(archives: &Path) -> Result<()> {
    fs::create_dir_all(archives.join("partial"))?;
    let nothing = archives.join("status");
    fs::write(&nothing, "")?;
    super::output(
        Command::new("apt-get")
            .args(["-qq", "--yes", "--no-install-recommends", "--download-only"])
            .arg("-oDebug::NoLocking=1")
            .arg(format!("-oDir::State::status={}", nothing.display()))
            .arg(format!("-oDir::Cache::archives={}/", archives.display()))
            .arg("install")
            .args(PACKAGES),
    )?;
    Ok(())
}

/// Where Debian has links since /usr is merged. Packages still have files below the old names.
fn merged_usr(root: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    Ok(())
}

/// `dpkg -x` would put directories in the place of those links.
fn unpack(package: &Path, root: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("dpkg-deb: {error}"))?;
    let files = dpkg.stdout.take().ok_or("dpkg-deb has no output")?;
    let unpacked = super::output(
        Command::new("tar")
            .args(["-x", "--keep-directory-symlink", "-C"])
            .arg(root)
            .stdin(files),
    );
    let status = dpkg.wait()?;
    unpacked?;
    if !status.success() {
        return Err(format!("dpkg-deb: {status}: {}", package.display()).into());
    }
    Ok(())
}
