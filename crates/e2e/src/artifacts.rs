//! A store of compiled Wasm: where a private world has its own, and what is in it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The variable that tells the shim where its store is.
pub const VARIABLE: &str = "HULL_ARTIFACTS";

/// The store below the private directory of a world.
pub fn store(dir: &Path) -> PathBuf {
    dir.join("artifacts")
}

/// What tells a stored file from another one under the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it is.
    pub path: PathBuf,
    /// Its inode: a file that is stored anew has another one.
    pub inode: u64,
    /// Its modification time in nanoseconds since the epoch.
    pub modified: i128,
}

/// The artifacts of a store, by name.
pub fn list(store: &Path) -> Vec<Stored> {
    let mut found: Vec<Stored> = names(store)
        .into_iter()
        .filter(|name| is_key(name))
        .map(|name| {
            let path = store.join(name);
            let metadata = fs::symlink_metadata(&path).unwrap();
            Stored {
                path,
                inode: metadata.ino(),
                modified: i128::from(metadata.mtime()) * 1_000_000_000
                    + i128::from(metadata.mtime_nsec()),
            }
        })
        .collect();
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// The only artifact of a store, or the test fails.
pub fn single(store: &Path) -> Stored {
    let mut found = list(store);
    assert_eq!(found.len(), 1, "{:?} in {}", names(store), store.display());
    found.remove(0)
}

/// What is in a store and is neither an artifact nor something that is remembered: locks, and files that never
/// were finished.
pub fn leftovers(store: &Path) -> Vec<String> {
    let mut left = names(store);
    left.retain(|name| !is_key(name) && name != "engine" && !is_image(name) && !is_note(name));
    left
}

/// How many files are known by what they look like.
pub fn notes(store: &Path) -> usize {
    names(store).iter().filter(|name| is_note(name)).count()
}

fn is_note(name: &str) -> bool {
    name.strip_prefix("note.").is_some_and(is_key)
}

/// Of how many images it is remembered which module they are.
pub fn images(store: &Path) -> usize {
    names(store).iter().filter(|name| is_image(name)).count()
}

fn is_image(name: &str) -> bool {
    name.strip_prefix("image.").is_some_and(is_key)
}

fn names(store: &Path) -> Vec<String> {
    fs::read_dir(store)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// 64 lower-case hexadecimal digits.
fn is_key(name: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    name.len() == 64 && name.bytes().all(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_told_from_locks() {
        let key = "0123456789abcdef".repeat(4);
        assert!(is_key(&key));
        for other in [
            format!("{key}.lock"),
            format!("tmp.{key}"),
            key.replace('a', "A"),
        ] {
            assert!(!is_key(&other), "{other}");
        }
    }
}
