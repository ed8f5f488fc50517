//! `linux.namespaces`
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#namespaces>).

use crate::{Invalid, paths};
use hull_abi::{NamespaceKind, NamespacePlan};
use oci_spec::runtime::{Linux, LinuxNamespaceType};

/// The namespaces in the order of the config. A mount namespace of its own is required: without one
/// every mount of the container would be a mount of the host.
pub(crate) fn lower(linux: &Linux) -> Result<Vec<NamespacePlan>, Invalid> {
    let mut namespaces: Vec<NamespacePlan> = Vec::new();
    for (i, namespace) in linux.namespaces().iter().flatten().enumerate() {
        let field = format!("linux.namespaces[{i}]");
        let kind = kind(namespace.typ());
        if namespaces.iter().any(|earlier| earlier.kind == kind) {
            let why = format!("the type {} is listed twice", namespace.typ());
            return Err(Invalid::new(format!("{field}.type"), why));
        }
        let path = namespace
            .path()
            .as_deref()
            .map(paths::text)
            .filter(|path| !path.is_empty());
        if let Some(path) = &path {
            check_path(kind, path, &field)?;
        }
        namespaces.push(NamespacePlan { kind, path });
    }
    if !namespaces
        .iter()
        .any(|namespace| namespace.kind == NamespaceKind::Mount)
    {
        return Err(Invalid::new(
            "linux.namespaces",
            "a mount namespace is required",
        ));
    }
    Ok(namespaces)
}

fn kind(typ: LinuxNamespaceType) -> NamespaceKind {
    match typ {
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}

fn check_path(kind: NamespaceKind, path: &str, field: &str) -> Result<(), Invalid> {
    let field = || format!("{field}.path");
    if !path.starts_with('/') {
        return Err(Invalid::new(field(), format!("{path:?} is not absolute")));
    }
    // Our root file system is pivoted to, which would pull the root from under the processes that
    // already live in that namespace.
    if kind == NamespaceKind::Mount {
        return Err(Invalid::unsupported(
            field(),
            "joining a mount namespace is",
        ));
    }
    Ok(())
}
