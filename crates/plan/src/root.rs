//! `root` and the settings that act on the whole root file system: propagation, host name, masked
//! and read-only paths.

use crate::{Inputs, Invalid, mount_options, paths};
use hull_abi::{NamespaceKind, NamespacePlan, Propagation, Root};
use oci_spec::runtime::{Linux, Spec};

/// The root file system: the directory that containerd mounts, else `root.path` from the bundle.
pub(crate) fn lower(
    spec: &Spec,
    linux: &Linux,
    inputs: &Inputs<'_>,
    namespaces: &[NamespacePlan],
) -> Result<Root, Invalid> {
    // What lies behind a moved root can be taken away only by who may unmount it.
    if inputs.no_pivot && namespaces.iter().any(|n| n.kind == NamespaceKind::User) {
        let why = "a user namespace does not go with the option no_pivot_root";
        return Err(Invalid::new("linux.namespaces", why));
    }
    let root = spec.root().as_ref();
    let path = match (inputs.rootfs, root) {
        (Some(rootfs), _) => rootfs.to_owned(),
        (None, Some(root)) => paths::text(root.path()),
        (None, None) => return Err(Invalid::missing("root")),
    };
    if path.is_empty() {
        return Err(Invalid::new("root.path", "it is empty"));
    }
    Ok(Root {
        path: paths::on_host(inputs.bundle, &path),
        readonly: root
            .and_then(oci_spec::runtime::Root::readonly)
            .unwrap_or(false),
        propagation: propagation(linux)?,
        pivot: !inputs.no_pivot,
    })
}

fn propagation(linux: &Linux) -> Result<Option<(Propagation, bool)>, Invalid> {
    match linux.rootfs_propagation().as_deref() {
        None | Some("") => Ok(None),
        Some(word) => mount_options::propagation(word).map(Some).ok_or_else(|| {
            let why = format!("{word:?} is not a kind of propagation");
            Invalid::new("linux.rootfsPropagation", why)
        }),
    }
}

/// `hostname` or `domainname`: an empty one counts as absent, any other needs a UTS namespace that
/// is not the host's.
pub(crate) fn uts_name(
    name: Option<&String>,
    field: &str,
    namespaces: &[NamespacePlan],
) -> Result<Option<String>, Invalid> {
    // __NEW_UTS_LEN of the kernel.
    const MAX_BYTES: usize = 64;
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if name.len() > MAX_BYTES {
        return Err(Invalid::new(
            field,
            format!("it is longer than {MAX_BYTES} bytes"),
        ));
    }
    if !namespaces
        .iter()
        .any(|namespace| namespace.kind == NamespaceKind::Uts)
    {
        return Err(Invalid::new(field, "setting it needs a uts namespace"));
    }
    Ok(Some(name.clone()))
}

/// `linux.maskedPaths` or `linux.readonlyPaths`, cleaned, each once.
pub(crate) fn covered_paths(
    list: &Option<Vec<String>>,
    field: &str,
) -> Result<Vec<String>, Invalid> {
    let mut cleaned = Vec::new();
    for (i, path) in list.iter().flatten().enumerate() {
        if !path.starts_with('/') {
            return Err(Invalid::new(
                format!("{field}[{i}]"),
                format!("{path:?} is not absolute"),
            ));
        }
        let path = paths::clean(path);
        if !cleaned.contains(&path) {
            cleaned.push(path);
        }
    }
    Ok(cleaned)
}
