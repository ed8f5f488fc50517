//! Which cgroup hierarchies this host has mounted, where, and what each holds.
//!
//! Formats: [proc_pid_mountinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html),
//! [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html).

use crate::Error;
use hull_sys::Errno;
use std::io::Read;

/// Bound on each file that is read; hosts with thousands of mounts stay below it.
const MAX_CONTENT: u64 = 16 << 20;

/// The cgroup hierarchies of a host, as seen from this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub(crate) unified: Option<Hierarchy>,
    pub(crate) v1: Vec<Hierarchy>,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its controllers; for a v1 hierarchy without any, its name as `name=systemd`.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) mount: String,
    /// Which directory of the hierarchy is mounted there.
    pub(crate) root: String,
    /// This process's own cgroup in it, counted like `root`.
    pub(crate) own: String,
}

/// A line of mountinfo that mounts a cgroup hierarchy.
struct CgroupMount {
    mount: String,
    root: String,
    unified: bool,
    options: Vec<String>,
}

impl Layout {
    /// Looks at this process's mounts and cgroups.
    ///
    /// # Errors
    /// [`Error::Io`] when /proc cannot be read, [`Error::NoHierarchy`] when nothing is mounted.
    pub fn detect() -> Result<Self, Error> {
        let mountinfo = read_bounded("/proc/self/mountinfo")?;
        let self_cgroup = read_bounded("/proc/self/cgroup")?;
        let mount = pick(&mounts(&mountinfo), |mount| mount.unified, "/").map(|m| m.mount.clone());
        let controllers = match mount {
            Some(mount) => read_bounded(&format!("{mount}/cgroup.controllers"))?,
            None => String::new(),
        };
        Self::parse(&mountinfo, &self_cgroup, &controllers)
    }

    /// The same from the contents of `/proc/self/mountinfo`, `/proc/self/cgroup` and the unified
    /// root's `cgroup.controllers` (empty without one).
    ///
    /// # Errors
    /// [`Error::NoHierarchy`] when no mounted hierarchy is among them, [`Error::Content`] for a
    /// line that is not of the file's format.
    pub fn parse(
        mountinfo: &str,
        self_cgroup: &str,
        unified_controllers: &str,
    ) -> Result<Self, Error> {
        let mounts = mounts(mountinfo);
        let mut layout = Self {
            unified: None,
            v1: Vec::new(),
        };
        for line in self_cgroup.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(id), Some(names), Some(own)) = (fields.next(), fields.next(), fields.next())
            else {
                return Err(Error::Content {
                    path: "/proc/self/cgroup".into(),
                    content: line.into(),
                });
            };
            let is_unified = id == "0" && names.is_empty();
            let names: Vec<String> = names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            let belongs = |mount: &CgroupMount| {
                mount.unified == is_unified && names.iter().all(|name| mount.options.contains(name))
            };
            // A hierarchy that exists but is not mounted here is none for us.
            let Some(mount) = pick(&mounts, belongs, own) else {
                continue;
            };
            let hierarchy = Hierarchy {
                controllers: names,
                mount: mount.mount.clone(),
                root: mount.root.clone(),
                own: own.to_owned(),
            };
            if is_unified {
                let controllers = unified_controllers
                    .split_whitespace()
                    .map(str::to_owned)
                    .collect();
                layout.unified = Some(Hierarchy {
                    controllers,
                    ..hierarchy
                });
            } else {
                layout.v1.push(hierarchy);
            }
        }
        if layout.unified.is_none() && layout.v1.is_empty() {
            return Err(Error::NoHierarchy);
        }
        Ok(layout)
    }

    /// Whether only the v2 tree is there: statistics are then those of cgroup v2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        // systemd mounts `name=systemd` on its own in some hybrid set-ups without v1 controllers.
        self.unified.is_some()
            && self
                .v1
                .iter()
                .all(|h| h.controllers.iter().all(|name| name.starts_with("name=")))
    }
}

/// The best of the mounts of one hierarchy: one that shows all of it, else one that shows our own
/// cgroup, else any. Bind mounts of parts of a hierarchy, as other containers have them, lose.
fn pick<'a>(
    mounts: &'a [CgroupMount],
    belongs: impl Fn(&CgroupMount) -> bool,
    own: &str,
) -> Option<&'a CgroupMount> {
    let rank = |mount: &&CgroupMount| match below(&mount.root, own) {
        _ if mount.root == "/" => 0,
        Some(_) => 1,
        None => 2,
    };
    // min_by_key keeps the first of equals, which is the older mount.
    mounts
        .iter()
        .filter(|mount| belongs(mount))
        .min_by_key(rank)
}

/// What follows `root` in `path`, without a leading slash; `None` when `path` is not below it.
pub(crate) fn below<'a>(root: &str, path: &'a str) -> Option<&'a str> {
    if root == "/" {
        return path.strip_prefix('/');
    }
    match path.strip_prefix(root)? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// The cgroup mounts in mountinfo, in the order of the file.
fn mounts(mountinfo: &str) -> Vec<CgroupMount> {
    mountinfo.lines().filter_map(mount_line).collect()
}

fn mount_line(line: &str) -> Option<CgroupMount> {
    let (before, after) = line.split_once(" - ")?;
    let mut after = after.split(' ');
    let unified = match after.next()? {
        "cgroup2" => true,
        "cgroup" => false,
        _ => return None,
    };
    let options = after
        .nth(1)
        .unwrap_or_default()
        .split(',')
        .map(str::to_owned)
        .collect();
    let mut before = before.split(' ').skip(3);
    let (root, mount) = (unescape(before.next()?), unescape(before.next()?));
    Some(CgroupMount {
        mount,
        root,
        unified,
        options,
    })
}

/// Undoes mountinfo's octal escapes (`\040` for a space).
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let code = escape
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code.filter(u8::is_ascii) {
            Some(byte) => {
                text.push(char::from(byte));
                rest = escape.get(3..).unwrap_or_default();
            }
            None => {
                text.push('\\');
                rest = escape;
            }
        }
    }
    text.push_str(rest);
    text
}

/// Names of mount points and cgroups are bytes. Those of cgroups that we use are UTF-8; one of
/// another mount that is not must not keep us from reading the rest.
fn text(content: &[u8]) -> String {
    String::from_utf8_lossy(content).into_owned()
}

pub(crate) fn read_bounded(path: &str) -> Result<String, Error> {
    let failed = |error: std::io::Error| Error::Io {
        operation: "read",
        path: path.to_owned(),
        errno: error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
    };
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_CONTENT)
        .read_to_end(&mut content)
        .map_err(failed)?;
    Ok(text(&content))
}

#[cfg(test)]
mod tests;
