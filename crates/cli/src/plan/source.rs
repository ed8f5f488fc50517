//! Where a config comes from.

use crate::error::Error;
use hull_abi::ContainerId;
use serde_json::Value;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More is never read; the plan refuses a little less in words of its own.
const LIMIT: u64 = (16 << 20) + 1;

/// The bytes of a config and the bundle that it is of.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) bytes: Vec<u8>,
    /// Absolute.
    pub(super) bundle: PathBuf,
}

impl Source {
    /// Reads standard input (`-`), a file, or `config.json` in a directory.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let failed = |path: &Path| {
            let what = format!("plan {path:?}");
            move |error: io::Error| Error::new(what, cause(&error))
        };
        if path == Path::new("-") {
            return Ok(Self {
                bytes: bounded(io::stdin().lock()).map_err(failed(path))?,
                bundle: std::env::current_dir().map_err(failed(path))?,
            });
        }
        let path = std::path::absolute(path).map_err(failed(path))?;
        let file = if path.is_dir() {
            path.join("config.json")
        } else {
            path
        };
        let opened = File::open(&file).map_err(failed(&file))?;
        let bundle = file.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self {
            bytes: bounded(opened).map_err(failed(&file))?,
            bundle,
        })
    }

    /// The name of the bundle, which containerd makes the container's id.
    pub(super) fn id(&self) -> Result<ContainerId, Error> {
        let name = self.bundle.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| ContainerId::parse(name).ok());
        match id {
            Some(id) => Ok(id),
            None => {
                ContainerId::parse("container").map_err(|e| Error::new("name the container", e))
            }
        }
    }

    /// Whether the process asks for a terminal, as the request that comes with it would.
    pub(super) fn terminal(&self) -> bool {
        self.member("/process/terminal") == Some(Value::Bool(true))
    }

    /// `linux.seccomp.defaultAction`.
    pub(super) fn seccomp_default(&self) -> Option<String> {
        self.member("/linux/seccomp/defaultAction")?
            .as_str()
            .map(str::to_owned)
    }

    fn member(&self, pointer: &str) -> Option<Value> {
        let config: Value = serde_json::from_slice(&self.bytes).ok()?;
        config.pointer(pointer).cloned()
    }
}

fn bounded(input: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The kernel's words without their number.
fn cause(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => hull_sys::Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}
