//! Values of the options of `hull run`, as they are written on the command line.

use std::path::PathBuf;
use std::str::FromStr;

use crate::units;

/// A variable for the container: `NAME=VALUE`, or `NAME` for the value it has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvVar {
    name: String,
    value: Option<String>,
}

impl EnvVar {
    /// `NAME=VALUE`; nothing for a variable that was to be taken from here and is not set here.
    pub(super) fn entry(&self, here: impl Fn(&str) -> Option<String>) -> Option<String> {
        let value = self.value.clone().or_else(|| here(&self.name))?;
        Some(format!("{}={value}", self.name))
    }
}

impl FromStr for EnvVar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || text.contains('\0') {
            return Err("it must be NAME=VALUE or NAME".to_owned());
        }
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}

/// An annotation for the container: `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Annotation {
    pub(super) key: String,
    pub(super) value: String,
}

impl FromStr for Annotation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() && !text.contains('\0') => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            Some(_) | None => Err("it must be KEY=VALUE".to_owned()),
        }
    }
}

/// A number of bytes: `1048576`, `64m`, `2g`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(super) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = units::parse_bytes(text)?;
        // The limits of cgroups are signed.
        if bytes == 0 || i64::try_from(bytes).is_err() {
            return Err("it is out of range".to_owned());
        }
        Ok(Self(bytes))
    }
}

/// A share of processors: `0.5`, `2`, in hundred thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpus(u64);

impl Cpus {
    /// The period in microseconds that [`Cpus::quota_us`] is meant for.
    pub(super) const PERIOD_US: u64 = 100_000;

    /// Microseconds of processor time in each period.
    pub(super) fn quota_us(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let why =
            || "it must be a number of processors from 0.01 up, with at most 5 decimals".to_owned();
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 5 || text.len() > 10 {
            return Err(why());
        }
        let number = |text: &str| {
            if text.is_empty() {
                Ok(0)
            } else {
                text.parse::<u64>()
            }
        };
        let whole = number(whole).map_err(|_| why())?;
        let decimals = number(&format!("{decimals:0<5}")).map_err(|_| why())?;
        let quota = whole * Self::PERIOD_US + decimals;
        // Linux takes no quota below 1 ms.
        if quota < 1000 {
            return Err(why());
        }
        Ok(Self(quota))
    }
}

/// A user and a group by number: `1000`, `1000:100`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (uid, gid) = text.split_once(':').unwrap_or((text, "0"));
        // 4294967295 means "unchanged" to the kernel.
        let id = |text: &str| text.parse().ok().filter(|id| *id != u32::MAX);
        match (id(uid), id(gid)) {
            (Some(uid), Some(gid)) => Ok(Self { uid, gid }),
            _ => Err(
                "it must be UID or UID:GID in numbers: hull does not read the image's user names"
                    .to_owned(),
            ),
        }
    }
}

/// A file, a directory or an empty file system for the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(super) source: Source,
    pub(super) destination: String,
    pub(super) read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file or directory of the host.
    Bind(PathBuf),
    /// An empty file system in memory, with a size in bytes or without.
    Tmpfs(Option<u64>),
}

/// `SRC:DST`, `SRC:DST:ro`.
pub(super) fn volume(text: &str) -> Result<Mount, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, read_only) = match parts.as_slice() {
        [source, destination] | [source, destination, "rw"] => (source, destination, false),
        [source, destination, "ro"] => (source, destination, true),
        _ => return Err("it must be SOURCE:DESTINATION, SOURCE:DESTINATION:ro or :rw".to_owned()),
    };
    if !source.contains('/') && *source != "." {
        return Err(format!(
            "the source must be a path (./{source}); there are no named volumes"
        ));
    }
    Ok(Mount {
        source: Source::Bind(PathBuf::from(source)),
        destination: absolute(destination)?,
        read_only,
    })
}

/// `type=bind,src=PATH,dst=PATH[,ro]`, `type=tmpfs,dst=PATH[,size=SIZE][,ro]`.
pub(super) fn mount(text: &str) -> Result<Mount, String> {
    let (mut kind, mut source, mut destination, mut size) = ("bind", None, None, None);
    let mut read_only = false;
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key {
            "type" => kind = value,
            "src" | "source" => source = Some(PathBuf::from(value)),
            "dst" | "destination" | "target" => destination = Some(absolute(value)?),
            "ro" | "readonly" => {
                read_only = match value {
                    "" | "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(format!("{key} is true or false, not {value:?}")),
                }
            }
            "size" => size = Some(value.parse::<Bytes>()?.0),
            _ => {
                return Err(format!("{key:?} is not one of type, src, dst, ro, size"));
            }
        }
    }
    let destination = destination.ok_or("dst=PATH is missing")?;
    let source = match (kind, source, size) {
        ("bind", Some(source), None) => Source::Bind(source),
        ("bind", None, _) => return Err("src=PATH is missing".to_owned()),
        ("bind", Some(_), Some(_)) => return Err("size is for type=tmpfs".to_owned()),
        ("tmpfs", None, size) => Source::Tmpfs(size),
        ("tmpfs", Some(_), _) => return Err("src is for type=bind".to_owned()),
        _ => return Err(format!("type is bind or tmpfs, not {kind:?}")),
    };
    Ok(Mount {
        source,
        destination,
        read_only,
    })
}

/// A path in the container that is not its root.
fn absolute(path: &str) -> Result<String, String> {
    if !path.starts_with('/') || path.trim_matches('/').is_empty() {
        return Err(format!(
            "{path:?} is no absolute path below the container's root"
        ));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests;
