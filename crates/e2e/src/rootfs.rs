//! The images that `make images` made, and their root file systems unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use crate::{janitor, target};

/// An image of the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// Busybox and a few users.
    Busybox,
    /// The same, with Wasm guests in `/wasm`.
    Wasm,
    /// Nothing but `/app.wasm`, which is also its entry point.
    WasmOnly,
}

impl Image {
    /// Its name in containerd.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "docker.io/hull/busybox:latest",
            Self::Wasm => "docker.io/hull/wasm:latest",
            Self::WasmOnly => "docker.io/hull/wasm-only:latest",
        }
    }

    /// The archive that `ctr image import` takes.
    pub fn archive(self) -> PathBuf {
        let file = match self {
            Self::Busybox => "busybox.tar",
            Self::Wasm => "wasm.tar",
            Self::WasmOnly => "wasm-only.tar",
        };
        let path = target::images().join(file);
        assert!(
            path.exists(),
            "{} is missing: run make images",
            path.display()
        );
        path
    }

    /// The unpacked root file system; one per test process, to be the lower directory of overlays.
    /// The janitor removes it.
    pub fn rootfs(self) -> &'static Path {
        static ROOTFS: [OnceLock<PathBuf>; 3] = [const { OnceLock::new() }; 3];
        ROOTFS[self as usize].get_or_init(|| {
            janitor::employ();
            let name = format!("{}image-{self:?}", target::process_tag());
            unpack(&self.archive(), &Path::new("/run").join(name))
        })
    }
}

fn unpack(archive: &Path, dir: &Path) -> PathBuf {
    let (layout, rootfs) = (dir.join("layout"), dir.join("rootfs"));
    fs::create_dir_all(&layout).unwrap();
    fs::create_dir_all(&rootfs).unwrap();
    untar(archive, &layout);
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
