//! Which module an image is, so that containerd's content is read once per image and not at every start.
//!
//! An image is named by the digest of its manifest or index, which fixes the module: the memory cannot go
//! stale, only be of no use any more. It is kept per containerd and namespace, because those are the ones who
//! can say whether the image is still there.

use crate::digest::Hex;
use crate::leftovers::{self, Temporary};
use crate::store::check;
use crate::{Error, ModuleDigest, Store};
use nix::errno::Errno;
use nix::unistd::{UnlinkatFlags, unlinkat};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};

/// How the names of these files begin; 64 hexadecimal digits follow.
const PREFIX: &str = "image.";
/// Longer than any that we write.
const MAX_SIZE: u64 = 8 << 10;
/// Separates this use of SHA-256 from every other.
const DOMAIN: &[u8] = b"hull image 1\0";

/// An image in one namespace of one containerd.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageId {
    /// containerd's socket.
    pub address: String,
    /// Its namespace.
    pub namespace: String,
    /// Digest of the image's manifest or index, `sha256:` and 64 hexadecimal digits.
    pub target: String,
}

impl ImageId {
    /// `None` where a text could not be written down as it is.
    fn name(&self) -> Option<String> {
        let parts = [&self.address, &self.namespace, &self.target];
        if parts.iter().any(|part| part.contains(['\n', '\0'])) {
            return None;
        }
        let mut hasher = Sha256::new().chain_update(DOMAIN);
        for part in parts {
            hasher.update(part);
            hasher.update([0]);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        Some(format!("{PREFIX}{}", Hex(&digest)))
    }
}

impl Store {
    /// The module that was remembered for an image.
    #[must_use]
    pub fn image_module(&self, image: &ImageId) -> Option<ModuleDigest> {
        let (found, module) = self.read_image(&image.name()?)?;
        (found == *image).then_some(module)
    }

    /// Remembers which module an image is.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be written; then it is found out again next time.
    pub fn remember_image(&self, image: &ImageId, module: &ModuleDigest) -> Result<(), Error> {
        let Some(name) = image.name() else {
            return Ok(());
        };
        let failed = |e: std::io::Error| Error::file("writing", &name, e);
        let ImageId {
            address,
            namespace,
            target,
        } = image;
        let mut file = Temporary::create(self.directory()).map_err(|e| failed(e.into()))?;
        write!(file, "{module}\n{target}\n{namespace}\n{address}\n").map_err(failed)?;
        file.keep_as(&name).map_err(failed)
    }

    /// Every image that is remembered, with its module.
    ///
    /// # Errors
    /// [`Error::File`] when the directory cannot be read.
    pub fn images(&self) -> Result<Vec<(ImageId, ModuleDigest)>, Error> {
        let names = leftovers::names(self.directory())
            .map_err(|errno| Error::file("listing", "its directory", errno))?;
        let names = names.iter().filter(|name| name.starts_with(PREFIX));
        Ok(names.filter_map(|name| self.read_image(name)).collect())
    }

    /// Forgets an image.
    ///
    /// # Errors
    /// [`Error::File`] when it cannot be removed.
    pub fn forget_image(&self, image: &ImageId) -> Result<(), Error> {
        let Some(name) = image.name() else {
            return Ok(());
        };
        match unlinkat(self.directory(), name.as_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(Error::file("removing", &name, errno)),
        }
    }

    fn read_image(&self, name: &str) -> Option<(ImageId, ModuleDigest)> {
        let file = self.open_name(name).ok()?;
        check(&file).ok()?;
        let mut text = String::new();
        file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        let module = ModuleDigest::parse(lines.next()?)?;
        let (target, namespace, address) = (lines.next()?, lines.next()?, lines.next()?);
        let image = ImageId {
            address: address.to_owned(),
            namespace: namespace.to_owned(),
            target: target.to_owned(),
        };
        (image.name().as_deref() == Some(name)).then_some((image, module))
    }
}
