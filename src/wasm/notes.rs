//! Large files that need not be read again: a module whose digest is known, an artifact that was read through.
//!
//! What is known was found out by a job on the host's side, of files as stat(2) shows them. A file of a
//! container counts only if it is on the container's overlay, and is known by the layers of that: their
//! content is fixed, and whoever changes a file above them changes its ctime. A process of a container can so
//! at most deceive its own container about its own file.

use super::{Order, Source, Tools, clone, utf8};
use crate::error::Error;
use crate::launch::Place;
use hull_abi::{
    CapabilitySets, HostJob, HostMount, NamespaceKind, NamespacePlan, Noted, Plan, WasmJob,
};
use hull_artifact::{ModuleDigest, Sight};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Number of the capability to set the clock.
const CAP_SYS_TIME: u32 = 25;
/// How long reading and noting a file may take.
const DEADLINE: Duration = Duration::from_secs(60);

/// What names the layers of a root file system; `None` unless it is one overlay of layers that are the
/// snapshotter's. What `own` holds, hull's own state, are directories of anybody's choice. Who may set the clock
/// chooses the ctime of files.
pub(crate) fn layers(plan: &Plan, mounts: &[HostMount], own: &Path) -> Option<String> {
    let sets_clock = sets_clock(&plan.process.capabilities, &plan.namespaces);
    (!sets_clock).then(|| named(mounts, own)).flatten()
}

fn named(mounts: &[HostMount], own: &Path) -> Option<String> {
    let [overlay] = mounts else { return None };
    let lower: Vec<&str> = overlay
        .options
        .iter()
        .filter_map(|option| option.strip_prefix("lowerdir="))
        .collect();
    let [lower] = lower.as_slice() else {
        return None;
    };
    let is_root = overlay.fstype == "overlay" && overlay.target.is_empty();
    let theirs = lower.split(':').all(|layer| {
        let layer = Path::new(layer);
        layer.is_absolute() && !layer.starts_with(own)
    });
    (is_root && theirs).then(|| format!("layers {lower}"))
}

/// Whether a process of the container may set the clock, for which a capability in a user namespace of its
/// own is not enough.
fn sets_clock(sets: &CapabilitySets, namespaces: &[NamespacePlan]) -> bool {
    let granted = sets.bounding | sets.effective | sets.inheritable | sets.permitted | sets.ambient;
    let is_own = |n: &NamespacePlan| n.kind == NamespaceKind::User && n.path.is_none();
    granted & (1 << CAP_SYS_TIME) != 0 && !namespaces.iter().any(is_own)
}

/// A module of the container, if its digest can be known.
fn sight_of_module(tools: &Tools, place: &Place, module: &File) -> Option<Sight> {
    let layers = place.layers.as_ref()?;
    let root = fs::metadata(&place.rootfs).ok()?;
    // Elsewhere the container may have a file system that answers nobody.
    if hull_sys::fd::device(module).ok()? != root.dev() {
        return None;
    }
    Sight::of(module, layers, tools.boot.as_ref()?)
}

/// The digest of a module, if it is known.
pub(super) fn digest(tools: &Tools, place: &Place, module: &File) -> Option<ModuleDigest> {
    let sight = sight_of_module(tools, place, module)?;
    tools.store.recall(&sight).map(ModuleDigest::from_bytes)
}

impl Order<'_> {
    /// Whether an artifact was read through since it was last changed. If it was not, that is done now for
    /// later starts, and so is digesting the module; nobody waits for either.
    ///
    /// # Errors
    /// When a job cannot be told what to do.
    pub(super) fn is_checked(self, artifact: &File) -> Result<bool, Error> {
        let Order {
            tools,
            client,
            module,
            ..
        } = self;
        let key = self.key();
        if let Source::File(file) = &module.source {
            let file = File::from(clone(file)?);
            let layers = client.place.layers.as_ref();
            let sight = sight_of_module(tools, client.place, &file);
            if let (Some(sight), Some(layers)) = (sight, layers)
                && tools.store.recall(&sight).is_none()
            {
                let place = layers.clone();
                self.have_noted(Noted::Module { place }, file)?;
            }
        }
        let boot = tools.boot.as_ref();
        let Some(sight) = boot.and_then(|boot| Sight::of_artifact(artifact, &key, boot)) else {
            return Ok(false);
        };
        let checked = tools.store.recall(&sight) == Some(*key.as_bytes());
        if !checked {
            let artifact = clone(artifact)?.into();
            self.have_noted(Noted::Artifact(*key.as_bytes()), artifact)?;
        }
        Ok(checked)
    }

    fn have_noted(self, what: Noted, file: File) -> Result<(), Error> {
        // Reading takes time, and a later start asks again.
        let Ok(place) = Arc::clone(&self.shared.wasm.noting).try_acquire_owned() else {
            return Ok(());
        };
        let launcher = self.shared.launcher.clone();
        let store = utf8(&self.shared.wasm.store)?;
        let job = HostJob::Wasm(WasmJob::Note { store, what });
        crate::turn::spawn("note of an artifact", async move {
            let noted = async {
                let job = launcher.begin(&job, Some(OwnedFd::from(file))).await?;
                job.next(DEADLINE).await?;
                job.end().await;
                Ok::<(), Error>(())
            };
            if let Err(e) = noted.await {
                log::warn!("wasm: {}", e.line());
            }
            drop(place);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: &[&str]) -> HostMount {
        HostMount {
            fstype: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        }
    }

    #[test]
    fn who_may_set_the_clock_has_it_in_any_set_and_no_user_namespace() {
        let none = CapabilitySets::default();
        assert!(!sets_clock(&none, &[]));
        let bit = 1 << CAP_SYS_TIME;
        let granted = [
            CapabilitySets {
                bounding: bit,
                ..none
            },
            CapabilitySets {
                effective: bit,
                ..none
            },
            CapabilitySets {
                inheritable: bit,
                ..none
            },
            CapabilitySets {
                permitted: bit,
                ..none
            },
            CapabilitySets {
                ambient: bit,
                ..none
            },
        ];
        let user = |path: Option<&str>| NamespacePlan {
            kind: NamespaceKind::User,
            path: path.map(str::to_owned),
        };
        for sets in granted {
            assert!(sets_clock(&sets, &[]));
            assert!(!sets_clock(&sets, &[user(None)]));
            // It may be the host's.
            assert!(sets_clock(&sets, &[user(Some("/proc/1/ns/user"))]));
        }
        let all_but = CapabilitySets {
            bounding: !bit,
            ..none
        };
        assert!(!sets_clock(&all_but, &[]));
    }

    #[test]
    fn only_layers_of_a_snapshotter_have_a_name() {
        let own = Path::new("/run/hull");
        let of = |options: &[&str]| named(&[overlay(options)], own);
        let good = [
            "workdir=/s/3/work",
            "upperdir=/s/3/fs",
            "lowerdir=/s/2/fs:/s/1/fs",
        ];
        assert_eq!(of(&good).as_deref(), Some("layers /s/2/fs:/s/1/fs"));
        assert_eq!(of(&["upperdir=/s/3/fs"]), None);
        assert_eq!(of(&["lowerdir=/a", "lowerdir=/b"]), None);
        assert_eq!(of(&["lowerdir=relative"]), None);
        assert_eq!(of(&["lowerdir=/s/1/fs:/run/hull/run/x/lower"]), None);
        let mut bind = overlay(&good);
        bind.fstype = "bind".to_owned();
        assert_eq!(named(&[bind], own), None);
        let mut below = overlay(&good);
        below.target = "usr".to_owned();
        assert_eq!(named(&[below], own), None);
        assert_eq!(named(&[overlay(&good), overlay(&good)], own), None);
        assert_eq!(named(&[], own), None);
    }
}
