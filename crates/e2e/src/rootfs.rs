//! The busybox root file system, unpacked from the image that `make images` made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::{janitor, target};

/// Name of the image in containerd.
pub const IMAGE: &str = "docker.io/hull/busybox:latest";

/// The archive that `ctr image import` takes.
pub fn archive() -> PathBuf {
    let path = target::images().join("busybox.tar");
    assert!(
        path.exists(),
        "{} is missing: run make images",
        path.display()
    );
    path
}

/// The unpacked root file system; one per test process, to be the lower directory of overlays.
/// The janitor removes it.
pub fn busybox() -> &'static Path {
    static ROOTFS: OnceLock<PathBuf> = OnceLock::new();
    ROOTFS.get_or_init(|| {
        janitor::employ();
        let dir = Path::new("/run").join(format!("{}image", target::process_tag()));
        unpack(&dir)
    })
}

fn unpack(dir: &Path) -> PathBuf {
    let (layout, rootfs) = (dir.join("layout"), dir.join("rootfs"));
    fs::create_dir_all(&layout).unwrap();
    fs::create_dir_all(&rootfs).unwrap();
    untar(&archive(), &layout);
    let index = json(&layout.join("index.json"));
    let manifest = json(&blob(&layout, &index["manifests"][0]));
    for layer in manifest["layers"].as_array().unwrap() {
        untar(&blob(&layout, layer), &rootfs);
    }
    fs::remove_dir_all(&layout).unwrap();
    rootfs
}

fn untar(archive: &Path, dir: &Path) {
    let status = Command::new("tar")
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(dir)
        .status()
        .unwrap();
    assert!(status.success(), "tar -xf {}: {status}", archive.display());
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap();
    layout.join("blobs").join(digest.replace(':', "/"))
}
