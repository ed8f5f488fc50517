//! `mounts` (<https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts>).

use crate::mount_options::{self, MountOptions};
use crate::{Invalid, id_maps, paths};
use hull_abi::{IdMaps, Mount, MountIdMap, MountSource};
use oci_spec::runtime as oci;

/// The option with which SELinux gives every file of a file system one label.
const CONTEXT: &str = "context";
/// File systems that SELinux labels by rules of its own, or file by file.
const LABELLED_OTHERWISE: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// What the mounts take from the container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    /// The maps of its user namespace.
    pub(crate) maps: &'a IdMaps,
    /// The SELinux label of new file systems.
    pub(crate) label: Option<&'a str>,
}

/// The mounts in the order of the config.
pub(crate) fn lower(
    spec: &oci::Spec,
    bundle: &str,
    given: Given<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>, Invalid> {
    let mut lowered = Vec::new();
    for (i, mount) in spec.mounts().iter().flatten().enumerate() {
        let field = format!("mounts[{i}]");
        let options = mount_options::parse(mount.options().as_deref().unwrap_or_default());
        let id_map = id_map(mount, &options, given.maps, &field)?;
        let destination = destination(mount, &field, warnings)?;
        warn_about(&options, mount, &destination, warnings);
        lowered.push(Mount {
            destination,
            set: options.own.set,
            clear: options.own.clear,
            set_recursive: options.recursive.set,
            clear_recursive: options.recursive.clear,
            propagation: options.propagation,
            tmpcopyup: options.tmpcopyup && is_tmpfs(mount, &options),
            source: match kind(mount, &options) {
                Kind::Bind => MountSource::Bind {
                    source: bind(mount, &options, bundle, &field)?,
                    recursive: options.recursive_bind,
                    id_map,
                },
                Kind::Cgroup => MountSource::Cgroup,
                Kind::Filesystem(fstype) => {
                    filesystem(fstype, mount, labelled(options, fstype, given.label))
                }
                Kind::Missing => return Err(Invalid::missing(field + ".type")),
            },
        });
    }
    Ok(lowered)
}

enum Kind<'a> {
    Bind,
    Cgroup,
    Filesystem(&'a str),
    Missing,
}

/// With `bind` or `rbind` the type means nothing.
fn kind<'a>(mount: &'a oci::Mount, options: &MountOptions) -> Kind<'a> {
    match mount.typ().as_deref() {
        _ if options.bind => Kind::Bind,
        Some("bind") => Kind::Bind,
        Some("cgroup" | "cgroup2") => Kind::Cgroup,
        None | Some("") => Kind::Missing,
        Some(fstype) => Kind::Filesystem(fstype),
    }
}

fn is_tmpfs(mount: &oci::Mount, options: &MountOptions) -> bool {
    matches!(kind(mount, options), Kind::Filesystem("tmpfs"))
}

fn destination(
    mount: &oci::Mount,
    field: &str,
    warnings: &mut Vec<String>,
) -> Result<String, Invalid> {
    let given = paths::text(mount.destination());
    let cleaned = paths::clean(&given);
    let refuse = |why: &str| Err(Invalid::new(format!("{field}.destination"), why));
    if given.is_empty() {
        return refuse("it is empty");
    }
    if cleaned == "/" {
        return refuse("it is the root file system itself");
    }
    // Deprecated in the spec, which says to take it from "/".
    if !given.starts_with('/') {
        warnings.push(format!(
            "mount destination {given:?} is relative, taking it as {cleaned:?}"
        ));
    }
    Ok(cleaned)
}

fn bind(
    mount: &oci::Mount,
    options: &MountOptions,
    bundle: &str,
    field: &str,
) -> Result<String, Invalid> {
    // The kernel would ignore it, and the client would believe that it holds.
    if let Some((key, _)) = options.data.first() {
        let why = format!("a bind mount cannot take the file system option {key:?}");
        return Err(Invalid::new(format!("{field}.options"), why));
    }
    let source = mount
        .source()
        .as_deref()
        .map(paths::text)
        .unwrap_or_default();
    if source.is_empty() {
        return Err(Invalid::new(
            format!("{field}.source"),
            "a bind mount needs a source",
        ));
    }
    Ok(paths::on_host(bundle, &source))
}

/// Other owners for the files of a bind mount: by maps of its own, else by the container's.
fn id_map(
    mount: &oci::Mount,
    options: &MountOptions,
    container: &IdMaps,
    field: &str,
) -> Result<Option<MountIdMap>, Invalid> {
    let (uids, gids) = (
        format!("{field}.uidMappings"),
        format!("{field}.gidMappings"),
    );
    let own = IdMaps {
        uids: id_maps::ranges(mount.uid_mappings(), &uids)?,
        gids: id_maps::ranges(mount.gid_mappings(), &gids)?,
    };
    let maps = match (own.uids.is_empty(), own.gids.is_empty(), options.id_map) {
        (true, true, None) => return Ok(None),
        (true, true, Some(_)) if container.is_empty() => {
            let why = "idmap without maps of the mount takes the container's, which are not given";
            return Err(Invalid::new(format!("{field}.options"), why));
        }
        (true, true, Some(_)) => container.clone(),
        (false, false, _) => own,
        (is_missing, ..) => {
            let missing = if is_missing { uids } else { gids };
            return Err(Invalid::new(missing, "a mount has both maps or none"));
        }
    };
    if !matches!(kind(mount, options), Kind::Bind) {
        return Err(Invalid::new(field, "only a bind mount can be id-mapped"));
    }
    Ok(Some(MountIdMap {
        maps,
        recursive: options.id_map.unwrap_or(false),
    }))
}

/// A label of the mount's own beats that of the container.
fn labelled(mut options: MountOptions, fstype: &str, label: Option<&str>) -> MountOptions {
    let has_own = options.data.iter().any(|(key, _)| key == CONTEXT);
    if let Some(label) = label.filter(|_| !has_own && !LABELLED_OTHERWISE.contains(&fstype)) {
        options
            .data
            .push((CONTEXT.to_owned(), Some(label.to_owned())));
    }
    options
}

fn filesystem(fstype: &str, mount: &oci::Mount, options: MountOptions) -> MountSource {
    let superblock = options.superblock.into_iter().map(|flag| (flag, None));
    let source = mount
        .source()
        .as_deref()
        .map(paths::text)
        .filter(|source| !source.is_empty());
    MountSource::Filesystem {
        fstype: fstype.to_owned(),
        source: source.unwrap_or_else(|| fstype.to_owned()),
        data: superblock.chain(options.data).collect(),
    }
}

fn warn_about(
    options: &MountOptions,
    mount: &oci::Mount,
    destination: &str,
    warnings: &mut Vec<String>,
) {
    let mut ignored = options.ignored.clone();
    match kind(mount, options) {
        Kind::Bind => ignored.extend(options.superblock.iter().cloned()),
        Kind::Cgroup => {
            ignored.extend(options.superblock.iter().cloned());
            ignored.extend(options.data.iter().map(|(key, _)| key.clone()));
        }
        Kind::Filesystem(_) | Kind::Missing => {}
    }
    if options.tmpcopyup && !is_tmpfs(mount, options) {
        ignored.push("tmpcopyup".to_owned());
    }
    let lines = ignored
        .iter()
        .map(|word| format!("mount {destination:?}: ignoring {word:?}"));
    warnings.extend(lines);
}
