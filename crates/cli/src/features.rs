//! `hull features`: what the shim says that it can do.

use std::process::ExitCode;

use clap::Args;
use hull_client::ShimBinary;
use serde_json::Value;

use crate::error::Error;
use crate::{host, output};

/// `hull features`
#[derive(Debug, Args)]
#[command(after_help = "\
The document is that of the OCI runtime specification, which containerd asks the shim for too.

Examples:
  hull features
  hull features | jq .linux.namespaces")]
pub(crate) struct FeaturesArgs {}

/// Prints the features document as JSON.
///
/// # Errors
/// When the shim is not there, fails, or prints something else.
pub(crate) fn run(_args: &FeaturesArgs) -> Result<ExitCode, Error> {
    let shim = host::shim()?;
    let failed = |why: String| Error::new(shim.display().to_string(), why);
    let json = ShimBinary::features(&shim).map_err(|error| failed(error.to_string()))?;
    let document: Value = serde_json::from_slice(&json)
        .map_err(|error| failed(format!("its features are no JSON: {error}")))?;
    output::print_json(&document)?;
    Ok(ExitCode::SUCCESS)
}
