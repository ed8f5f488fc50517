//! Manifests and indexes
//! (<https://github.com/opencontainers/image-spec/blob/main/manifest.md>), as far as it takes to find a Wasm
//! layer. Pure.

use std::fmt::{self, Formatter};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// The media type of a [Wasm artifact](https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/)'s
/// layer.
const WASM: &str = "application/wasm";
/// How all other media types of Wasm layers end.
const WASM_SUFFIX: &str = "+wasm";

/// Something in containerd's content store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    /// `sha256:` and 64 hexadecimal digits.
    pub(crate) digest: String,
    /// In bytes.
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
}

/// What a descriptor of an image leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// One manifest for each platform.
    Index(Vec<Descriptor>),
    /// The layers of one platform.
    Manifest(Vec<Descriptor>),
}

/// Most entries that are taken of one manifest or index. Those of real images have some dozens.
const MAX_ENTRIES: usize = 1000;

#[derive(Debug, Deserialize)]
struct Fields {
    manifests: Option<Entries>,
    layers: Option<Entries>,
}

/// A limited number of descriptors.
#[derive(Debug)]
struct Entries(Vec<Descriptor>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Limited)
    }
}

/// Takes entries one by one, so that too many never become memory.
struct Limited;

impl<'de> Visitor<'de> for Limited {
    type Value = Entries;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX_ENTRIES} descriptors")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = sequence.next_element()? {
            if entries.len() == MAX_ENTRIES {
                let why = format!("it has more than {MAX_ENTRIES} entries");
                return Err(serde::de::Error::custom(why));
            }
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

/// Reads a manifest or an index.
///
/// # Errors
/// Why it is neither.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, String> {
    let fields: Fields = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match (fields.manifests, fields.layers) {
        (Some(Entries(manifests)), None) => Ok(Document::Index(manifests)),
        (None, Some(Entries(layers))) => Ok(Document::Manifest(layers)),
        (Some(_), Some(_)) => Err("it has both manifests and layers".to_owned()),
        (None, None) => Err("it has neither manifests nor layers".to_owned()),
    }
}

/// The entries of an index that may hold the module, the best first: those for Wasm, then those for this host,
/// then one without a platform if it is the only one.
pub(super) fn candidates(index: Vec<Descriptor>) -> Vec<Descriptor> {
    let single = index.len() == 1;
    let mut ranked: Vec<(u8, Descriptor)> = index
        .into_iter()
        .filter_map(|entry| Some((rank(entry.platform.as_ref(), single)?, entry)))
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, entry)| entry).collect()
}

fn rank(platform: Option<&Platform>, single: bool) -> Option<u8> {
    match platform {
        Some(platform) if platform.architecture.starts_with("wasm") => Some(0),
        Some(platform) if platform.os == "linux" && platform.architecture == HOST => Some(1),
        Some(_) => None,
        None => single.then_some(2),
    }
}

/// The one layer that is Wasm, if any is.
///
/// # Errors
/// When there are several: nothing says which of them runs.
pub(super) fn module(layers: &[Descriptor]) -> Result<Option<&Descriptor>, String> {
    let is_wasm =
        |layer: &&Descriptor| layer.media_type == WASM || layer.media_type.ends_with(WASM_SUFFIX);
    let modules: Vec<&Descriptor> = layers.iter().filter(is_wasm).collect();
    match modules.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        many => {
            let names: Vec<String> = many
                .iter()
                .map(|layer| format!("{} ({})", layer.digest, layer.media_type))
                .collect();
            Err(format!(
                "it has {} Wasm layers, and only one can run: {}",
                many.len(),
                names.join(", ")
            ))
        }
    }
}

/// This host's architecture as Go names it.
const HOST: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

impl From<containerd_client::types::Descriptor> for Descriptor {
    fn from(descriptor: containerd_client::types::Descriptor) -> Self {
        Self {
            media_type: descriptor.media_type,
            digest: descriptor.digest,
            size: u64::try_from(descriptor.size).unwrap_or(0),
            platform: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &str, platform: Option<(&str, &str)>) -> Descriptor {
        Descriptor {
            media_type: String::new(),
            digest: digest.to_owned(),
            size: 0,
            platform: platform.map(|(os, architecture)| Platform {
                architecture: architecture.to_owned(),
                os: os.to_owned(),
            }),
        }
    }

    fn layer(digest: &str, media_type: &str) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            ..entry(digest, None)
        }
    }

    fn names(index: Vec<Descriptor>) -> Vec<String> {
        let candidates = candidates(index).into_iter();
        candidates.map(|entry| entry.digest).collect()
    }

    #[test]
    fn wasm_comes_before_the_host_and_others_do_not_come() {
        let index = vec![
            entry("host", Some(("linux", HOST))),
            entry("other", Some(("linux", "s390x"))),
            entry("windows", Some(("windows", HOST))),
            entry("attestation", Some(("unknown", "unknown"))),
            entry("nothing", None),
            entry("wasip1", Some(("wasip1", "wasm"))),
            entry("wasi", Some(("wasi", "wasm32"))),
        ];
        assert_eq!(names(index), ["wasip1", "wasi", "host"]);
    }

    #[test]
    fn entry_without_a_platform_counts_only_alone() {
        assert_eq!(names(vec![entry("only", None)]), ["only"]);
        let two = vec![entry("one", None), entry("two", None)];
        assert_eq!(names(two), Vec::<String>::new());
    }

    #[test]
    fn every_media_type_of_wasm_is_a_module() {
        for media_type in [
            "application/wasm",
            "application/vnd.wasm.content.layer.v1+wasm",
            "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
            "application/vnd.module.wasm.content.layer.v1+wasm",
            "application/vnd.w3c.wasm.module.v1+wasm",
        ] {
            let layers = [
                layer("tar", "application/vnd.oci.image.layer.v1.tar+gzip"),
                layer("it", media_type),
            ];
            assert_eq!(module(&layers).unwrap().unwrap().digest, "it");
        }
        for media_type in ["", "application/wasm+gzip", "application/octet-stream"] {
            assert_eq!(module(&[layer("x", media_type)]).unwrap(), None);
        }
    }

    #[test]
    fn two_modules_are_named() {
        let layers = [layer("sha256:a", WASM), layer("sha256:b", WASM)];
        let why = module(&layers).unwrap_err();
        for part in ["2 Wasm layers", "sha256:a (application/wasm)", "sha256:b"] {
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn document_of_too_many_entries_is_refused() {
        let of = |kind: &str, count: usize| {
            let entries = vec![r#"{"digest":"sha256:x"}"#; count].join(",");
            parse(format!(r#"{{"{kind}":[{entries}]}}"#).as_bytes())
        };
        for kind in ["manifests", "layers"] {
            assert!(of(kind, MAX_ENTRIES).is_ok());
            let why = of(kind, MAX_ENTRIES + 1).unwrap_err();
            assert!(why.contains("more than 1000 entries"), "{why}");
        }
    }

    #[test]
    fn documents_are_told_by_what_they_have() {
        let manifest = br#"{"schemaVersion":2,"config":{"mediaType":"m","digest":"d","size":2},
            "layers":[{"mediaType":"application/wasm","digest":"sha256:x","size":7}]}"#;
        let Ok(Document::Manifest(layers)) = parse(manifest) else {
            panic!("no manifest")
        };
        assert_eq!((layers[0].digest.as_str(), layers[0].size), ("sha256:x", 7));
        let index = br#"{"manifests":[{"digest":"sha256:y","size":1,
            "platform":{"os":"wasi","architecture":"wasm","variant":"v1"}}]}"#;
        let Ok(Document::Index(entries)) = parse(index) else {
            panic!("no index")
        };
        assert_eq!(names(entries), ["sha256:y"]);
        for wrong in [
            &br#"{"manifests":[],"layers":[]}"#[..],
            b"{}",
            b"[]",
            b"nothing",
            br#"{"layers":[{"size":-1}]}"#,
        ] {
            assert!(parse(wrong).is_err());
        }
    }
}
