//! `hull stats`: how the Wasm servers of this machine do.

mod server;
mod show;

use crate::error::Error;
use crate::output;
use serde::Serialize;
use server::Server;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

/// How many servers are asked at once.
const AT_ONCE: usize = 32;

/// Arguments of `hull stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  hull stats
  hull stats --json web
  hull stats --openmetrics web

Only Wasm containers that serve HTTP requests tell how they do.")]
pub(crate) struct StatsArgs {
    /// Only the container with this id
    id: Option<String>,
    /// Only containers of this containerd namespace
    #[arg(long, short)]
    namespace: Option<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "openmetrics")]
    json: bool,
    /// Print what the server says, for Prometheus and its like
    #[arg(long, requires = "id")]
    openmetrics: bool,
}

/// What `--json` says.
#[derive(Debug, Serialize)]
struct Listing<'a> {
    servers: &'a [Server],
}

/// Shows the servers, sorted by namespace and id.
///
/// # Errors
/// When the named one does not exist, or does not answer.
pub(crate) fn run(args: &StatsArgs) -> Result<ExitCode, Error> {
    let mut servers = server::all(&directory())?;
    servers.retain(|server| {
        let named = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|w| w == own);
        named(&args.id, &server.id) && named(&args.namespace, &server.namespace)
    });
    if let (Some(id), true) = (&args.id, servers.is_empty()) {
        let why = "no Wasm server of this name runs on this machine";
        return Err(Error::new(format!("find {id:?}"), why));
    }
    servers.sort_by(|a, b| (&a.namespace, &a.id).cmp(&(&b.namespace, &b.id)));
    // Each may use up its time.
    for some in servers.chunks_mut(AT_ONCE) {
        thread::scope(|scope| {
            for server in some {
                scope.spawn(|| server.ask());
            }
        });
    }
    if args.openmetrics {
        show::text(&servers)?;
    } else if args.json {
        output::print_json(&Listing { servers: &servers })?;
    } else {
        show::table(&servers)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the shim has the sockets.
fn directory() -> PathBuf {
    crate::state::state_dir().join("http")
}
