//! `hull-wasmc`: makes native code of a Wasm file.
//!
//! It is run in a jail of its own, with nothing but its standard streams: no file system, no
//! network, no capability, a bounded amount of memory and time. What it reads is hostile; what it
//! writes is taken for native code, so nothing but this program may make it.
//!
//! - `hull-wasmc --id` prints one line that stands for version and settings of the engine and for
//!   the processor's features: artifacts are exchangeable exactly where these lines are equal.
//! - `hull-wasmc compile [PROPOSAL,…]` reads a Wasm file, a core module or a component, from its standard input
//!   and writes the artifact to its standard output.
//!
//! Exit status 0 means that the output is complete, 1 that the Wasm file is to blame and 2 that the
//! host is. Then the standard error has exactly one line that says why.
#![forbid(unsafe_code)]

mod check;
mod compile;
mod component;
mod fault;
mod id;
mod module;
mod offered;
mod preview1;
mod value_types;

use fault::Fault;
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;

fn main() -> ExitCode {
    fault::report_panics();
    // As PID 1 of its namespace it would not see SIGXCPU, nor end by SIGABRT.
    if let Err(errno) = hull_sys::signal::exit_on_signals() {
        let fault = Fault::host("installing signal handlers", &errno.into());
        fault.report();
        return ExitCode::from(fault.status());
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            fault.report();
            ExitCode::from(fault.status())
        }
    }
}

fn run() -> Result<(), Fault> {
    let mut args = std::env::args_os().skip(1);
    let mode = args.next();
    let mode = mode.as_deref().and_then(OsStr::to_str);
    match (mode, args.next(), args.next()) {
        (Some("--id"), None, None) => {
            let id = id::id(&compile::engine(None)?);
            put(format!("{id}\n").as_bytes(), "writing the id")
        }
        (Some("compile"), proposals, None) => {
            let proposals = proposals.as_deref().map(OsStr::to_string_lossy);
            let artifact = compile::compile(&module()?, proposals.as_deref())?;
            check_size(artifact.len())?;
            put(&artifact, "writing the artifact")
        }
        _ => Err(Fault::Host(
            "usage: hull-wasmc --id | hull-wasmc compile [PROPOSAL,...] <module.wasm >artifact"
                .to_owned(),
        )),
    }
}

/// The whole standard input. No descriptor is made for it: the jail allows none beside 0, 1 and 2.
fn module() -> Result<Vec<u8>, Fault> {
    let failed = |e: io::Error| Fault::host("reading the module", &e);
    let mut stdin = io::stdin().lock();
    let stat = nix::sys::stat::fstat(&stdin).map_err(|e| failed(e.into()))?;
    let mut bytes = Vec::new();
    // One more than it has, so that finding the end takes no more memory.
    bytes
        .try_reserve_exact(usize::try_from(stat.st_size).unwrap_or(0).saturating_add(1))
        .map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
    stdin.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Going beyond the limit of file sizes would end us without a word (SIGXFSZ).
fn check_size(size: usize) -> Result<(), Fault> {
    let (limit, _) = getrlimit(Resource::RLIMIT_FSIZE)
        .map_err(|e| Fault::host("asking for the limit of file sizes", &e.into()))?;
    if size as u64 <= limit {
        return Ok(());
    }
    Err(Fault::Module(format!(
        "its compiled form has {size} bytes, but at most {limit} are allowed"
    )))
}

fn put(bytes: &[u8], doing: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(bytes)
        .and_then(|()| stdout.flush())
        .map_err(|e| Fault::host(doing, &e))
}
