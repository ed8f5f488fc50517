//! The store of compiled Wasm: whether code in it can be run, and room for more.

use super::item::{Item, is_root};
use crate::{cache, units};
use hull_artifact::Store;
use nix::sys::statvfs::{FsFlags, Statvfs, statvfs};
use std::path::Path;

/// A large module takes some ten MiB; the store keeps up to 8 GiB.
const LITTLE_SPACE: u64 = 512 << 20;

/// The directory and the space in its file system.
pub(super) fn items() -> Vec<Item> {
    let path = cache::place();
    // What is above it counts as long as it does not exist.
    let above = path.ancestors().find_map(|path| statvfs(path).ok());
    let mut items = vec![directory(&path, above.as_ref())];
    if let Some(above) = above {
        items.push(space(&above));
    }
    items
}

fn directory(path: &Path, above: Option<&Statvfs>) -> Item {
    const NAME: &str = "directory";
    let place = path.display();
    match Store::existing(path) {
        Err(error) if is_root() => Item::fail(NAME, error.to_string())
            .advise("move it away, or set HULL_ARTIFACTS to another directory"),
        Err(_) => Item::unknown(NAME, format!("{place}: only root may look into it")),
        Ok(None) => match above.map(|above| above.flags().contains(FsFlags::ST_NOEXEC)) {
            Some(true) => Item::fail(
                NAME,
                format!("{place} would be on a file system that is mounted noexec, but holds code"),
            )
            .advise("mount it exec, or set HULL_ARTIFACTS to another directory"),
            Some(false) | None => Item::ok(
                NAME,
                format!("{place} does not exist yet; the first Wasm container makes it"),
            ),
        },
        Ok(Some(store)) => match store.unfit() {
            Ok(None) => Item::ok(NAME, place.to_string()),
            Ok(Some(_)) if !is_root() => Item::unknown(
                NAME,
                format!("{place}: it is for root, who runs the shim, to judge"),
            ),
            Ok(Some(why)) => Item::fail(NAME, format!("{place}: {why}")),
            Err(errno) => Item::unknown(NAME, format!("{place}: {}", errno.desc())),
        },
    }
}

fn space(above: &Statvfs) -> Item {
    const NAME: &str = "free space";
    let free = above
        .blocks_available()
        .saturating_mul(above.fragment_size());
    let text = units::bytes(free);
    if free < LITTLE_SPACE {
        return Item::warn(NAME, format!("{text}: modules may not fit"))
            .advise("hull cache prune, or a larger file system");
    }
    Item::ok(NAME, text)
}
