//! `hull cache`: the store of compiled Wasm.

mod engine;
mod list;
mod prune;
mod verify;

use crate::error::Error;
use crate::output;
use crate::units;
use hull_artifact::Store;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The variable that moves the store.
const VARIABLE: &str = "HULL_ARTIFACTS";
/// Where the store is otherwise.
const PLACE: &str = "/var/lib/hull/artifacts";

/// Arguments of `hull cache`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hull cache list
  hull cache verify --remove
  hull cache prune --stale
  hull cache prune --unused
  hull cache prune --older-than 30d
  hull cache prune --keep-bytes 1g --dry-run

The store is /var/lib/hull/artifacts, or what HULL_ARTIFACTS names. Removing
artifacts is safe at any time: containers that run do not notice, and what is
needed again is compiled again.")]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show what is in the store
    List(ListArgs),
    /// Read every artifact through and say which are not what was stored
    Verify(VerifyArgs),
    /// Remove artifacts: those of other engines or of images that are gone, the old ones, or all
    Prune(PruneArgs),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// Remove the bad ones
    #[arg(long)]
    remove: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    #[command(flatten)]
    which: Which,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which artifacts are to go; without any, those of other engines.
#[derive(Debug, Default, clap::Args)]
#[group(multiple = false)]
struct Which {
    /// Remove every artifact
    #[arg(long)]
    all: bool,
    /// Remove what another compiler made (the default)
    #[arg(long)]
    stale: bool,
    /// Remove what images need that containerd does not have any more
    #[arg(long)]
    unused: bool,
    /// Remove what was last used longer ago: 90m, 12h, 30d, 2w
    #[arg(long, value_name = "AGE", value_parser = units::parse_age)]
    older_than: Option<Duration>,
    /// Remove the least recently used until this much is left: 64k, 128m, 1.5g
    #[arg(long, value_name = "SIZE", value_parser = units::parse_bytes)]
    keep_bytes: Option<u64>,
}

/// What `--json` says of a store that is not there.
#[derive(Debug, Serialize)]
struct NoStore<'a> {
    store: &'a Path,
    exists: bool,
}

impl CacheArgs {
    /// Whether files of the store are to be removed.
    fn removes(&self) -> bool {
        match &self.command {
            Command::List(_) => false,
            Command::Verify(args) => args.remove,
            Command::Prune(args) => !args.dry_run,
        }
    }
}

/// Does what the subcommand says.
///
/// # Errors
/// When the store cannot be used.
pub(crate) fn run(args: &CacheArgs) -> Result<ExitCode, Error> {
    let (name, json) = match &args.command {
        Command::List(args) => ("list", args.json),
        Command::Verify(args) => ("verify", args.json),
        Command::Prune(args) => ("prune", args.json),
    };
    let path = place();
    let Some(store) = Store::existing(&path).map_err(|e| failed(name, &e))? else {
        return absent(&path, json);
    };
    if let Ok(Some(why)) = store.unfit() {
        let why = format!("artifact store {}: {why}", path.display());
        if args.removes() {
            // It may be anything but a store.
            return Err(Error::new(format!("cache {name}"), why));
        }
        output::warn(&why);
    }
    match &args.command {
        Command::List(args) => list::run(&store, &path, args),
        Command::Verify(args) => verify::run(&store, &path, args),
        Command::Prune(args) => prune::run(&store, &path, args),
    }
}

/// Where the store is.
pub(crate) fn place() -> PathBuf {
    std::env::var_os(VARIABLE)
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from(PLACE), PathBuf::from)
}

fn absent(path: &Path, json: bool) -> Result<ExitCode, Error> {
    if json {
        output::print_json(&NoStore {
            store: path,
            exists: false,
        })?;
    } else {
        let path = path.display();
        output::print(&format!(
            "the store {path} does not exist yet: nothing was compiled\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn failed(command: &str, error: &hull_artifact::Error) -> Error {
    let failed = Error::new(format!("cache {command}"), error);
    if nix::unistd::geteuid().is_root() {
        failed
    } else {
        failed.advise("run it as root")
    }
}

/// `1 artifact, 12 KiB`.
fn counted(count: usize, bytes: u64) -> String {
    let noun = if count == 1 { "artifact" } else { "artifacts" };
    format!("{count} {noun}, {}", units::bytes(bytes))
}

/// The beginning of a key, enough to tell artifacts apart.
fn short(key: &str) -> &str {
    key.get(..12).unwrap_or(key)
}
