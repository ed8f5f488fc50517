//! `linux.cgroupsPath`: a path, or the name of a unit of systemd.
//!
//! `slice:prefix:name`, as every runtime that lets systemd make its cgroups has it, is the scope
//! `prefix-name.scope` in that slice; an empty slice is `system.slice`. Names of units:
//! [systemd.unit(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.unit.html), slices:
//! [systemd.slice(5)](https://www.freedesktop.org/software/systemd/man/latest/systemd.slice.html).

use crate::{Inputs, Invalid, paths};
use hull_abi::Scope;
use oci_spec::runtime as oci;

const FIELD: &str = "linux.cgroupsPath";
const SLICE: &str = ".slice";
/// Where units go that name no slice.
const DEFAULT_SLICE: &str = "system.slice";
/// The slice that all others lie in: the root of the hierarchy.
const ROOT_SLICE: &str = "-.slice";
/// Longest name of a unit.
const MAX_NAME: usize = 255;

/// What systemd knows as controllers. It puts `_` in front of a directory that could be taken for a file
/// of one of them (its `cg_needs_escape`).
const CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "io",
    "blkio",
    "memory",
    "devices",
    "pids",
    "bpf-firewall",
    "bpf-devices",
    "bpf-foreign",
    "bpf-socket-bind",
    "bpf-restrict-network-interfaces",
];

/// Where a container's cgroup is to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cgroup {
    pub(crate) path: String,
    pub(crate) scope: Option<Scope>,
}

/// The cgroup that the config names, else one of the container's own below its containerd
/// namespace.
pub(crate) fn cgroup(linux: &oci::Linux, inputs: &Inputs<'_>) -> Result<Cgroup, Invalid> {
    let given = linux
        .cgroups_path()
        .as_deref()
        .map(paths::text)
        .filter(|path| !path.is_empty());
    let path = given.unwrap_or_else(|| format!("/{}/{}", inputs.namespace, inputs.id));
    if is_unit(&path) {
        return unit(&path);
    }
    if path.split('/').any(|component| component == "..") {
        return Err(Invalid::new(FIELD, format!("{path:?} contains \"..\"")));
    }
    let cleaned = paths::clean(&path);
    if cleaned == "/" {
        return Err(Invalid::new(FIELD, "it is the root cgroup"));
    }
    // A relative path stays relative: it is taken from the shim's own cgroup.
    let relative = cleaned.trim_start_matches('/');
    let path = if path.starts_with('/') {
        cleaned
    } else {
        relative.to_owned()
    };
    Ok(Cgroup { path, scope: None })
}

/// Two colons, or a slice before the first: no more than that, so that what is meant as a unit is
/// never taken for a directory.
fn is_unit(path: &str) -> bool {
    let is_slice = |(slice, _): (&str, &str)| slice.ends_with(SLICE);
    !path.starts_with('/')
        && (path.matches(':').count() == 2 || path.split_once(':').is_some_and(is_slice))
}

fn unit(given: &str) -> Result<Cgroup, Invalid> {
    let refused = |reason: String| {
        let expected = "expected slice:prefix:name for a unit of systemd";
        Invalid::new(FIELD, format!("{given:?}: {expected}, {reason}"))
    };
    let parts: Vec<&str> = given.split(':').collect();
    let [slice, prefix, name] = parts.as_slice() else {
        return Err(refused(format!("not {} parts", parts.len())));
    };
    let slice = if slice.is_empty() {
        DEFAULT_SLICE
    } else {
        *slice
    };
    let above = expand(slice).ok_or_else(|| refused(format!("and {slice:?} is no slice")))?;
    if name.is_empty() || name.ends_with(SLICE) {
        return Err(refused(format!("and {name:?} is no name of a scope")));
    }
    let unit = if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    if !is_name(&unit) {
        return Err(refused(format!("and {unit:?} is no name of a unit")));
    }
    Ok(Cgroup {
        path: format!("{above}/{}", directory(&unit)),
        scope: Some(Scope {
            unit,
            slice: slice.to_owned(),
        }),
    })
}

/// The path of a slice: `a-b.slice` lies in `a.slice`. `None` for what is no slice.
fn expand(slice: &str) -> Option<String> {
    if slice == ROOT_SLICE {
        return Some(String::new());
    }
    let stem = slice.strip_suffix(SLICE)?;
    if !is_name(slice) || stem.split('-').any(str::is_empty) {
        return None;
    }
    let ends = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .chain([stem.len()]);
    let slices = ends.filter_map(|end| stem.get(..end));
    Some(
        slices
            .map(|stem| format!("/{}", directory(&format!("{stem}{SLICE}"))))
            .collect(),
    )
}

fn is_name(unit: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\".contains(c);
    unit.len() <= MAX_NAME && unit.chars().all(is_allowed)
}

/// The directory of a unit, which is its name unless a file of the cgroup could have that.
fn directory(unit: &str) -> String {
    let is_file = |controller: &str| {
        unit.strip_prefix(controller)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    if unit.starts_with(['_', '.'])
        || unit.starts_with("cgroup.")
        || CONTROLLERS.into_iter().any(is_file)
    {
        format!("_{unit}")
    } else {
        unit.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(given: &str) -> String {
        assert!(is_unit(given), "{given}");
        unit(given).unwrap().path
    }

    #[test]
    fn unit_lies_in_its_slice_and_that_in_those_above() {
        let table = [
            ("system.slice:hull:c1", "/system.slice/hull-c1.scope"),
            (":hull:c1", "/system.slice/hull-c1.scope"),
            ("::c1", "/system.slice/c1.scope"),
            ("-.slice:hull:c1", "/hull-c1.scope"),
            (
                "a-b-c.slice:p:n",
                "/a.slice/a-b.slice/a-b-c.slice/p-n.scope",
            ),
            (
                "kubepods-burstable-pod1_2.slice:cri-containerd:0f",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/\
                 cri-containerd-0f.scope",
            ),
            ("memory.slice:cpu:n", "/_memory.slice/cpu-n.scope"),
            ("_a.slice::io", "/__a.slice/_io.scope"),
        ];
        for (given, expected) in table {
            assert_eq!(path(given), expected, "{given}");
        }
        let scope = unit("a-b.slice:p:n").unwrap().scope.unwrap();
        assert_eq!(
            (scope.unit.as_str(), scope.slice.as_str()),
            ("p-n.scope", "a-b.slice")
        );
    }

    #[test]
    fn what_looks_like_a_unit_is_never_a_directory() {
        let long = format!("a.slice:p:{}", "n".repeat(MAX_NAME));
        for given in [
            "a.slice:p",
            "a.slice:p:n:x",
            "a:p:n",
            ".slice:p:n",
            "a-.slice:p:n",
            "-a.slice:p:n",
            "a--b.slice:p:n",
            "a.slice/b.slice:p:n",
            "a.slice:p:",
            "a.slice:p:n.slice",
            "a.slice:p/..:n",
            "a.slice:p:n@",
            "a.slice:p:ä",
            "a.slice:p: n",
            "a.slice:p:n\n",
            &long,
        ] {
            assert!(is_unit(given), "{given}");
            let error = unit(given).unwrap_err().to_string();
            assert!(error.contains("expected slice:prefix:name"), "{error}");
        }
        for given in ["/a.slice:p:n", "/a:b:c", "a:b", "a/b:c", "x"] {
            assert!(!is_unit(given), "{given}");
        }
    }
}
