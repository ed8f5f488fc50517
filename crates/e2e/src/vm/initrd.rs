//! The first file system: what the kernel needs to reach the disk, as a cpio archive.

use std::fs;
use std::path::{Path, PathBuf};

use super::Result;
use super::kernel::Kernel;

/// What the stock kernel has as modules and the tests need, each after what it depends on.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "virtio-rng",
    "overlay",
    "veth",
    "llc",
    "stp",
    "bridge",
];

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// Writes the archive into `dir`.
pub(super) fn make(kernel: &Kernel, dir: &Path) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for name in ["bin", "dev", "modules", "root"] {
        archive.add(name, DIRECTORY, &[]);
    }
    archive.add("init", EXECUTABLE, include_bytes!("initrd.sh"));
    archive.add("bin/busybox", EXECUTABLE, &fs::read("/usr/bin/busybox")?);
    for (number, name) in MODULES.iter().enumerate() {
        let module = fs::read(kernel.module(name)?)?;
        archive.add(&format!("modules/{number:02}-{name}"), EXECUTABLE, &module);
    }
    let path = dir.join("initrd");
    fs::write(&path, archive.finish())?;
    Ok(path)
}

/// An archive of the format `newc` of
/// [cpio(5)](https://man.freebsd.org/cgi/man.cgi?query=cpio&sektion=5).
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        // ino mode uid gid nlink mtime filesize dev dev rdev rdev namesize check
        let (size, name_size) = (content.len(), name.len() + 1);
        let header = format!(
            "070701{:08x}{mode:08x}{z}{z}{:08x}{z}{size:08x}{z}{z}{z}{z}{name_size:08x}{z}",
            self.entries,
            1,
            z = "00000000",
        );
        self.bytes.extend(header.bytes());
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, &[]);
        self.bytes
    }
}
