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
    /// Busybox with the large guests in `/wasm`, which `make images-full` makes.
    WasmFull,
    /// Nothing but `/pause`, which waits for SIGTERM: the first process of pods.
    Pause,
    /// A Wasm artifact of the CNCF's kind: no root file system, no command.
    Artifact,
    /// A module as the only layer of an image with an ordinary config.
    WasmLayer,
    /// The same with one that sleeps.
    SleepLayer,
    /// The same with a component.
    ComponentLayer,
    /// An index of an image for Wasm and one for this host, which has a root file system without the program.
    WasmIndex,
    /// Two modules.
    TwoLayers,
    /// Compiled Wasm in the place of a module.
    CompiledLayer,
    /// A layer that only claims to be Wasm.
    TextLayer,
}

impl Image {
    /// Its name in containerd.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "docker.io/hull/busybox:latest",
            Self::Wasm => "docker.io/hull/wasm:latest",
            Self::WasmOnly => "docker.io/hull/wasm-only:latest",
            Self::WasmFull => "docker.io/hull/wasm-full:latest",
            Self::Pause => "docker.io/hull/pause:latest",
            Self::Artifact => "docker.io/hull/artifact:latest",
            Self::WasmLayer => "docker.io/hull/wasm-layer:latest",
            Self::SleepLayer => "docker.io/hull/sleep-layer:latest",
            Self::ComponentLayer => "docker.io/hull/component-layer:latest",
            Self::WasmIndex => "docker.io/hull/wasm-index:latest",
            Self::TwoLayers => "docker.io/hull/two-layers:latest",
            Self::CompiledLayer => "docker.io/hull/compiled-layer:latest",
            Self::TextLayer => "docker.io/hull/text-layer:latest",
        }
    }

    /// The archive that `ctr image import` takes.
    pub fn archive(self) -> PathBuf {
        let file = match self {
            Self::Busybox => "busybox.tar",
            Self::Wasm => "wasm.tar",
            Self::WasmOnly => "wasm-only.tar",
            Self::WasmFull => "wasm-full.tar",
            Self::Pause => "pause.tar",
            Self::Artifact => "artifact.tar",
            Self::WasmLayer => "wasm-layer.tar",
            Self::SleepLayer => "sleep-layer.tar",
            Self::ComponentLayer => "component-layer.tar",
            Self::WasmIndex => "wasm-index.tar",
            Self::TwoLayers => "two-layers.tar",
            Self::CompiledLayer => "compiled-layer.tar",
            Self::TextLayer => "text-layer.tar",
        };
        let path = target::images().join(file);
        assert!(
            path.exists(),
            "{} is missing: run make images{}",
            path.display(),
            if self == Self::WasmFull { "-full" } else { "" }
        );
        path
    }

    /// The unpacked root file system; one per test process, to be the lower directory of overlays.
    /// The janitor removes it.
    pub fn rootfs(self) -> &'static Path {
        static ROOTFS: [OnceLock<PathBuf>; 13] = [const { OnceLock::new() }; 13];
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
