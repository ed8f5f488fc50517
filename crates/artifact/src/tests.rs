//! Tests of the whole crate on real directories.
mod contents;
mod describe;
mod exports;
mod flaws;
mod images;
mod module;
mod notes;
mod store;

use crate::{EngineId, Found, Key, ModuleDigest, Store};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use tempfile::TempDir;

/// A store in a directory of its own.
struct Place {
    store: Store,
    path: PathBuf,
    _directory: TempDir,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    Place {
        store: Store::prepare(&path).unwrap(),
        path,
        _directory: directory,
    }
}

fn key(number: u8) -> Key {
    let engine = EngineId::parse("wasmtime-48.0.8 0123").unwrap();
    Key::new(&ModuleDigest::from_bytes([number; 32]), &engine)
}

/// An open file with this content.
fn file(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file
}

/// Something that begins like an artifact.
fn artifact(length: usize) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\xc8".to_vec();
    bytes.extend((8..length).map(|n| u8::try_from(n % 251).unwrap()));
    bytes
}

impl Place {
    fn insert(&self, key: &Key, content: &[u8]) {
        self.store.insert(key, &file(content)).unwrap();
    }

    fn good(&self, key: &Key) -> File {
        match self.store.open(key).unwrap() {
            Found::Good(file) => file,
            found @ (Found::Bad(_) | Found::Absent) => panic!("{found:?}"),
        }
    }

    fn file_of(&self, key: &Key) -> PathBuf {
        self.path.join(key.to_string())
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.path).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}
