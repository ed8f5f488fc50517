//! The root file system of a container, and the mounts that make it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use hull_client::api;
use nix::mount::{MsFlags, mount};

use crate::error::Error;

/// What a container has as `/`.
#[derive(Debug)]
pub(crate) enum RootFs {
    /// An empty file system in memory with one Wasm file in it.
    Wasm {
        /// The file on the host.
        file: PathBuf,
        /// Its path in the container.
        path: String,
    },
    /// A directory, below a layer in memory that takes the changes.
    Copy(PathBuf),
    /// A directory, changes and all.
    Itself(PathBuf),
}

impl RootFs {
    /// An empty root with this file in it, under its own name if that ends in `.wasm`.
    pub(crate) fn wasm(file: PathBuf) -> Self {
        let name = file.file_name().and_then(|name| name.to_str());
        // Another name could be that of a directory that every container has.
        let name = name
            .filter(|name| name.ends_with(".wasm"))
            .unwrap_or("app.wasm");
        let path = format!("/{name}");
        Self::Wasm { file, path }
    }

    /// The path of the Wasm file in the container.
    pub(crate) fn module_path(&self) -> Option<String> {
        match self {
            Self::Wasm { path, .. } => Some(path.clone()),
            Self::Copy(_) | Self::Itself(_) => None,
        }
    }

    /// Makes below `place` what the mounts need, and gives the mounts for the shim. What is mounted
    /// here is seen by nobody but this process and those it starts.
    ///
    /// # Errors
    /// What could not be made or mounted.
    pub(crate) fn prepare(&self, place: &Path) -> Result<api::Mount, Error> {
        match self {
            Self::Wasm { .. } => Ok(described(
                "tmpfs",
                "tmpfs",
                &["nosuid", "nodev", "mode=755"],
            )),
            Self::Itself(dir) => Ok(described("bind", &text(dir)?, &["rbind", "rprivate"])),
            Self::Copy(dir) => overlay(dir, place),
        }
    }
}

/// The directory with a writable layer above it, which is charged to the container's memory.
fn overlay(dir: &Path, place: &Path) -> Result<api::Mount, Error> {
    let failed = |what: &str, error: std::io::Error| {
        Error::new(format!("{what} for --rootfs {}", dir.display()), error)
    };
    let (lower, scratch) = (place.join("lower"), place.join("scratch"));
    for new in [&lower, &scratch] {
        make_dir(new).map_err(|error| failed("make a directory", error))?;
    }
    let none: Option<&str> = None;
    // By a name of ours: overlayfs splits its options at colons and commas.
    mount(Some(dir), &lower, none, MsFlags::MS_BIND, none)
        .map_err(|errno| failed("mount", errno.into()))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        &scratch,
        Some("tmpfs"),
        flags,
        Some("mode=0700"),
    )
    .map_err(|errno| failed("mount a tmpfs", errno.into()))?;
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for new in [&upper, &work] {
        make_dir(new).map_err(|error| failed("make a directory", error))?;
    }
    // The upper directory is what the container sees as /.
    fs::metadata(dir)
        .and_then(|of| {
            chown(&upper, Some(of.uid()), Some(of.gid()))?;
            fs::set_permissions(&upper, fs::Permissions::from_mode(of.mode() & 0o7777))
        })
        .map_err(|error| failed("set the mode of the layer", error))?;
    let options = [
        "index=off".to_owned(),
        format!("workdir={}", text(&work)?),
        format!("upperdir={}", text(&upper)?),
        format!("lowerdir={}", text(&lower)?),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    Ok(described("overlay", "overlay", &options))
}

fn make_dir(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn described(kind: &str, source: &str, options: &[&str]) -> api::Mount {
    let mut mount = api::Mount::new();
    mount.type_ = kind.to_owned();
    mount.source = source.to_owned();
    mount.options = options.iter().map(|&option| option.to_owned()).collect();
    mount
}

fn text(path: &Path) -> Result<String, Error> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(format!("{}", path.display()), "the path is not UTF-8"))
}
