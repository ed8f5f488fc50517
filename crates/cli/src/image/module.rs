//! From an image to its module, every byte of which is checked against the digest that leads to it.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};

use hull_artifact::{MAX_MODULE, ModuleDigest, digest, is_artifact};

use super::Connection;
use super::manifest::{self, Descriptor, Document};
use crate::error::Error;

/// Most bytes of all manifests and indexes of one image; containerd takes no larger one either.
const MAX_DOCUMENTS_SIZE: usize = 8 << 20;
/// Most manifests and indexes that are read for one image.
const MAX_DOCUMENTS: u32 = 32;
/// The image is to blame.
const REFUSED: u8 = 1;

/// What an image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A module of this digest, which is that of its layer too.
    Module(ModuleDigest),
    /// The same, but something that comes before it has not been pulled yet: then the image is another one.
    Fallback(ModuleDigest),
    /// No Wasm layer.
    Nothing,
}

/// Finds the module of an image.
///
/// # Errors
/// What is wrong with the image, with exit code 1; or with containerd.
pub(crate) async fn find(
    connection: &Connection,
    image: &str,
    target: Descriptor,
) -> Result<Found, Error> {
    let refused = |why: String| Error::new(format!("image {image:?}"), why).with_code(REFUSED);
    let mut left = MAX_DOCUMENTS;
    let mut left_bytes = MAX_DOCUMENTS_SIZE;
    // What is still to be looked at, the next one last.
    let mut open = vec![target];
    // Of an index only the part for one platform may have been pulled.
    let mut absent = None;
    let mut is_fallback = false;
    while let Some(descriptor) = open.pop() {
        let Some(rest) = left.checked_sub(1) else {
            let why = format!("its index leads to more than {MAX_DOCUMENTS} manifests");
            return Err(refused(why));
        };
        left = rest;
        let document = document(connection, image, &descriptor, left_bytes).await?;
        let Some(bytes) = document else {
            is_fallback = true;
            continue;
        };
        left_bytes -= bytes.len();
        let of = |why| refused(format!("{}: {why}", descriptor.digest));
        match manifest::parse(&bytes).map_err(of)? {
            Document::Index(entries) => {
                open.extend(manifest::candidates(entries).into_iter().rev());
            }
            Document::Manifest(layers) => match manifest::module(&layers).map_err(refused)? {
                Some(layer) if layer.size > MAX_MODULE => return Err(refused(too_large())),
                Some(layer) if connection.has(&layer.digest).await? => {
                    let digest = ModuleDigest::parse(&layer.digest);
                    let digest = digest.ok_or_else(|| refused(not_sha256(&layer.digest)))?;
                    return Ok(if is_fallback {
                        Found::Fallback(digest)
                    } else {
                        Found::Module(digest)
                    });
                }
                Some(layer) => {
                    absent = Some(layer.digest.clone());
                    is_fallback = true;
                }
                None => {}
            },
        }
    }
    match absent {
        Some(digest) => Err(refused(format!(
            "its Wasm layer {digest} is not here: pull the image for all platforms"
        ))),
        None => Ok(Found::Nothing),
    }
}

async fn document(
    connection: &Connection,
    image: &str,
    descriptor: &Descriptor,
    limit: usize,
) -> Result<Option<Vec<u8>>, Error> {
    let refused = |why: String| Error::new(format!("image {image:?}"), why).with_code(REFUSED);
    let Some(expected) = ModuleDigest::parse(&descriptor.digest) else {
        return Err(refused(not_sha256(&descriptor.digest)));
    };
    let mut bytes = Vec::new();
    let present = connection
        .read(&descriptor.digest, |piece| {
            if bytes.len() + piece.len() > limit {
                return Err(refused("manifests of more than 8 MiB".to_owned()));
            }
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .await?;
    if !present {
        return Ok(None);
    }
    if ModuleDigest::of_bytes(&bytes) == expected {
        Ok(Some(bytes))
    } else {
        Err(not_what_was_asked_for(&descriptor.digest))
    }
}

/// Fetches a module into a file and checks that it is one.
///
/// # Errors
/// What is wrong with the layer, with exit code 1; or with containerd.
pub(crate) async fn fetch(
    connection: &Connection,
    module: &ModuleDigest,
    file: &mut File,
) -> Result<u64, Error> {
    let name = format!("sha256:{module}");
    let refused = |why: &str| Error::new(format!("layer {name}"), why).with_code(REFUSED);
    let mut size = 0;
    let present = connection
        .read(&name, |piece| {
            size += piece.len() as u64;
            if size > MAX_MODULE {
                return Err(refused(&too_large()));
            }
            file.write_all(piece)
                .map_err(|error| Error::new(format!("keep layer {name}"), error))
        })
        .await?;
    if !present {
        let why = "containerd does not have its content any more";
        return Err(Error::new(format!("layer {name}"), why).advise("pull the image again"));
    }
    let read = |error| Error::new(format!("read layer {name}"), error);
    if digest(file, MAX_MODULE).map_err(read)? != *module {
        return Err(not_what_was_asked_for(&name));
    }
    let mut header = Vec::new();
    file.rewind()
        .and_then(|()| file.take(8).read_to_end(&mut header))
        .map_err(read)?;
    if is_artifact(&header) {
        return Err(refused(
            "it is compiled Wasm: native code is only taken from hull's own compiler, \
             publish the .wasm file",
        ));
    }
    if !header.starts_with(b"\0asm") {
        return Err(refused("it is not Wasm: it does not begin with \\0asm"));
    }
    Ok(size)
}

fn too_large() -> String {
    format!("its module is larger than {} MiB", MAX_MODULE >> 20)
}

fn not_sha256(digest: &str) -> String {
    format!("digest {digest:?} is not of the kind sha256")
}

fn not_what_was_asked_for(digest: &str) -> Error {
    Error::new(
        format!("content {digest}"),
        "containerd gives something else, of another digest",
    )
}
