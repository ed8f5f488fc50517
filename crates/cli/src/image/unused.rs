//! Images that were removed from containerd, and the compiled modules that nobody else needs.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use hull_abi::Proposal;
use hull_artifact::{CompilerIdentity, EngineId, Entry, ImageId, Key, ModuleDigest, Store};

use super::{Connection, block_on};
use crate::error::Error;
use crate::tool;

/// Who has used an artifact within this time may well do so again.
const IN_USE: Duration = Duration::from_secs(24 * 3600);

/// What is of no use any more.
#[derive(Debug, Default)]
pub(crate) struct Unused {
    /// Images that are gone, with their modules.
    pub(crate) images: Vec<(ImageId, ModuleDigest)>,
    /// Their modules, as far as no image that is remembered is the same one.
    pub(crate) modules: Vec<ModuleDigest>,
}

/// Finds out which of the images that are remembered of this namespace of this containerd are gone.
///
/// # Errors
/// When containerd does not tell its images, or the store cannot be read.
pub(super) async fn unused(connection: &Connection, store: &Store) -> Result<Unused, Error> {
    let remembered = remembered(store)?;
    let present = connection.images().await?;
    Ok(choose(remembered, |image| {
        is_of(image, connection) && !present.contains(&image.target)
    }))
}

/// The same for every containerd that a remembered image is of. One that does not answer keeps its images;
/// why it does not is in the list.
///
/// # Errors
/// When the store cannot be read.
pub(crate) fn unused_of_all(store: &Store) -> Result<(Unused, Vec<Error>), Error> {
    let remembered = remembered(store)?;
    let places: HashSet<(&str, &str)> = remembered
        .iter()
        .map(|(image, _)| (image.address.as_str(), image.namespace.as_str()))
        .collect();
    let mut gone: HashSet<ImageId> = HashSet::new();
    let mut silent = Vec::new();
    for (address, namespace) in places {
        let present = block_on(async {
            let connection = Connection::open(address, namespace).await?;
            connection.images().await
        });
        match present {
            Ok(present) => {
                let images = remembered.iter().map(|(image, _)| image);
                let missing = images.filter(|image| {
                    image.address == address
                        && image.namespace == namespace
                        && !present.contains(&image.target)
                });
                gone.extend(missing.cloned());
            }
            Err(error) => silent.push(error),
        }
    }
    Ok((choose(remembered, |image| gone.contains(image)), silent))
}

fn is_of(image: &ImageId, connection: &Connection) -> bool {
    image.address == connection.address() && image.namespace == connection.namespace()
}

fn remembered(store: &Store) -> Result<Vec<(ImageId, ModuleDigest)>, Error> {
    let images = store.images();
    images.map_err(|error| Error::new("list the images in the store", error))
}

fn choose(remembered: Vec<(ImageId, ModuleDigest)>, is_gone: impl Fn(&ImageId) -> bool) -> Unused {
    let (gone, kept): (Vec<_>, Vec<_>) = remembered
        .into_iter()
        .partition(|(image, _)| is_gone(image));
    let needed: HashSet<ModuleDigest> = kept.into_iter().map(|(_, module)| module).collect();
    let modules: HashSet<ModuleDigest> = gone.iter().map(|(_, module)| *module).collect();
    Unused {
        images: gone,
        modules: modules.difference(&needed).copied().collect(),
    }
}

impl Unused {
    /// The artifacts that the present compiler made of these modules.
    pub(crate) fn keys(&self, store: &Store) -> HashSet<Key> {
        let Some(engine) = engine(store) else {
            return HashSet::new();
        };
        let modules = self.modules.iter();
        modules.flat_map(|module| keys(module, &engine)).collect()
    }

    /// Those of them that nobody has used for a day. Containers may have the same module as a file, of which
    /// no image tells.
    pub(crate) fn idle_keys(&self, store: &Store) -> HashSet<Key> {
        let mut keys = self.keys(store);
        let entries = store.entries().unwrap_or_default();
        let used = entries.iter().filter(|entry| !is_idle(entry));
        for entry in used {
            keys.remove(&entry.key);
        }
        keys
    }

    /// Forgets the images whose artifacts are gone, or are needed by others; the rest is for the next time.
    pub(crate) fn forget(&self, store: &Store) {
        if let Some(engine) = engine(store) {
            self.forget_by(store, &engine);
        }
    }

    fn forget_by(&self, store: &Store, engine: &EngineId) {
        let Ok(entries) = store.entries() else { return };
        let left: HashSet<Key> = entries.iter().map(|entry| entry.key).collect();
        let is_left = |module: &ModuleDigest| {
            self.modules.contains(module) && keys(module, engine).any(|key| left.contains(&key))
        };
        for (image, _) in self.images.iter().filter(|(_, module)| !is_left(module)) {
            // It is forgotten next time otherwise.
            drop(store.forget_image(image));
        }
    }
}

/// What the artifacts of a module may be called.
fn keys(module: &ModuleDigest, engine: &EngineId) -> impl Iterator<Item = Key> {
    let choices = Proposal::choices().into_iter();
    choices.map(move |proposals| Key::new(module, &engine.with(&Proposal::list(&proposals))))
}

fn is_idle(entry: &Entry) -> bool {
    entry.used.elapsed().is_ok_and(|time| time > IN_USE)
}

/// The engine of the present compiler, if it was asked once.
pub(crate) fn engine(store: &Store) -> Option<EngineId> {
    let compiler = fs::metadata(tool::sibling("hull-wasmc")?).ok()?;
    store.engine_id(&CompilerIdentity::of(&compiler))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::time::SystemTime;

    fn image(target: &str) -> ImageId {
        ImageId {
            address: "/c.sock".to_owned(),
            namespace: "n".to_owned(),
            target: target.to_owned(),
        }
    }

    fn module(number: u8) -> ModuleDigest {
        ModuleDigest::from_bytes([number; 32])
    }

    #[test]
    fn image_is_remembered_as_long_as_its_artifact_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::prepare(&directory.path().join("store")).unwrap();
        let engine = EngineId::parse("wasmtime-48.0.8 0123").unwrap();
        let images = [
            (image("left"), module(1)),
            (image("gone"), module(2)),
            (image("shared"), module(3)),
            (image("left with features"), module(4)),
        ];
        let mut artifact = tempfile::tempfile().unwrap();
        artifact
            .write_all(b"\x7fELF\x02\x01\x01\xc8 and more")
            .unwrap();
        for (image, module) in &images {
            store.remember_image(image, module).unwrap();
            store.insert(&Key::new(module, &engine), &artifact).unwrap();
        }
        let with_features = Key::new(&module(4), &engine.with("wide-arithmetic"));
        store.insert(&with_features, &artifact).unwrap();
        for gone in [2, 4] {
            store.remove(&Key::new(&module(gone), &engine)).unwrap();
        }
        let unused = Unused {
            images: images.to_vec(),
            modules: vec![module(1), module(2), module(4)],
        };
        assert!(keys(&module(4), &engine).any(|key| key == with_features));
        unused.forget_by(&store, &engine);
        let mut left = store.images().unwrap();
        left.sort_by_key(|(_, module)| *module.as_bytes());
        let last = (image("left with features"), module(4));
        assert_eq!(left, [(image("left"), module(1)), last]);
    }

    #[test]
    fn what_was_used_today_is_not_idle() {
        let used = |hours: u64| Entry {
            key: Key::from_bytes([0; 32]),
            size: 1,
            stored: SystemTime::UNIX_EPOCH,
            used: SystemTime::now() - Duration::from_secs(hours * 3600),
        };
        assert!(!is_idle(&used(0)) && !is_idle(&used(23)) && is_idle(&used(25)));
    }

    #[test]
    fn module_that_another_image_shares_is_kept() {
        let remembered = vec![
            (image("old"), module(1)),
            (image("older"), module(2)),
            (image("oldest"), module(2)),
            (image("new"), module(1)),
        ];
        let unused = choose(remembered, |image| image.target.starts_with("old"));
        assert_eq!(
            unused.images,
            [
                (image("old"), module(1)),
                (image("older"), module(2)),
                (image("oldest"), module(2))
            ]
        );
        assert_eq!(unused.modules, [module(2)]);
    }
}
