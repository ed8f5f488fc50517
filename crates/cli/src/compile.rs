//! `hull compile`: a module is made ready before anybody waits for it.
//!
//! The shim compiles a module when a container with it is created, in a jail of its own. So a
//! container is created and deleted again; it never starts.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use hull_artifact::{CompilerIdentity, Found, Key, ModuleDigest, Store, digest};
use serde::Serialize;

use crate::error::Error;
use crate::run::Wanted;
use crate::{cache, host, output, session, tool};

const EXAMPLES: &str = "\
Examples:
  hull compile app.wasm
  hull compile --json app.wasm | jq .key

The module is compiled for this machine, unless that was done before, and kept where the shim looks for
it. A module that cannot be run is refused with the compiler's own words.";

/// The largest module that the shim takes.
const MAX_MODULE: u64 = 256 << 20;

/// Compiles a Wasm file, so that its first start does not have to.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompileArgs {
    /// The Wasm file.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    file: PathBuf,
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

/// Compiles a file.
///
/// # Errors
/// What is wrong with the module, or with the host.
pub(crate) fn run(args: &CompileArgs) -> Result<ExitCode, Error> {
    let what = format!("compile: {}", args.file.display());
    let wanted = Wanted::module("compile", &args.file)?;
    host::require_root("compile")?;
    host::enter_private_mounts()?;
    let file = File::open(&args.file).map_err(|error| Error::new(what.as_str(), error))?;
    let digest = digest(&file, MAX_MODULE).map_err(|error| Error::new(what.as_str(), error))?;
    let before = stored(&digest);
    let began = Instant::now();
    session::create_only(&wanted)?;
    let milliseconds = began.elapsed().as_millis();
    let (key, artifact) = stored(&digest).ok_or_else(|| {
        Error::new(
            what.as_str(),
            "the shim made it ready, but it is not in the store",
        )
        .advise("was the file changed in the meantime?")
    })?;
    let size = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
    let report = Report {
        file: args.file.clone(),
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
        report.file.display(),
        report.milliseconds,
        report.digest,
        report.key,
        report.module_bytes,
        report.artifact_bytes,
        report.artifact.display(),
    );
    text
}

/// The artifact that is in the store for a module, if any.
fn stored(module: &ModuleDigest) -> Option<(Key, File)> {
    let store = Store::existing(&cache::place()).ok()??;
    let compiler = fs::metadata(tool::sibling("hull-wasmc")?).ok()?;
    let engine = store.engine_id(&CompilerIdentity::of(&compiler))?;
    let key = Key::new(module, &engine);
    match store.open(&key).ok()? {
        Found::Good(file) => Some((key, file)),
        Found::Bad(_) | Found::Absent => None,
    }
}
