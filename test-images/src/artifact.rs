//! Images whose layers are Wasm, in every way in which registries have them, and some that must not run.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::Result;
use crate::guests::{self, Guest};
use crate::layout::{
    ARCH, CONFIG, INDEX, LAYER, MANIFEST, add_blob, archive_of, finish, json_bytes, set,
};
use crate::refused;

/// Config and layers of a [Wasm artifact](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/).
const ARTIFACT_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM: &str = "application/wasm";
/// Layers of images with an ordinary config.
const COMPONENT_LAYER: &str = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm";
const CONTENT_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// The files of an image layout.
type Files = BTreeMap<String, Vec<u8>>;

/// An image that is no root file system.
pub(crate) struct Artifact {
    /// Name of its archive without the ending, and of its repository.
    pub(crate) stem: &'static str,
    files: Files,
    /// Descriptor of its manifest or index.
    target: Value,
}

impl Artifact {
    /// The tar bytes of its layout.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub(crate) fn archive(mut self) -> Result<Vec<u8>> {
        let name = format!("docker.io/hull/{}:latest", self.stem);
        finish(&mut self.files, &name, self.target);
        archive_of(&self.files)
    }
}

/// All of them; `busybox` is the layer of a root file system.
///
/// # Errors
///
/// Names the guest whose source does not compile.
pub(crate) fn all(busybox: Vec<u8>) -> Result<Vec<Artifact>> {
    let hello = Guest::hello().compile()?;
    let compiled = |file: &str| {
        let guest = guests::all().find(|guest| guest.file == file);
        guest.map_or_else(|| Ok(Vec::new()), |guest| guest.compile())
    };
    let refused = |name: &str| -> Result<Vec<u8>> {
        let mut files = refused::files()?.into_iter();
        Ok(files
            .find(|(file, _)| *file == name)
            .map(|(_, bytes)| bytes)
            .unwrap_or_default())
    };
    Ok(vec![
        artifact("artifact", &hello),
        image("wasm-layer", &[(COMPONENT_LAYER, &hello)]),
        image("sleep-layer", &[(WASM, &compiled("sleep.wat")?)]),
        image(
            "component-layer",
            &[(CONTENT_LAYER, &compiled("component.wat")?)],
        ),
        index("wasm-index", &hello, busybox),
        image(
            "two-layers",
            &[(WASM, &hello), (CONTENT_LAYER, &compiled("exit.wat")?)],
        ),
        image("compiled-layer", &[(WASM, &refused("precompiled.cwasm")?)]),
        image("text-layer", &[(WASM, &refused("text.wasm")?)]),
    ])
}

/// A config that names neither a platform of the host nor a command.
fn artifact(stem: &'static str, module: &[u8]) -> Artifact {
    let mut files = Files::new();
    let config = json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip1",
        "layerDigests": [Digest::of(module).to_string()],
    });
    let target = manifest(&mut files, ARTIFACT_CONFIG, &config, &[(WASM, module)]);
    Artifact {
        stem,
        files,
        target,
    }
}

/// An ordinary config of the platform wasi/wasm.
fn image(stem: &'static str, layers: &[(&str, &[u8])]) -> Artifact {
    let mut files = Files::new();
    let target = manifest(&mut files, CONFIG, &config("wasi", "wasm", &[]), layers);
    Artifact {
        stem,
        files,
        target,
    }
}

/// One entry for wasi/wasm, and one for this host without the program.
fn index(stem: &'static str, module: &[u8], busybox: Vec<u8>) -> Artifact {
    let mut files = Files::new();
    let native = config("linux", ARCH, &busybox);
    let mut native = manifest(&mut files, CONFIG, &native, &[(LAYER, &busybox)]);
    let platform = json!({ "os": "linux", "architecture": ARCH });
    set(&mut native, "platform", platform);
    let wasm = config("wasi", "wasm", &[]);
    let mut wasm = manifest(&mut files, CONFIG, &wasm, &[(WASM, module)]);
    let platform = json!({ "os": "wasi", "architecture": "wasm" });
    set(&mut wasm, "platform", platform);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [native, wasm] });
    let target = add_blob(&mut files, INDEX, json_bytes(&index));
    Artifact {
        stem,
        files,
        target,
    }
}

fn config(os: &str, architecture: &str, layer: &[u8]) -> Value {
    let diff_ids: Vec<String> = (!layer.is_empty())
        .then(|| Digest::of(layer).to_string())
        .into_iter()
        .collect();
    json!({
        "architecture": architecture,
        "os": os,
        "created": "1970-01-01T00:00:00Z",
        "config": { "Cmd": ["/hello.wasm"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

fn manifest(
    files: &mut Files,
    config_type: &str,
    config: &Value,
    layers: &[(&str, &[u8])],
) -> Value {
    let layers: Vec<Value> = layers
        .iter()
        .map(|(media_type, bytes)| add_blob(files, media_type, bytes.to_vec()))
        .collect();
    let config = add_blob(files, config_type, json_bytes(config));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": layers,
    });
    add_blob(files, MANIFEST, json_bytes(&manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_the_layers_that_its_name_says() {
        let all = all(vec![7; 1024]).unwrap();
        let layers = |stem: &str| -> Vec<String> {
            let artifact = all.iter().find(|one| one.stem == stem).unwrap();
            let digest = artifact.target["digest"].as_str().unwrap();
            let path = format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap());
            let manifest: Value = serde_json::from_slice(&artifact.files[&path]).unwrap();
            let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
            layers
                .iter()
                .map(|layer| layer["mediaType"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(layers("artifact"), [WASM]);
        assert_eq!(layers("wasm-layer"), [COMPONENT_LAYER]);
        assert_eq!(layers("two-layers"), [WASM, CONTENT_LAYER]);
        assert_eq!(layers("wasm-index"), Vec::<String>::new());
    }

    #[test]
    fn no_layer_is_empty() {
        for artifact in all(vec![7; 1024]).unwrap() {
            assert!(artifact.files.values().all(|bytes| !bytes.is_empty()));
        }
    }
}
