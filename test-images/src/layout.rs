//! One image as an archived [OCI image layout](https://github.com/opencontainers/image-spec/blob/main/image-layout.md).

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::digest::Digest;
use crate::error::{Result, at};

pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An image of one uncompressed layer.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// The full reference it is imported under.
    pub(crate) name: &'static str,
    /// Default environment, `NAME=value` each.
    pub(crate) env: &'static [&'static str],
    /// What the command line begins with, whatever its arguments.
    pub(crate) entrypoint: &'static [&'static str],
    /// Default command line, or the arguments of the entry point.
    pub(crate) cmd: &'static [&'static str],
    /// The layer's tar bytes.
    pub(crate) layer: Vec<u8>,
}

/// The tar bytes of the layout, which `ctr image import` takes.
pub(crate) fn archive(image: &Image) -> Result<Vec<u8>> {
    archive_of(&files(image))
}

/// The tar bytes of a layout's files by path.
pub(crate) fn archive_of(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    for dir in ["blobs/", "blobs/sha256/"] {
        let mut header = header(0o755, EntryType::Directory);
        builder
            .append_data(&mut header, dir, io::empty())
            .map_err(at("archive", Path::new(dir)))?;
    }
    for (path, bytes) in files {
        let mut header = header(0o644, EntryType::Regular);
        header.set_size(bytes.len() as u64);
        builder
            .append_data(&mut header, path, bytes.as_slice())
            .map_err(at("archive", Path::new(path)))?;
    }
    builder
        .into_inner()
        .map_err(at("finish", Path::new("the image archive")))
}

/// The layout's files by path: three blobs, the index and the version marker.
fn files(image: &Image) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let layer = add_blob(&mut files, LAYER, image.layer.clone());
    let config = add_blob(&mut files, CONFIG, json_bytes(&config(image)));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config,
        "layers": [layer],
    });
    let mut manifest = add_blob(&mut files, MANIFEST, json_bytes(&manifest));
    set(
        &mut manifest,
        "platform",
        json!({ "architecture": ARCH, "os": "linux" }),
    );
    finish(&mut files, image.name, manifest);
    files
}

/// Adds what makes blobs a layout: the image's name, with the descriptor of its manifest or index.
pub(crate) fn finish(files: &mut BTreeMap<String, Vec<u8>>, name: &str, mut image: Value) {
    let names = json!({
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name,
    });
    set(&mut image, "annotations", names);
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [image] });
    files.insert("index.json".to_owned(), json_bytes(&index));
    files.insert(
        "oci-layout".to_owned(),
        json_bytes(&json!({ "imageLayoutVersion": "1.0.0" })),
    );
}

/// Adds a field to a descriptor.
pub(crate) fn set(descriptor: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = descriptor {
        fields.insert(field.to_owned(), value);
    }
}

fn config(image: &Image) -> Value {
    let mut process = json!({ "Env": image.env, "Cmd": image.cmd });
    if let Value::Object(process) = &mut process
        && !image.entrypoint.is_empty()
    {
        process.insert("Entrypoint".to_owned(), json!(image.entrypoint));
    }
    json!({
        "architecture": ARCH,
        "os": "linux",
        // The image spec has no better value for "always the same" than the epoch.
        "created": "1970-01-01T00:00:00Z",
        "config": process,
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&image.layer).to_string()] },
    })
}

/// Stores a blob under its digest and gives the descriptor that refers to it.
pub(crate) fn add_blob(
    files: &mut BTreeMap<String, Vec<u8>>,
    media_type: &str,
    bytes: Vec<u8>,
) -> Value {
    let digest = Digest::of(&bytes);
    let descriptor =
        json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
    files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
    descriptor
}

/// JSON with sorted keys (`serde_json`'s map is a B-tree), so equal values give equal digests.
pub(crate) fn json_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn header(mode: u32, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

/// The building machine's architecture as Go names it: the busybox binary is the machine's own.
pub(crate) const ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Image {
        Image {
            name: "docker.io/hull/x:latest",
            env: &["A=b"],
            entrypoint: &[],
            cmd: &["sh"],
            layer: vec![7; 1024],
        }
    }

    fn parsed(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Value {
        serde_json::from_slice(&files[path]).unwrap()
    }

    /// Follows a descriptor and checks that its digest and size are those of the blob.
    fn follow<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        let blob = &files[&format!("blobs/sha256/{}", digest.strip_prefix("sha256:").unwrap())];
        assert_eq!(Digest::of(blob).to_string(), digest);
        assert_eq!(descriptor["size"], blob.len());
        blob
    }

    #[test]
    fn every_descriptor_leads_to_its_blob() {
        let image = sample();
        let files = files(&image);
        let index = parsed(&files, "index.json");
        let reference = &index["manifests"][0];
        assert_eq!(
            reference["annotations"]["io.containerd.image.name"],
            image.name
        );
        let manifest: Value = serde_json::from_slice(follow(&files, reference)).unwrap();
        let config: Value = serde_json::from_slice(follow(&files, &manifest["config"])).unwrap();
        assert_eq!(follow(&files, &manifest["layers"][0]), image.layer);
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        assert_eq!(config["config"]["Cmd"], json!(["sh"]));
        assert_eq!(parsed(&files, "oci-layout")["imageLayoutVersion"], "1.0.0");
    }

    #[test]
    fn entrypoint_is_in_the_config_only_if_there_is_one() {
        let with = Image {
            entrypoint: &["/app.wasm"],
            cmd: &[],
            ..sample()
        };
        assert_eq!(config(&with)["config"]["Entrypoint"], json!(["/app.wasm"]));
        assert_eq!(config(&with)["config"]["Cmd"], json!([]));
        assert_eq!(config(&sample())["config"].get("Entrypoint"), None);
    }

    #[test]
    fn the_same_image_gives_the_same_archive() {
        let first = archive(&sample()).unwrap();
        assert_eq!(first, archive(&sample()).unwrap());
        let other = Image {
            cmd: &["ls"],
            ..sample()
        };
        assert_ne!(first, archive(&other).unwrap());
    }

    #[test]
    fn the_archive_holds_all_files_of_the_layout() {
        let bytes = archive(&sample()).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names.len(), 2 + 3 + 2);
        assert!(names.contains(&"index.json".to_owned()), "{names:?}");
    }
}
