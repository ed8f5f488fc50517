//! `hull compile`: a module, a file or an image, is made ready before anybody waits for it.
//!
//! The shim compiles a module when a container with it is created, in a jail of its own. So a
//! container is created and deleted again; it never starts.

use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use hull_abi::Proposal;
use hull_artifact::{Exports, Found, Key, MAX_MODULE, ModuleDigest, Store, digest, verify};
use serde::Serialize;

use crate::error::Error;
use crate::image::{Containerd, Download, engine};
use crate::run::Wanted;
use crate::{cache, host, output, session};

const EXAMPLES: &str = "\
Examples:
  hull compile app.wasm
  hull compile --json app.wasm | jq .key
  hull compile --features wide-arithmetic app.wasm
  hull compile --namespace k8s.io registry.example/app:1

What is no file is the full name of an image that containerd has, with a Wasm layer. The module is compiled for this machine, unless that was done before, and kept where the shim looks for
it. A module that cannot be run is refused with the compiler's own words.";

/// Compiles a Wasm file or image, so that its first start does not have to.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompileArgs {
    /// The Wasm file, or the name of an image in containerd.
    #[arg(value_name = "FILE.wasm|IMAGE")]
    subject: PathBuf,

    #[command(flatten)]
    containerd: Containerd,

    /// The proposals for WebAssembly that the container's annotation features names.
    #[arg(long, value_name = "NAME,…", value_parser = proposals)]
    features: Option<Proposals>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Not a `Vec`, which clap would take for several arguments.
type Proposals = Box<[Proposal]>;

fn proposals(names: &str) -> Result<Proposals, String> {
    hull_plan::wasm_proposals(names).map(Vec::into_boxed_slice)
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    /// What was compiled: a file or an image.
    #[serde(flatten)]
    subject: Subject,
    /// SHA-256 of the module.
    digest: String,
    /// The name of the artifact in the store.
    key: String,
    artifact: PathBuf,
    module_bytes: u64,
    artifact_bytes: u64,
    /// It was in the store before.
    cached: bool,
    /// All that was done for it.
    milliseconds: u128,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
enum Subject {
    File(PathBuf),
    Image(String),
}

impl Subject {
    /// What exists, is named like a Wasm file or by a path from here or the root is a file.
    fn of(words: &Path) -> Self {
        let text = words.to_str().unwrap_or_default();
        let is_file = text.is_empty()
            || text.ends_with(".wasm")
            || text.starts_with(['/', '.'])
            || words.exists();
        if is_file {
            Self::File(words.to_owned())
        } else {
            Self::Image(text.to_owned())
        }
    }
}

/// Compiles a file or the module of an image.
///
/// # Errors
/// What is wrong with the module, or with the host.
pub(crate) fn run(args: &CompileArgs) -> Result<ExitCode, Error> {
    let what = format!("compile: {}", args.subject.display());
    let subject = Subject::of(&args.subject);
    let proposals = args.features.clone().unwrap_or_default();
    let (path, wanted) = match &subject {
        Subject::File(path) => {
            let wanted = Wanted::module("compile", path)?;
            host::require_root("compile")?;
            host::enter_private_mounts()?;
            (path.clone(), wanted)
        }
        Subject::Image(image) => {
            host::require_root("compile")?;
            host::enter_private_mounts()?;
            let path = Download::of(&args.containerd, image)?.file;
            let wanted = Wanted::module("compile", &path)?;
            (path, wanted)
        }
    };
    let wanted = wanted.with_proposals(&proposals);
    let file = File::open(&path).map_err(|error| Error::new(what.as_str(), error))?;
    let digest = digest(&file, MAX_MODULE).map_err(|error| Error::new(what.as_str(), error))?;
    let before = stored(&digest, &proposals);
    let began = Instant::now();
    let created = session::create_only(&wanted);
    let milliseconds = began.elapsed().as_millis();
    let (key, artifact) = match (created, stored(&digest, &proposals)) {
        (Ok(_), Some(found)) => found,
        // A library has nothing to start; its functions are called by their names.
        (Err(error), Some(found)) if error.is_not_executable() && is_library(&found) => found,
        (Err(error), _) => return Err(error),
        (Ok(_), None) => {
            let why = "the shim made it ready, but it is not in the store";
            return Err(
                Error::new(what.as_str(), why).advise("was the file changed in the meantime?")
            );
        }
    };
    let size = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
    let report = Report {
        subject,
        digest: format!("sha256:{digest}"),
        key: key.to_string(),
        artifact: cache::place().join(key.to_string()),
        module_bytes: size(&file),
        artifact_bytes: size(&artifact),
        cached: before.is_some(),
        milliseconds,
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let how = if report.cached {
        "was compiled before, checked"
    } else {
        "compiled"
    };
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "{}: {how} in {} ms\n  digest    {}\n  key       {}\n  module    {} bytes\n  artifact  {} bytes, {}\n",
        match &report.subject {
            Subject::File(path) => path.display().to_string(),
            Subject::Image(image) => image.clone(),
        },
        report.milliseconds,
        report.digest,
        report.key,
        report.module_bytes,
        report.artifact_bytes,
        report.artifact.display(),
    );
    text
}

/// Whether an artifact is whole, and its functions are all that it has.
fn is_library((key, artifact): &(Key, File)) -> bool {
    let exports = Exports::of_stored(artifact);
    let has_functions_alone = exports.is_ok_and(|has| {
        has.commands.is_empty() && has.servers.is_empty() && !has.functions().is_empty()
    });
    has_functions_alone && verify(artifact, key).is_ok()
}

/// The artifact that is in the store for a module, if any.
fn stored(module: &ModuleDigest, proposals: &[Proposal]) -> Option<(Key, File)> {
    let store = Store::existing(&cache::place()).ok()??;
    let engine = engine(&store)?.with(&Proposal::list(proposals));
    let key = Key::new(module, &engine);
    match store.open(&key).ok()? {
        Found::Good(file) => Some((key, file)),
        Found::Bad(_) | Found::Absent => None,
    }
}
