//! `linux.uidMappings` and `linux.gidMappings`, and those of mounts
//! (<https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#user-namespace-mappings>).
//! The rules are the kernel's (user_namespaces(7)), told before anything is made.

use crate::Invalid;
use hull_abi::{IdMaps, IdRange, NamespaceKind, NamespacePlan, User, host_id, map_text};
use oci_spec::runtime::{Linux, LinuxIdMapping};

/// Most lines of a map.
const MAX_LINES: usize = 340;
/// The kernel takes a map in one write of less than a page.
const MAX_TEXT: usize = 4096;

const UIDS: &str = "linux.uidMappings";
const GIDS: &str = "linux.gidMappings";

/// The maps of the container's user namespace: of a new one, or those that a joined one is said to
/// have.
pub(crate) fn lower(linux: &Linux, namespaces: &[NamespacePlan]) -> Result<IdMaps, Invalid> {
    let maps = IdMaps {
        uids: ranges(linux.uid_mappings(), UIDS)?,
        gids: ranges(linux.gid_mappings(), GIDS)?,
    };
    let given = [(UIDS, &maps.uids), (GIDS, &maps.gids)];
    let user = namespaces
        .iter()
        .find(|namespace| namespace.kind == NamespaceKind::User);
    let Some(user) = user else {
        return match given.iter().find(|(_, map)| !map.is_empty()) {
            Some((field, _)) => Err(Invalid::new(*field, "a map needs a user namespace")),
            None => Ok(maps),
        };
    };
    if user.path.is_some() && maps.is_empty() {
        return Ok(maps);
    }
    for (field, map) in given {
        if map.is_empty() {
            let why = "it is missing, and a user namespace needs both maps";
            return Err(Invalid::new(field, why));
        }
        if host_id(map, 0).is_none() {
            let why = "it does not map 0, as which the container is set up";
            return Err(Invalid::new(field, why));
        }
    }
    Ok(maps)
}

/// One map.
pub(crate) fn ranges(
    given: &Option<Vec<LinuxIdMapping>>,
    field: &str,
) -> Result<Vec<IdRange>, Invalid> {
    let mut map: Vec<IdRange> = Vec::new();
    for (i, line) in given.iter().flatten().enumerate() {
        let field = || format!("{field}[{i}]");
        let range = range(line, &field)?;
        for (j, earlier) in map.iter().enumerate() {
            let both = [
                ("container", earlier.container, range.container),
                ("host", earlier.host, range.host),
            ];
            let crossing = both
                .iter()
                .find(|(_, one, other)| overlap((*one, earlier.size), (*other, range.size)));
            if let Some((side, ..)) = crossing {
                let why = format!("ids of the {side} are in line {j} already");
                return Err(Invalid::new(field(), why));
            }
        }
        map.push(range);
        // Here, so that a long list is not compared with itself.
        if map.len() > MAX_LINES {
            let why = format!("a map has at most {MAX_LINES} lines");
            return Err(Invalid::new(field(), why));
        }
    }
    if map_text(&map).len() >= MAX_TEXT {
        let why = format!("as text it has more than the {MAX_TEXT} bytes that the kernel takes");
        return Err(Invalid::new(field, why));
    }
    Ok(map)
}

fn range(line: &LinuxIdMapping, field: &impl Fn() -> String) -> Result<IdRange, Invalid> {
    let range = IdRange {
        container: line.container_id(),
        host: line.host_id(),
        size: line.size(),
    };
    if range.size == 0 {
        return Err(Invalid::new(format!("{}.size", field()), "it is 0"));
    }
    // The last number, 2^32 - 1, is nobody's id.
    for (name, first) in [("containerID", range.container), ("hostID", range.host)] {
        if first.checked_add(range.size).is_none() {
            let why = format!("{first} and {} ids from it are too many", range.size);
            return Err(Invalid::new(format!("{}.{name}", field()), why));
        }
    }
    Ok(range)
}

fn overlap((first, size): (u32, u32), (other, other_size): (u32, u32)) -> bool {
    first < other.saturating_add(other_size) && other < first.saturating_add(size)
}

/// A process can only be who the user namespace maps. Nothing is known of the maps of a joined one that
/// is not described.
pub(crate) fn check_user(user: &User, maps: &IdMaps) -> Result<(), Invalid> {
    if maps.is_empty() {
        return Ok(());
    }
    let check = |map, id: u32, field: &dyn Fn() -> String, by: &str| match host_id(map, id) {
        Some(_) => Ok(()),
        None => Err(Invalid::new(field(), format!("{by} does not map {id}"))),
    };
    check(
        &maps.uids,
        user.uid,
        &|| "process.user.uid".to_owned(),
        UIDS,
    )?;
    check(
        &maps.gids,
        user.gid,
        &|| "process.user.gid".to_owned(),
        GIDS,
    )?;
    for (i, gid) in user.additional_gids.iter().enumerate() {
        let field = || format!("process.user.additionalGids[{i}]");
        check(&maps.gids, *gid, &field, GIDS)?;
    }
    Ok(())
}
