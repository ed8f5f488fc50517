//! The module of an image by its name, as a file for a while.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use hull_artifact::{ImageId, Store};
use nix::mount::{MsFlags, mount};

use super::{Connection, Found, block_on, fetch, find};
use crate::error::Error;
use crate::{cache, state};

/// Where containerd listens if nobody says anything else.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Which containerd, with ctr's names and defaults.
#[derive(Debug, Args)]
pub(crate) struct Containerd {
    /// containerd's socket, else $CONTAINERD_ADDRESS or /run/containerd/containerd.sock
    #[arg(long, value_name = "SOCKET")]
    address: Option<String>,
    /// containerd's namespace, else $CONTAINERD_NAMESPACE or default
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

impl Containerd {
    async fn connect(&self) -> Result<Connection, Error> {
        let or = |given: &Option<String>, variable: &str, default: &str| {
            let own = std::env::var(variable)
                .ok()
                .filter(|value| !value.is_empty());
            given.clone().or(own).unwrap_or_else(|| default.to_owned())
        };
        let address = or(&self.address, "CONTAINERD_ADDRESS", SOCKET);
        let namespace = or(&self.namespace, "CONTAINERD_NAMESPACE", "default");
        Connection::open(&address, &namespace).await
    }
}

/// A module that came from an image.
#[derive(Debug)]
pub(crate) struct Download {
    /// Where it is. Nobody but this process and those that it starts sees it, and it goes with them.
    pub(crate) file: PathBuf,
}

impl Download {
    /// Fetches the module of an image. This process must have a mount namespace of its own.
    ///
    /// # Errors
    /// When there is no such image, or it is no module.
    pub(crate) fn of(containerd: &Containerd, image: &str) -> Result<Self, Error> {
        let place = scratch()?;
        let file = place.join(file_name(image));
        block_on(async {
            let connection = containerd.connect().await?;
            let Some(target) = connection.image(image).await? else {
                let why = format!(
                    "there is neither a file of this name nor such an image in namespace {:?} of containerd",
                    connection.namespace()
                );
                return Err(Error::new(format!("compile: {image}"), why)
                    .advise("give the full name, as ctr image ls shows it"));
            };
            let id = ImageId {
                address: connection.address().to_owned(),
                namespace: connection.namespace().to_owned(),
                target: target.digest.clone(),
            };
            let (module, is_sure) = match find(&connection, image, target).await? {
                Found::Module(module) => (module, true),
                Found::Fallback(module) => (module, false),
                Found::Nothing => {
                    let why = "it has no Wasm layer";
                    return Err(Error::new(format!("image {image:?}"), why)
                        .advise("a module in a root file system is compiled at its first start"));
                }
            };
            let failed = |error| Error::new(format!("make {}", file.display()), error);
            let mut into = File::create_new(&file).map_err(failed)?;
            fetch(&connection, &module, &mut into).await?;
            // What cannot be remembered is found out again at the first start.
            if let (true, Ok(store)) = (is_sure, Store::prepare(&cache::place())) {
                drop(store.remember_image(&id, &module));
            }
            Ok(())
        })?;
        Ok(Self { file })
    }
}

/// A file system in memory, on a directory that others find empty.
fn scratch() -> Result<PathBuf, Error> {
    let place = state::mount_point()?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        &place,
        Some("tmpfs"),
        flags,
        Some("mode=700,size=300m"),
    )
    .map_err(|errno| Error::new(format!("mount on {}", place.display()), errno.desc()))?;
    Ok(place)
}

/// A file name for the module of an image, for messages: its repository without host, tag and digest.
fn file_name(image: &str) -> String {
    let name = image.split('@').next().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    let plain: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .take(100)
        .collect();
    let stem = if plain.is_empty() { "app" } else { &plain };
    format!("{stem}.wasm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_the_file_is_that_of_the_repository() {
        for (image, name) in [
            ("docker.io/hull/hello:latest", "hello.wasm"),
            ("localhost:5000/a/b@sha256:0123", "b.wasm"),
            ("sha256:0123", "sha256.wasm"),
            ("", "app.wasm"),
            ("x/..", "app.wasm"),
        ] {
            assert_eq!(file_name(image), name);
        }
    }
}
