//! `hull image-module`: what the shim's jobs ask of containerd. The answer is for a program.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use hull_abi::ImageModule;
use hull_artifact::{ImageId, ModuleDigest, Store};
use nix::sys::resource::{Resource, setrlimit};

use super::unused::unused;
use super::{Connection, Found, block_on, fetch, find};
use crate::error::Error;

/// Largest address space of this process, in bytes.
const MAX_MEMORY: u64 = 1 << 30;

/// Answers the shim; exit code 1 where the image is to blame.
#[derive(Debug, Args)]
pub(crate) struct ImageModuleArgs {
    /// containerd's gRPC socket.
    #[arg(long)]
    address: String,
    /// containerd's namespace.
    #[arg(long)]
    namespace: String,
    /// Where it is remembered which module an image is.
    #[arg(long)]
    store: Option<PathBuf>,
    /// Tell which module the image of this container is.
    #[arg(long, conflicts_with = "layer", required_unless_present = "layer")]
    container: Option<String>,
    /// Write the module of this digest to standard output, a file.
    #[arg(long)]
    layer: Option<String>,
}

/// Answers one question.
///
/// # Errors
/// What is wrong with the image or with containerd.
pub(crate) fn run(args: &ImageModuleArgs) -> Result<ExitCode, Error> {
    // What images and containerd say is not to become more memory than this.
    let limited = setrlimit(Resource::RLIMIT_AS, MAX_MEMORY, MAX_MEMORY);
    limited.map_err(|error| Error::new("limit the memory", error))?;
    block_on(async {
        let connection = Connection::open(&args.address, &args.namespace).await?;
        if let Some(container) = &args.container {
            let answer = module_of(&connection, container, args.store.as_deref()).await?;
            let bytes = hull_abi::encode(&answer).map_err(|e| Error::new("answer", e))?;
            let written = io::stdout().write_all(&bytes);
            written.map_err(|error| Error::new("answer", error))?;
        } else if let Some(layer) = &args.layer {
            let wrong = || Error::usage("image-module", format!("no digest: {layer:?}"));
            let module = ModuleDigest::parse(layer).ok_or_else(wrong)?;
            fetch(&connection, &module, &mut output()?).await?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Standard output, which is a file that can be read again.
fn output() -> Result<File, Error> {
    use std::os::fd::AsFd as _;
    let fd = io::stdout().as_fd().try_clone_to_owned();
    fd.map(File::from)
        .map_err(|error| Error::new("use standard output", error))
}

async fn module_of(
    connection: &Connection,
    container: &str,
    store: Option<&Path>,
) -> Result<ImageModule, Error> {
    let unknown = ImageModule {
        image: String::new(),
        digest: None,
        calls: connection.calls(),
    };
    let Some(name) = connection.image_of(container).await? else {
        return Ok(unknown);
    };
    let Some(target) = connection.image(&name).await? else {
        let why = "containerd does not know it any more";
        return Err(Error::new(format!("image {name:?}"), why).advise("pull it again"));
    };
    let id = ImageId {
        address: connection.address().to_owned(),
        namespace: connection.namespace().to_owned(),
        target: target.digest.clone(),
    };
    let remembered = store
        .and_then(|path| Store::existing(path).ok()?)
        .and_then(|store| store.image_module(&id));
    let digest = match remembered {
        Some(module) => Some(module),
        None => match find(connection, &name, target).await? {
            Found::Module(module) => {
                remember(connection, store, &id, &module).await;
                Some(module)
            }
            Found::Fallback(module) => Some(module),
            Found::Nothing => None,
        },
    };
    Ok(ImageModule {
        image: name,
        digest: digest.map(|module| *module.as_bytes()),
        calls: connection.calls(),
    })
}

/// What cannot be remembered is found out again next time, and what cannot be cleared away stays: neither
/// is worth a failure. A store that is of no use is told by whoever compiles.
async fn remember(
    connection: &Connection,
    store: Option<&Path>,
    id: &ImageId,
    module: &ModuleDigest,
) {
    let Some(store) = store.and_then(|path| Store::prepare(path).ok()) else {
        return;
    };
    if store.remember_image(id, module).is_ok() {
        // A new image is the moment to look which of the old ones have gone.
        if let Ok(unused) = unused(connection, &store).await {
            for key in unused.idle_keys(&store) {
                drop(store.remove(&key));
            }
            unused.forget(&store);
        }
    }
}
